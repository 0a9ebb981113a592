"""`hornbeam doctor`: what is installed, what the machine can do, what is missing and how to get it.

Nothing is imported to learn its version, so it answers in a second even where torch is broken.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console
from rich.table import Table

from hornbeam.errors import HornbeamError, RecipeError, how_to_get
from hornbeam.files.terminal import as_markup, tell
from hornbeam.models import catalogue
from hornbeam.own.own_parts import GROUPS, installed, package_of

State = Literal["ok", "note", "bad"]
MAIN_MODEL = "smollm2-135m"
CHECKER_SECONDS = 60
NEEDED_GB = {"memory": 4.0, "disk": 3.0}  # what the main job takes


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. "note": works without; "bad": the main job does not run."""

    group: str
    name: str
    state: State
    found: str
    remedy: str = ""


Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        help="What this server is good for.",
        show_default="this machine",
    ),
]
Served = Annotated[
    str, typer.Option("--model", help="One of its models.", show_default="the only one")
]
KeyEnv = Annotated[
    str,
    typer.Option(
        "--key-env", metavar="VAR", help="The variable that holds its key.", show_default="no key"
    ),
]
Tokenizer = Annotated[
    str,
    typer.Option(
        "--tokenizer",
        metavar="DIR",
        help="Its model's, to ask it at /completions.",
        show_default="not asked there",
    ),
]


