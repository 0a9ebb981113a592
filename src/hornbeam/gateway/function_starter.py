"""`PYTHON function_starter.py FILE NAME`: starts an agent that is a function, by any interpreter.

The interpreter is the one that has the agent's framework, where this package is not installed: it
is found here, and nothing that lies beside it is. Standard library alone.
"""

import importlib.util
import sys
from pathlib import Path


def find_package() -> None:
    """Make the package of this file importable, and no other of the folder that it lies in."""
    root = Path(__file__).resolve().parents[1]
    if sys.version_info < (3, 11):  # noqa: UP036  (it is no interpreter that we were installed by)
        sys.exit(f"an agent's function wants Python 3.11 or newer, {sys.executable} is older")
    spec = importlib.util.spec_from_file_location(
        root.name, root / "__init__.py", submodule_search_locations=[str(root)]
    )
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[root.name] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    find_package()
    from hornbeam.gateway.agent_function import main

    main(*sys.argv[1:3])
