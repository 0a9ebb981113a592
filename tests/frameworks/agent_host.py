"""`PYTHON agent_host.py STARTER SOCKET FILE`: pays an agent's imports once, then runs it by forks.

Each connection is one run (agent_run.py): the function's name, its environment, its folder, and
where its output goes. The run is a process of its own, forked behind the imports.
"""

import array
import json
import os
import runpy
import socket
import sys
import traceback
from pathlib import Path


def received(connection):
    """(what is to be run, its standard output and error)."""
    fds = array.array("i")
    data, told, _, _ = connection.recvmsg(1 << 20, socket.CMSG_LEN(2 * fds.itemsize))
    for level, kind, held in told:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(held)
    while not data.endswith(b"\n"):
        data += connection.recv(1 << 20)
    return json.loads(data), list(fds)


def run(file, asked, fds):
    """One run, in the process that was forked for it; its exit code."""
    from hornbeam.gateway import agent_function

    os.dup2(fds[0], 1)
    os.dup2(fds[1], 2)
    os.environ.update(asked["environment"])
    os.chdir(asked["folder"])
    try:
        agent_function.main(file, asked["function"])
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


def main(starter, address, file):
    """Import the agent's file, then serve its runs."""
    runpy.run_path(starter)["find_package"]()
    from hornbeam.own.own_code import load_module

    load_module(Path(file))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(address)
        listening.listen(64)
        print("ready", flush=True)
        while True:
            connection, _ = listening.accept()
            asked, fds = received(connection)
            if os.fork():
                connection.close()
                for fd in fds:
                    os.close(fd)
                while True:
                    try:
                        if os.waitpid(-1, os.WNOHANG)[0] == 0:
                            break
                    except ChildProcessError:
                        break
                continue
            listening.close()
            code = run(file, asked, fds)
            connection.sendall(bytes([code]))
            os._exit(code)


if __name__ == "__main__":
    main(*sys.argv[1:4])
