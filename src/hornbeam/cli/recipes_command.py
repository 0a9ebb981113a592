"""`hornbeam recipes`: list, print and copy the recipes that ship; and how a recipe is found."""

from __future__ import annotations

import re
import shutil
import tomllib
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from hornbeam.errors import RecipeError
from hornbeam.files.terminal import tell
from hornbeam.settings import nearest

SHIPPED = Path(__file__).parent.parent / "recipes"

app = typer.Typer(help="List, print and copy the recipes that ship.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(metavar="NAME", help="A recipe's name, as `list` shows.")]


def shipped() -> dict[str, Path]:
    """The recipes of the package by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.toml"))}


def find(recipe: str) -> Path:
    """A recipe by path, else by name. Raises `RecipeError` with the nearest name."""
    path = Path(recipe)
    if path.is_file():
        return path
    known = shipped()
    if path.is_dir():
        raise RecipeError(f"{recipe}: is a folder, a recipe is a TOML file")
    if recipe in known:
        return known[recipe]
    if path.suffix == ".toml" and (path.parent != Path(".") or path.stem not in known):
        near = nearest(path.stem, known).replace("known:", "recipes that come with Hornbeam:")
        raise RecipeError(f"{recipe}: no such file; {near}")
    if path.suffix == ".toml":
        return known[path.stem]
    raise RecipeError(f"no recipe {recipe!r}: {nearest(path.stem, known)}")


@app.command("list")
def list_command() -> None:
    """Say what each recipe that ships does."""
    shown = Table("name", "what it does", box=None, pad_edge=False)
    for name, path in shipped().items():
        shown.add_row(name, _title(path))
    Console().print(shown)


@app.command("print")
def print_command(name: Name) -> None:
    """Print a recipe as it is written."""
    tell(find(name).read_text(encoding="utf-8"), end="")


@app.command("copy")
def copy_command(
    name: Name,
    target: Annotated[
        Path | None,
        typer.Argument(metavar="FILE", help="Where to.", show_default="NAME.toml here"),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The same as FILE.", show_default="FILE")
    ] = None,
) -> None:
    """Copy a recipe to change it, with its agent; never over a file that is there."""
    if target is not None and out is not None:
        raise RecipeError("recipes copy: FILE and --out say the same: name one")
    source = find(name)
    path = target or out or Path(source.name)
    if path.is_dir():
        path = path / source.name
    copies = {path: source}
    copies |= {path.parent / name: file for name, file in _agent_files(source).items()}
    for place, file in copies.items():
        if place.exists() and (place == path or place.read_bytes() != file.read_bytes()):
            raise RecipeError(f"{place} exists: name another file")
    for place, file in copies.items():
        try:
            if place != path:  # the folder of its agents
                place.parent.mkdir(exist_ok=True)
            shutil.copyfile(file, place)
        except OSError as error:
            raise RecipeError(f"{place}: cannot be written: {error.strerror or error}") from error
        tell(str(place))


def _agent_files(recipe: Path) -> dict[str, Path]:
    """The file of a recipe's agent, and what it imports from beside it, by name."""
    agent = tomllib.loads(recipe.read_text(encoding="utf-8")).get("program", {}).get("agent", "")
    name = agent.rpartition(":")[0] if isinstance(agent, str) else ""
    file = recipe.parent / name
    if not name.endswith(".py") or not file.is_file():
        return {}
    imports = re.findall(r"^(?:from|import) (\w+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    beside = [path for each in imports if (path := file.parent / f"{each}.py").is_file()]
    return {str(path.relative_to(recipe.parent)): path for path in (file, *beside)}


def _title(path: Path) -> str:
    data = tomllib.loads(path.read_text(encoding="utf-8"))
    return str(data.get("run", {}).get("title", ""))
