"""The agents of this folder, and the processes that hold their frameworks.

agents.toml says of each file of agents/ which environment it wants and which functions it has.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

from hornbeam.gateway.agent_settings import STARTER, AgentCommand

HERE = Path(__file__).parent
ENVIRONMENTS = os.environ.get("HORNBEAM_AGENTS", "")  # a folder of environments, by name
TABLE = tomllib.loads((HERE / "agents.toml").read_text("utf-8"))


@dataclass(frozen=True)
class Agent:
    """One way to run a framework: a function of a file of agents/."""

    file: str
    function: str
    endpoint: str
    environment: str
    package: str
    writer: str  # how its model writes (variations.WRITERS)

    def __str__(self):
        return f"{self.file}:{self.function}"

    def expected(self, variation):
        """What does not hold of a variation, by kind; nothing where all does."""
        rows = TABLE[self.file].get("expected", ())
        return {
            row["what"]: row["why"]
            for row in rows
            if self.function in row.get("runs", [self.function]) and variation in row["variations"]
        }


AGENTS = [
    Agent(
        file,
        function,
        endpoint,
        entry["environment"],
        entry["package"],
        entry.get("writer", "hermes"),
    )
    for file, entry in TABLE.items()
    for function, endpoint in entry["runs"].items()
]


def interpreter(environment):
    """The interpreter of an environment."""
    return Path(ENVIRONMENTS, environment, "bin", "python")


class Hosts:
    """Processes that have imported an agent's file; each run is a fork of one."""

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="hb-agents-")
        self._running = {}

    def settings(self, agent, **more):
        """The settings of an agent whose host is started where it is not."""
        address = Path(self._folder.name) / agent.file
        if agent.file not in self._running:
            file = HERE / "agents" / f"{agent.file}.py"
            words = [interpreter(agent.environment), "-P", HERE / "agent_host.py", STARTER]
            process = subprocess.Popen(
                list(map(str, [*words, address, file])),
                stdout=subprocess.PIPE,
                text=True,
                env={**os.environ, "LITELLM_LOCAL_MODEL_COST_MAP": "True"},
            )
            self._running[agent.file] = process
            assert process.stdout.readline() == "ready\n", f"{agent.file} does not load"
        command = f"{sys.executable} -I -S {HERE / 'agent_run.py'} {address} {agent.function}"
        return AgentCommand(command=command, **more)

    def close(self):
        """End them all."""
        for process in self._running.values():
            process.kill()
            process.wait()
            process.stdout.close()
        with contextlib.suppress(OSError):
            self._folder.cleanup()
