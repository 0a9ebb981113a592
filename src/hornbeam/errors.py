"""One family of errors; each message says what is wrong, where, and what to do.

HornbeamError
├── ArgumentError      a call from Python: something else than the function takes
├── RecipeError        a recipe: unknown key, wrong type, values that do not go together
│   ├── UnknownSetting a setting that the thing named beside it does not have
│   └── SettingError   settings made in Python, likewise
├── DataError          a file of tasks, trees or passages (names the file and the line)
├── ModelError         a model or tokenizer: missing, no chat template, the two disagree
├── ProgramError       an agent program: does not import, returns the wrong thing, passes a limit
│   ├── Divergence     a replayed program did not reproduce its own path
│   ├── WorldError     a world of tools: cannot be opened, copied or forked (its episode fails)
│   └── StateError     a tool keeps state that no fork can have: growth stops
├── EngineError        an engine could not answer
│   ├── EngineLost     it can answer nobody any more: growth stops, and goes on later
│   └── PromptTooLong  the prompt and one token do not fit the context window
├── ToolError          a tool failed, hung or is not known
├── ScoreError         a scorer could not judge (time-outs of the checker are counted, not raised)
├── WorkerError        workers elsewhere: out of reach, or they died too often
├── RankError          processes that train one policy together cannot go on
│   └── RankLost       the connection to one of them is gone
├── BudgetSpent        the budget does not allow the next call
└── StoreError         a run folder: damaged, of another recipe, disk full
"""

import json
import re
from collections.abc import Collection, Sequence


class HornbeamError(Exception):
    """Base of every error that Hornbeam raises on purpose."""


class ArgumentError(HornbeamError, TypeError):
    """A public function that was given something else than it takes."""

    def hint(self, more: str) -> "ArgumentError":
        """The same error with what to do behind it."""
        return ArgumentError(f"{self}: {more}")


class RecipeError(HornbeamError):
    """A recipe that cannot be run as written."""


class UnknownSetting(RecipeError):
    """A setting that what is named beside it does not have.

    `unknown` are all such keys, `known` the settings that it has.
    """

    def __init__(self, text: str, unknown: Sequence[str], known: Collection[str]) -> None:
        super().__init__(text)
        self.unknown, self.known = unknown, known


class SettingError(RecipeError, ValueError):
    """Settings that cannot be: an unknown one, a wrong type, a value out of bounds."""


class DataError(HornbeamError):
    """A data file that cannot be read as it should."""


class ModelError(HornbeamError):
    """A model or tokenizer that is missing or unfit."""


class ProgramError(HornbeamError):
    """An agent program that cannot be run."""


class Divergence(ProgramError):
    """A replayed program asked something other than what its record holds."""


class WorldError(ProgramError):
    """A world that cannot be opened, copied, forked or brought back to a step."""


class StateError(ProgramError):
    """A tool that keeps state outside of a world, where forks of a run cannot have their own."""


class EngineError(HornbeamError):
    """An engine that could not answer a request."""


class EngineLost(EngineError):
    """An engine that can answer nobody any more.

    No episode fails of it: growth stops with what it has, and the same command goes on.
    """


class PromptTooLong(EngineError):
    """A prompt that leaves no room for one sampled token."""


class ToolError(HornbeamError):
    """A tool that failed, took too long or does not exist."""


class ScoreError(HornbeamError):
    """A scorer that could not judge."""


class WorkerError(HornbeamError):
    """Workers elsewhere that cannot be reached, or died too often."""


class RankError(HornbeamError):
    """Processes that train one policy together and cannot go on."""


class RankLost(RankError):
    """A process whose connection to another one is gone."""


class BudgetSpent(HornbeamError):
    """A call that the budget no longer allows."""


class StoreError(HornbeamError):
    """A run folder that cannot be read or written."""


def how_to_get(*extras: str, package: str = "") -> str:
    """The command that installs these extras, or a package that every install needs.

    In a clone it names the extras; an installed wheel has no clone beside it: there what they hold.
    """
    from importlib import metadata

    try:
        here = metadata.distribution("hornbeam")
        came = json.loads(here.read_text("direct_url.json") or "{}")
        cloned = came.get("dir_info", {}).get("editable", False)
    except metadata.PackageNotFoundError:
        cloned = True
    if cloned:
        what = "-c constraints.txt -e ." if package else f"-e '.[{','.join(extras)}]'"
        return f"in the clone of Hornbeam: pip install {what}"
    asked = [line.partition(";")[::2] for line in here.requires or []]
    wanted = [
        needs.strip()
        for needs, only in asked
        if any(f'extra == "{extra}"' in only for extra in extras)
        or (package and re.match(rf"{re.escape(package)}\b(?!-)", needs))
    ]
    return f"pip install {' '.join(map(repr, wanted))}"


WRITERS = {  # columns that a command writes on trees
    "q": "`hornbeam label RECIPE --method rollouts --trees FILE` writes it",
    "label": "`hornbeam label RULE FILE` writes it, from column 'q'",
    "reward": "`hornbeam score FILE --rule NAME` writes it",
    "value": "`hornbeam score FILE --model DIR` writes it",
}


def how_to_write(column: str) -> str:
    """What writes a column that trees lack, to stand behind that; "" where any command may."""
    return f": {WRITERS[column]}" if column in WRITERS else ""
