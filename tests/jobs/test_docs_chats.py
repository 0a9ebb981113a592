"""docs/chats-to-search.md: every command on it runs, from chats to a search with their PRM."""

import asyncio
import json
import re
import shlex
from pathlib import Path

import pytest

import hornbeam as hb
from hornbeam.assembly import run_folder
from hornbeam.assembly.transcript import transcript
from hornbeam.episode.program import Limits
from hornbeam.jobs.train import anchored_tasks, curriculum
from hornbeam.programs import make_program
from hornbeam.tree.jsonl import read_trees

PAGE = (Path(__file__).parents[2] / "docs" / "chats-to-search.md").read_text("utf-8")
LINES = re.findall(r"^    hornbeam (.+)$", PAGE.replace("\\\n", ""), re.MULTILINE)
COMMANDS = [shlex.split(line) for line in LINES]
TINY = {  # what a model from nothing wants in place of the page's settings for a real one
    'name = "smollm2-135m"': 'name = "tiny"',
    "epochs = 4\nbatch_size = 8\nlr = 1e-4": "epochs = 30\nbatch_size = 8\nlr = 5e-3",
    "simulations = 16\nchildren = 4": "simulations = 6\nchildren = 3",
    "epochs = 4\nbatch_size = 4\nlr = 5e-5": "epochs = 2\nbatch_size = 4\nlr = 2e-3",
}


OVERVIEW = (Path(__file__).parents[2] / "docs" / "overview.md").read_text("utf-8")


def blocks(kind):
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)


def other(rows, number, boxes):
    """A row of the page as one of another task of its kind."""
    results = {"36": str(12 * boxes), "15": str(12 + boxes)}
    text = re.sub(r"\b(36|15)\b", lambda found: results[found[0]], json.dumps(rows))
    text = re.sub(r"(\[|\\\")3 ([*+]) 12", rf"\g<1>{boxes} \2 12", text)
    return json.loads(text.replace("eggs-0", f"eggs-{number}").replace("3 boxes", f"{boxes} boxes"))


@pytest.fixture
def files(tmp_path, monkeypatch):
    """The page's files: its own rows, and as many more of their kind as it speaks of."""
    monkeypatch.chdir(tmp_path)
    tasks, chats, tools = ([*map(json.loads, block.splitlines())] for block in blocks("json"))
    made = {"tasks": tasks, "chats": chats, "tool-chats": tools}
    for name, rows in made.items():
        count = 32 if name == "tasks" else 24
        all_rows = [*rows, *(row for n in range(1, count) for row in other(rows, n, n + 3))]
        text = "".join(json.dumps(row) + "\n" for row in all_rows)
        Path(f"{name}.jsonl").write_text(text, "utf-8")
    (recipe,) = blocks("toml")
    for here, tiny in TINY.items():
        assert recipe.count(here) == 1, here
        recipe = recipe.replace(here, tiny)
    Path("agent.toml").write_text(recipe, "utf-8")
    Path("agent.py").write_text(*blocks("python"), "utf-8")


def test_every_command_of_the_page_runs(files, hornbeam):
    assert len(COMMANDS) >= 15 and {words[0] for words in COMMANDS} == {
        *("import", "view", "train", "eval", "score", "select", "label", "fit", "search")
    }
    result = []
    for words in COMMANDS:
        code, said, out = hornbeam(*words)
        assert (code, said) == (0, ""), (words, said)
        result.append((words[0], out))
    text = {name: [out for command, out in result if command == name] for name in dict(result)}
    assert "48 runs of 24 tasks; 48 with a reward, mean 0.5" in text["import"][0]
    assert "24 of 48 runs, 24 lines" in text["import"][0]
    assert "reward 0  ANSWER[15]" in text["view"][0]
    assert "reward: 48 of 48 answers scored, mean 0.5" in text["score"][0]
    assert "Warm start on 24 answers of set.jsonl" in text["train"][1]
    assert "Recorded: 48 runs of 24 tasks are grown on" in text["label"][1]  # and none otherwise
    assert "value: 96 of 96 steps scored" in text["score"][1]
    assert "24 of 24 correct answers chosen" in text["select"][1]
    assert "Warm start on 24 answers of best.jsonl" in text["train"][3]
    assert "24 rows of tool-set.jsonl" not in text["train"][0]
    assert "warm start: 24 rows of tool-set.jsonl" in text["train"][2]
    assert " answers chosen, one a task" in text["select"][2]
    held = json.loads(Path("runs/search/search.json").read_text())
    assert [m["name"] for m in held["methods"]][-1] == "beam" and "left_out" not in held
    assert held["methods"][-1]["points"][0]["questions"] == 8
    values = [v for tree in read_trees("scored.jsonl") for v in tree.columns["value"][1:]]
    assert len(values) == 96 and len({*values}) > 24 and all(-1 <= v <= 1 for v in values)
    # what names a tree, as the overview tells it
    code, said, out = hornbeam("view", "runs/policy", "--tree", "eval/0/3")
    assert (code, said) == (0, "") and out.startswith("task eggs-27 ")
    code, said, _ = hornbeam("view", "runs/labels", "--tree", "train/0/0")
    (first,) = re.search(r"it has (label \w+/0/0) to label \w+/0/23$", said).groups()
    assert hornbeam("view", "runs/labels", "--tree", first)[2].startswith("task eggs-0 ")


def test_the_program_with_tools_asks_as_the_imported_chats_did(files, hornbeam):
    (line,) = (words for words in COMMANDS if "--tools-as-text" in words)
    assert hornbeam(*line)[:2] == (0, "")
    rows = [json.loads(row)["messages"] for row in Path("tool-set.jsonl").read_text().splitlines()]
    program, _ = make_program("agent.py:agent", {}, Path())
    for number, messages in enumerate(rows):
        said = iter([m["content"] for m in messages if m["role"] == "assistant"])
        task = hb.Task(f"eggs-{number}", messages[1]["content"])
        tools = {"calculator": hb.calculate}
        engine = hb.Scripted(lambda *_, replies=said: next(replies))
        (tree,) = hb.grow_trees(
            program, [task], {"solver": engine}, hb.Independent(n=1), tools=tools
        )
        leaf = tree.nodes[-1]
        assert leaf.error == "" and leaf.answer == messages[-1]["content"]
        *_, (before, _) = asyncio.run(
            transcript(program, Limits(), {"solver": engine.chat}, tree, len(tree) - 1)
        )
        assert before == messages[:-1]
    assert len(rows) == 24


def test_the_overview_names_the_stages_of_trees_in_a_run():
    (rows,) = re.findall(r"\| key \| tree \|\n\|---\|---\|\n((?:\|.*\n)+)", OVERVIEW)
    keys = re.findall(r"`([\w ]+)/\d+/\d+`", rows)
    assert {key for key in keys if "ID" not in key} == {
        *run_folder.STAGES,
        curriculum.STAGE,
        anchored_tasks.STAGE,
    }
