"""A private PostgreSQL server for the tests that need one, from the system's packages.

PostgreSQL refuses to run as root; there it runs as the user "postgres" or "nobody".
"""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path


def programs():
    """Where initdb and postgres lie, or None."""
    found = [Path("/usr/lib/postgresql"), Path("/usr/pgsql"), Path("/opt/homebrew/opt")]
    places = [path for root in found for path in sorted(root.glob("*/bin"), reverse=True)]
    on_path = shutil.which("initdb")
    places += [Path(on_path).resolve().parent] if on_path else []
    return next((p for p in places if (p / "initdb").exists() and (p / "postgres").exists()), None)


def why_not():
    """Why no server can be started here, or ""."""
    if programs() is None:
        return "PostgreSQL IS NOT TESTED: no initdb on this machine (apt-get install postgresql)"
    try:
        import psycopg  # noqa: F401
    except ImportError:
        return "PostgreSQL IS NOT TESTED: no driver (pip install 'psycopg[binary]')"
    return ""


def user():
    """Who the server runs as: a name, or None for whoever runs the tests."""
    if os.getuid():
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


class Server:
    """A server on a socket in a folder of its own, until `close`."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="hornbeam-pg-"))
        self.who = {"user": user(), "group": pwd.getpwnam(user()).pw_gid} if user() else {}
        if self.who:
            self.who["extra_groups"] = []
            shutil.chown(self.folder, user())
        self.data, self.count = self.folder / "data", 0
        command = [programs() / "initdb", "-D", self.data, "-A", "trust", "-U", "hornbeam", "-N"]
        command += ["-E", "UTF8", "--locale=C"]
        subprocess.run(command, check=True, capture_output=True, cwd="/", **self.who)
        self.start()

    def start(self):
        """Start it and wait until it answers."""
        import psycopg

        command = [programs() / "postgres", "-D", self.data, "-k", self.folder]
        command += ["-c", "listen_addresses=", "-c", "fsync=off", "-c", "shared_buffers=16MB"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **self.who)
        while True:
            try:
                psycopg.connect(self.at("postgres")).close()
                return
            except psycopg.OperationalError:
                if self.process.poll() is not None:
                    raise RuntimeError((self.folder / "log").read_text()[-2000:]) from None

    def stop(self):
        """Stop it at once, as a power cut would."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait()

    def at(self, name):
        """The URL of a database."""
        return f"postgresql://hornbeam@/{name}?host={self.folder}"

    def database(self):
        """The URL of a new database."""
        import psycopg

        self.count += 1
        with psycopg.connect(self.at("postgres"), autocommit=True) as db:
            db.execute(f"create database run{self.count}")
        return self.at(f"run{self.count}")

    def close(self):
        """Stop it and remove its folder."""
        if self.process.poll() is None:
            self.stop()
        shutil.rmtree(self.folder)
