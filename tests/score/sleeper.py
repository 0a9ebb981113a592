"""The checker's process with a stand-in for what never ends: reading `FOREVER` sleeps.

Run as a script it is `check_process.py`, but for that one reading. What real parsers never come
back from are towers of powers, some characters long; none stands in a test. A sleep ends with its
process, and shows all the same whether a check under way is ended, by the pool and by its own
alarm.
"""

import importlib.util
import sys
import time
from pathlib import Path

FOREVER = "w+600"
COMMAND = (sys.executable, "-P", __file__)  # for hornbeam.score.checker_pool.COMMAND
CHECK = Path(__file__).parents[2] / "src" / "hornbeam" / "score" / "check_process.py"


def main() -> None:
    """Serve as `check_process.py` does."""
    spec = importlib.util.spec_from_file_location("check", CHECK)
    check = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(check)
    own = check.parsed

    def parsed(text: str) -> object:
        if FOREVER in text:
            time.sleep(600)
        return own(text)

    check.parsed = parsed
    check.main()


if __name__ == "__main__":
    main()
