"""The agents of this folder.

agents.toml says of each file of agents/ which environment it wants and which functions it has.
"""

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path

from hornbeam.gateway.agent_settings import AgentCommand

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

    def interpreter(self):
        """The interpreter of its environment."""
        return Path(ENVIRONMENTS, self.environment, "bin", "python")

    def settings(self, **more):
        """How it is started: forked of a process that has imported its framework."""
        python = str(self.interpreter())
        command, folder = f"{self.file}.py:{self.function}", str(HERE / "agents")
        more |= {"volatile": tuple(TABLE[self.file].get("volatile", ()))}
        return AgentCommand(command=command, python=python, folder=folder, **more)

    def expected(self, variation):
        """What does not hold of a variation, by kind; nothing where all does."""
        rows = TABLE[self.file].get("expected", ())
        return {
            row["what"]: row["why"]
            for row in rows
            if self.function in row.get("runs", [self.function]) and variation in row["variations"]
        }


# (agent, variation) of those that ask at once: in whatever order requests come, no fork diverges.
AT_ONCE = [
    (Agent(file, function, "chat", entry["environment"], entry["package"], "hermes"), variation)
    for file, entry in TABLE.items()
    for function, variations in entry.get("at_once", {}).items()
    for variation in variations
]
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
