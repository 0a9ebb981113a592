"""Every socket that listens is on loopback, or wants a token.

What can listen is found in the source, by the names that make listening sockets; each place has
its servers started here, and what the system says of the sockets of this process is looked at.
"""

import asyncio
import re
import socket
import sys
import threading
from pathlib import Path

import pytest

from hornbeam.cli.live_server import LiveRun, LiveServer
from hornbeam.errors import HornbeamError
from hornbeam.gateway.server import Gateway

ROOT = Path(__file__).parents[1] / "src" / "hornbeam"
LISTENS = re.compile(
    r"(?<!self)\.listen\(|\.bind\(|\b(?:start|create)(?:_unix)?_server\(|HTTPServer\(|uvicorn\.Server\("
    r"|socketserver|ray\.init\(|init_process_group\(|TCPStore\(|--host|serve_forever\(|0\.0\.0\.0"
)
# Where it may stand, and why no stranger is served there.
KNOWN = {
    "arguments.py": "the bind of a signature",
    "workers/local_workers.py": "the bind of a signature",
    "cli/live_server.py": "a page on loopback (below)",
    "gateway/server.py": "on loopback, else with a token (below)",
    "cli/gateway_command.py": "its option, for gateway/server.py",
    "jobs/gateway/gateway_options.py": "the same",
    "cli/models_command.py": "vLLM on loopback; a line warns of any other host",
    "workers/ray_actors.py": "Ray, whose sockets want its own token",
    "train/ranks.py": "ranks meet where torchrun says",
}


def listening():
    """The addresses at which this process listens, as the system has them."""
    held = set()
    for file in Path("/proc/self/fd").iterdir():
        try:
            held.add(file.readlink().name)
        except OSError:
            continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            place, state, inode = (line.split()[n] for n in (1, 3, 9))
            if state == "0A" and f"socket:[{inode}]" in held:
                found.add(place.partition(":")[0])
    return found


LOOPBACK = {"0100007F", "00000000000000000000000001000000"}  # 127.0.0.1, ::1


def test_whatever_can_listen_is_known():
    found = {
        str(path.relative_to(ROOT))
        for path in ROOT.rglob("*.py")
        if LISTENS.search(path.read_text())
    }
    assert found == set(KNOWN)


@pytest.mark.skipif(sys.platform != "linux", reason="looked at by what Linux tells")
def test_gateway_and_page_listen_on_loopback(tmp_path):
    before = listening()

    async def gateway(**how):
        server = Gateway(how.pop("key", ""))
        try:
            await server.start(**how)
            return listening() - before
        finally:
            await server.aclose()

    assert asyncio.run(gateway()) <= LOOPBACK
    for host in ("0.0.0.0", "::"):
        with pytest.raises(HornbeamError, match="give a token"):
            asyncio.run(gateway(host=host))
        assert listening() == before
    assert asyncio.run(gateway(host="0.0.0.0", key="secret")) == {"00000000"}
    with LiveServer(LiveRun(tmp_path)) as page:
        assert page.server_address[0] == "127.0.0.1"
        assert listening() - before <= LOOPBACK


def test_the_page_answers_to_its_own_name_alone(tmp_path):
    with LiveServer(LiveRun(tmp_path)) as page:
        threading.Thread(target=page.serve_forever, daemon=True).start()
        try:
            told = {}
            for name in (f"127.0.0.1:{page.server_port}", "elsewhere.example"):
                with socket.create_connection(page.server_address) as line:
                    line.sendall(f"GET /state HTTP/1.0\r\nHost: {name}\r\n\r\n".encode())
                    told[name] = line.makefile("rb").readline().split()[1]
            assert list(told.values()) == [b"200", b"403"]
        finally:
            page.shutdown()
