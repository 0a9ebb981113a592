"""What a run holds is shown on a terminal, never obeyed: escapes, line ends, bidi marks."""

import ast
import io
import json
from pathlib import Path

import pytest
from rich.console import Console

import hornbeam.files.terminal
from hornbeam.assembly.progress import Progress
from hornbeam.files.terminal import JOINERS, as_markup, escaped, one_line, tell

# Clear the screen, set the clipboard, a link, a title, go back and overwrite, ring, C1's CSI, turn
# the text round, isolate, a line of its own, a lone surrogate.
BAD = (
    "\x1b[2J\x1b]52;c;aGk=\x07\x1b]8;;x:y\x1b\\a\x1b]8;;\x1b\\\x1b]0;t\x07ok\rno\x08\x08\x07"
    "\x9b2J\u202egnp\u2066\u2028\x0b\x0c\x85\x7f[bold]\ufeff"
)
SOURCE = Path(hornbeam.files.terminal.__file__).parents[1]


def obeyed(text):
    """The characters in a text that a terminal would not just show."""
    return {c for c in text if not c.isprintable() and c not in f"\n\u00a0\u3000{JOINERS}"}


def test_what_a_terminal_obeys_is_written_out():
    assert escaped("a\x1b[2Jb\rc\x9b\u202e") == "a\\u001b[2Jb\\rc\\u009b\\u202e"
    assert escaped("a\tb\nc") == "a\tb\nc" and one_line("a\tb\nc") == "a\\tb\\nc"
    assert escaped("\ud800 \U000e0001") == "\\ud800 \\udb40\\udc01"
    assert not obeyed(escaped(BAD)) and "[bold]" in escaped(BAD)
    for same in ("naïve 数\u3000学\u00a0", "\U0001f469\u200d\U0001f52c", "می\u200cخواهم", "[b] \\"):
        assert escaped(same) == same


def test_printed_json_stays_the_same_value(capsys):
    tell(json.dumps({BAD: [BAD]}, ensure_ascii=False))
    said = capsys.readouterr().out
    assert json.loads(said) == {BAD: [BAD]} and not obeyed(said)


def test_a_progress_bar_shows_texts_as_text():
    shown = io.StringIO()
    seen = Progress(Console(file=shown, force_terminal=True, width=160))
    seen.begin(f"grow{BAD}", 3)
    seen.step(1, f"step{BAD}")
    seen.nested(f"look{BAD}", 2)
    seen.warn(BAD)
    seen.end()
    said = shown.getvalue()
    assert "grow\\u001b[2J" in said and "[bold]" in said and "warning: \\u001b[2J" in said
    assert not {"\x07", "\x9b", "\u202e", "\x08"} & set(said)
    assert "\x1b[2J" not in said and "\x1b]" not in said
    assert as_markup("[red]a[/]") == r"\[red]a\[/]"


def test_nothing_prints_but_by_the_terminal():
    """Of files whose standard output is a channel between two of our own processes, none does."""
    channels = {"gateway/agent_host.py", "gateway/agent_function.py", "score/check_process.py"}
    found = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
            if name in ("print", "typer.echo", "sys.stdout.write", "sys.stderr.write"):
                found.add(path.relative_to(SOURCE).as_posix())
    assert found == {"files/terminal.py", *channels}


# --- the commands --------------------------------------------------------------------------------

PROGRAM = """
BAD = {bad!r}

async def solve(task, ep):
    said = await ep.ask("seeker", [{{"role": "user", "content": task.question}}])
    if sum(map(ord, said.text)) % 7 == 0:
        raise ValueError(BAD)
    return said.text + BAD

def points(task, text):
    if len(text) % 3 == 0:
        raise ValueError(BAD)
    return len(text)
"""
RECIPE = """
[run]
title = {bad}
steps = 2
tasks = 2
eval_every = 1
[model]
name = "tiny"
options = {{width = 16, layers = 1}}
[agents.seeker]
max_tokens = 3
[program]
name = "mine.py:solve"
[[tasks.train]]
source = "jsonl"
path = "tasks.jsonl"
[[tasks.eval]]
source = "jsonl"
path = "held.jsonl"
[reward]
rule = "mine.py:points"
workers = 1
[grow]
strategy = "independent"
n = 2
[credit]
method = "grpo"
[[search.methods]]
name = {bad}
strategy = "independent"
n = 2
[label]
strategy = "rollouts"
rollouts = 2
"""