def doctor_command(
    server: Server = None,
    model: Served = "",
    key_env: KeyEnv = "",
    tokenizer: Tokenizer = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what is installed, what this machine can do, what is missing and how to get it."""
    if server is None:
        given = {"--model": model, "--key-env": key_env, "--tokenizer": tokenizer}
        if named := [name for name, value in given.items() if value]:
            raise RecipeError(f"{named[0]} is of a --server: name its url")
        findings = examine()
    else:
        findings = of_server(server, model, key_env, tokenizer)
    if as_json:
        tell(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        _print(findings, Console())
    if any(finding.state == "bad" for finding in findings):
        raise typer.Exit(1)


def of_server(url: str, model: str, key_env: str, tokenizer: str) -> list[Finding]:
    """One finding for each way to ask a server; "bad" where none works."""
    from hornbeam.cli.server_report import look

    seen = look(url, model, key_env, tokenizer)
    unfit: State = "note" if any(each.fit for each in seen) else "bad"
    return [
        Finding("server", f'kind = "{each.kind}"', "ok" if each.fit else unfit, each.line)
        for each in seen
    ]


def examine() -> list[Finding]:
    """All findings, in the order in which they are shown."""
    with ThreadPoolExecutor(1) as pool:  # the hub may take seconds to answer
        hub = pool.submit(_hub)
        asked = requirements()
        found = [*_python(), *_machine(), *packages(asked), *checker(), *extras(asked), *added()]
        found += _data()
        return found + hub.result()


def _python() -> list[Finding]:
    version = platform.python_version()
    here = Finding("install", "python", "ok", f"{version} on {platform.system()}")
    ours = Finding("install", "hornbeam", "ok", metadata.version("hornbeam"))
    return [ours, here]


def _machine() -> list[Finding]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found = [Finding("machine", "cores", "ok", str(cores))]
    memory = _memory_gb()
    if memory is not None:
        found.append(
            _amount("memory", memory, "close other programs, or lower optim.max_pack_tokens")
        )
    kept = catalogue.cache()
    free = shutil.disk_usage(_existing(kept)).free / 2**30
    found.append(_amount("disk", free, f"make room where {kept} lies, or set HORNBEAM_CACHE"))
    found.append(_gpu())
    return found


def _amount(name: str, free: float, remedy: str) -> Finding:
    enough = free >= NEEDED_GB[name]
    text = f"{free:.1f} GiB free"
    if enough:
        return Finding("machine", name, "ok", text)
    return Finding("machine", name, "note", f"{text}, the main job takes {NEEDED_GB[name]}", remedy)


def _memory_gb() -> float | None:
    """Free memory where the system tells it, else None."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="utf-8")
    except OSError:
        return None
    match = re.search(r"MemAvailable:\s+(\d+) kB", text)
    return int(match[1]) / 2**20 if match else None


def _existing(path: Path) -> Path:
    """The nearest folder above that exists."""
    return next(p for p in (path, *path.absolute().parents) if p.exists())


def _gpu() -> Finding:
    """What torch would see, asked of the driver's own files so that torch is not imported."""
    cards = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    names = [match[1] for card in cards if (match := re.search(r"Model:\s+(.+)", card.read_text()))]
    if not names:
        return Finding("machine", "gpu", "note", "none", "none is needed: CPU is the default")
    if _version("torch", "").endswith("+cpu"):
        return Finding(
            "machine",
            "gpu",
            "note",
            ", ".join(names),
            "this torch is the CPU build: install another",
        )
    return Finding("machine", "gpu", "ok", ", ".join(names))


def requirements() -> list[tuple[str, str]]:
    """(distribution, extra or "") of everything that this package's metadata asks for."""
    found = []
    for line in metadata.requires("hornbeam") or []:
        match = re.match(r"([\w.-]+)", line)
        extra = re.search(r"extra\s*==\s*[\"'](\w+)[\"']", line)
        if match:
            found.append((match[1], extra[1] if extra else ""))
    return found


def _version(name: str, missing: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return missing


def packages(asked: list[tuple[str, str]]) -> list[Finding]:
    """One finding a package that every install needs."""
    found = []
    for name, extra in asked:
        if extra:
            continue
        version = _version(name, "")
        if version:
            found.append(Finding("packages", name, "ok", version))
        else:
            remedy = how_to_get(package=name)
            found.append(Finding("packages", name, "bad", "missing", remedy))
    return found


def checker() -> list[Finding]:
    """Whether the checker of the rule "symbolic" starts, and judges some pairs as it should."""
    if not _version("math-verify", ""):
        return []
    from hornbeam.score.checker_pool import COMMAND

    try:
        done = subprocess.run(
            [*COMMAND, "symbolic"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=CHECKER_SECONDS,
        )
        said = (
            done.stdout.strip() or f"does not start: {done.stderr.strip().rpartition(chr(10))[2]}"
        )
    except subprocess.TimeoutExpired:
        said = f"does not start in {CHECKER_SECONDS} seconds"
    parser = "antlr4-python3-runtime"
    said = f"{said} ({parser} {_version(parser, 'missing')})"
    if said.startswith("ready ("):
        return [Finding("packages", "symbolic checker", "ok", said)]
    remedy = f"pip install {parser}==4.13.2, as constraints.txt has it"
    if said.startswith("ready"):
        remedy += "; without it the rule 'symbolic' takes the sign off itself"
    return [Finding("packages", "symbolic checker", "note", said, remedy)]


def extras(asked: list[tuple[str, str]]) -> list[Finding]:
    """One finding an extra: all of it is here, or how to get it."""
    members: dict[str, list[str]] = {}
    for name, extra in asked:
        if extra:
            members.setdefault(extra, []).append(name)
    found = []
    for extra, names in sorted(members.items()):
        lacking = [name for name in names if not _version(name, "")]
        if lacking:
            remedy = how_to_get(extra)
            found.append(Finding("extras", extra, "note", f"lacks {', '.join(lacking)}", remedy))
        else:
            found.append(Finding("extras", extra, "ok", ", ".join(names)))
    return found


def added() -> list[Finding]:
    """One finding a name that a package adds to the ready-made ones; it is not imported."""
    return [
        Finding("added", f"{kind} {point.name}", "ok", f"{point.value} of {package_of(point)}")
        for kind in GROUPS
        for point in installed(kind)
    ]


def _data() -> list[Finding]:
    return [_model(), _folder()]


def _model() -> Finding:
    try:
        return Finding("data", MAIN_MODEL, "ok", str(catalogue.resolve(MAIN_MODEL)))
    except HornbeamError as error:
        remedy = f"hornbeam models pull {MAIN_MODEL} (training does it by itself)"
        return Finding("data", MAIN_MODEL, "note", str(error).split(":")[0], remedy)


def _folder() -> Finding:
    given = os.environ.get("HORNBEAM_DATA", "")
    remedy = "set HORNBEAM_DATA to a folder of task sets; without it the hub or made-up tasks serve"
    if not given:
        return Finding("data", "data directory", "note", "HORNBEAM_DATA is not set", remedy)
    if not Path(given).expanduser().is_dir():
        return Finding("data", "data directory", "note", f"{given} is no folder", remedy)
    return Finding("data", "data directory", "ok", given)


def _hub() -> list[Finding]:
    refusal = catalogue.hub_answers()
    if not refusal:
        return [Finding("data", "hub", "ok", "answers")]
    remedy = "models come from PyPI instead, and tasks from the data directory or a generator"
    return [Finding("data", "hub", "note", f"no answer: {refusal}", remedy)]


def _print(findings: list[Finding], console: Console) -> None:
    """One table a group, then what is missing and how to get it."""
    marks = {"ok": "[green]ok[/]", "note": "[yellow]--[/]", "bad": "[red]!![/]"}
    shown = Table(box=None, show_header=False, pad_edge=False)
    group = ""
    for finding in findings:
        head = finding.group if finding.group != group else ""
        group = finding.group
        shown.add_row(
            f"[bold]{head}[/]",
            marks[finding.state],
            as_markup(finding.name),
            as_markup(finding.found),
        )
    console.print(shown)
    missing = [finding for finding in findings if finding.remedy]
    if missing:
        console.print("\n[bold]What would help[/]")
    for finding in missing:
        console.print(f"  {as_markup(finding.name)}: {as_markup(finding.remedy)}", highlight=False)