def tree(number):
    """A tree with such text wherever a text can stand."""
    bad, call = f"{BAD}{number}", {"tool": BAD, "arguments": {BAD: BAD}, "error": BAD}
    nodes = [
        {"parent": -1, "messages": [{"role": "user", "content": bad}]},
        {"parent": 0, "agent": bad, "text": bad, "calls": [call], "tokens": [1], "logprobs": [-1]},
        {"parent": 1, "agent": bad, "text": bad, "done": True, "answer": bad, "finish": "stop"},
        {"parent": 1, "agent": bad, "text": bad, "done": True, "error": bad, "episode": 1},
    ]
    task = {"id": bad, "question": bad, "answer": bad, "source": bad, "data": {BAD: bad}}
    columns = {"reward": [None, None, 1.0, 0.0], BAD: [None, 1.0, 0.0, 0.5]}
    return {"version": 1, "task": task, "nodes": nodes, "columns": columns}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A recipe with its files, and trees of others."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "r.toml").write_text("# \u202e" + RECIPE.format(bad=json.dumps(BAD[:-1])), "utf-8")
    (folder / "mine.py").write_text(PROGRAM.format(bad=BAD), "utf-8")
    for name, first, last in (("tasks", 0, 4), ("held", 4, 6)):
        rows = [
            {"id": f"{BAD}{n}", "question": f"{BAD} {n}?", "answer": BAD}
            for n in range(first, last)
        ]
        (folder / f"{name}.jsonl").write_text(
            "".join(json.dumps(row) + "\n" for row in rows), "utf-8"
        )
    trees = "".join(json.dumps(tree(n)) + "\n" for n in range(3))
    (folder / "t.jsonl").write_text(trees, "utf-8")
    (folder / "short.jsonl").write_text(json.dumps({"task": {"id": BAD}}), "utf-8")
    talk = [{"role": "user", "content": BAD}, {"role": "assistant", "content": BAD}]
    rows = [{"task_id": BAD, "messages": talk, BAD: BAD, "score": 1}, {"messages": BAD}]
    (folder / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return folder


COMMANDS = [
    "train r.toml --dry-run --all",
    "train r.toml --out run",
    "train r.toml --out run --set run.title={BAD}",
    "view run",
    "view run --tree train/0/0",
    "view run --tree {BAD}",
    "export run --out x.jsonl",
    "export run --stage {BAD}",
    "view t.jsonl --tree 1",
    "view t.jsonl --tree 1 --column {BAD}",
    "view t.jsonl --tree 1 --column x{BAD}",
    "view t.jsonl --tree x",
    "view t.jsonl --out {BAD}.html",
    "credit grpo t.jsonl",
    "credit tree_grpo short.jsonl",
    "score t.jsonl --rule numeric --replace --out s.jsonl",
    "score t.jsonl --rule mine.py:points --replace --out s.jsonl",
    "steps t.jsonl --to trl --column {BAD} --out rows.jsonl",
    "steps rows.jsonl --from trl --out rows2.jsonl",
    "import chats.jsonl --skip-bad --out i.jsonl",
    "import t.jsonl --out i.jsonl --tools-as-text",
    "label r.toml --out labels",
    "label {BAD} t.jsonl",
    "chunks r.toml --out chunks.jsonl",
    "select t.jsonl --column {BAD} --out chosen.jsonl",
    "eval r.toml",
    "eval r.toml --json",
    "search r.toml --out search",
    "search r.toml --out search2 --json",
    "view search",
    "solve r.toml {BAD} --out solve",
    "solve r.toml {BAD} --json --out solve2",
    "replay r.toml --tasks 2",
    "anchor r.toml",
    "fit r.toml --trees labels/trees.jsonl --model run/final --out value",
    "recipes print r.toml",
    "recipes copy r.toml {BAD}.toml",
    "models list",
    "gateway check {BAD}.toml",
    "eval processbench --predictions {BAD}.jsonl",
    "doctor --server {BAD}",
    *(f"{command} {{BAD}}.toml" for command in ("train", "eval", "search", "label", "fit")),
    *(f"{command} {{BAD}}.jsonl" for command in ("view", "import", "score", "credit grpo")),
]  # fmt: skip
SHOWN = ("run --tree train", "t.jsonl --tree 1", "credit grpo t.jsonl", "recipes print r", "eval r")


def test_every_command_shows_what_it_prints(folder, hornbeam, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HORNBEAM_CACHE", str(folder / f"cache{BAD[:-3]}"))
    codes = {}
    for command in COMMANDS:
        words = [word.replace("{BAD}", BAD) for word in command.split()]
        code, err, out = hornbeam(*words)
        assert not obeyed(err + out), f"{command}: {err + out!r}"
        codes[command] = code
        if any(part in command for part in SHOWN):
            assert "u202e" in out + err, command
    assert [*codes.values()].count(0) >= 28 and not {*codes.values()} - {0, 2}, codes
