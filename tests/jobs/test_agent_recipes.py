"""Recipes whose agent is one of a framework, which need not be here: `.ci/agents` runs them."""

import re
import shutil
import sys

import pytest

from hornbeam.gateway.last_words import MOST, last_words

from .test_recipes import AGENTS, FOLDER

SMALL = ["model.name=tiny", "model.chat_template=tiny", "run.steps=1", "run.tasks=1"]
SMALL += ["tasks.eval.0.count=1", "grow.trunks=1", "agents.solver.max_tokens=4"]
SETS = [word for each in SMALL for word in ("--set", each)]


def test_there_are_four_frameworks():
    names = {path.stem.removeprefix("agent_") for path in AGENTS}
    assert names >= {"openai_agents", "langgraph", "pydantic_ai", "smolagents"}


@pytest.mark.parametrize("path", AGENTS, ids=lambda path: path.stem)
def test_a_dry_run_needs_no_framework(path, hornbeam, monkeypatch):
    monkeypatch.delenv("HORNBEAM_DATA", raising=False)
    code, err, out = hornbeam("train", path, "--dry-run", "--set", "model.name=tiny")
    assert code == 0, err
    assert "a tiny model: memory" in out


def test_a_framework_that_is_not_here_is_one_line_that_says_what_to_do(
    tmp_path, hornbeam, monkeypatch
):
    monkeypatch.delenv("HORNBEAM_DATA", raising=False)
    text = (FOLDER / "agent_smolagents.toml").read_text()
    (tmp_path / "recipe.toml").write_text(text)
    shutil.copytree(FOLDER / "agents", tmp_path / "agents")
    agent = tmp_path / "agents" / "smolagents_solver.py"
    agent.write_text(agent.read_text().replace("from smolagents", "from no_framework"))
    code, err, _ = hornbeam("train", tmp_path / "recipe.toml", "--out", tmp_path / "run", *SETS)
    assert code == 2
    assert f"({sys.executable} -m pip install no-framework, or set program.python)" in err
    assert "the one episode failed" in err.splitlines()[-1]


def test_packages_are_named_as_an_index_has_them():
    text = "Traceback:\n  ^^^^^\nModuleNotFoundError: No module named 'agents.models'\n"
    assert last_words(text, interpreter="py") == (
        "Traceback: | ModuleNotFoundError: No module named 'agents.models'"
        " (py -m pip install openai-agents, or set program.python)"
    )
    assert last_words(text).endswith("'agents.models'")


def test_last_words_are_bounded_and_whole_lines():
    assert last_words("") == last_words(" \n ^^^ \n") == ""
    words = last_words("\n".join(f"line {n} " + "x" * 80 for n in range(99)))
    assert len(words) <= MOST and words.startswith("line 96") and words.count(" | ") == 2
    long = last_words("before\n" + "begin" + "x" * 9999 + "end")
    assert len(long) <= MOST and long.startswith("begin") and long.endswith("end")
    assert last_words("a /run/x/b.py\n/run/x/c", "/run/x") == "a b.py | c"


def test_a_copy_brings_its_agent(tmp_path, hornbeam, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code, err, out = hornbeam("recipes", "copy", "agent_langgraph")
    copied = ["agent_langgraph.toml", "agents/langgraph_solver.py", "agents/arithmetic.py"]
    assert (code, out.splitlines()) == (0, copied), err
    assert hornbeam("recipes", "copy", "agent_smolagents")[0] == 0
    (tmp_path / "agents" / "openai_agents_solver.py").write_text("mine")
    code, err, _ = hornbeam("recipes", "copy", "agent_openai_agents")
    assert code == 2 and "openai_agents_solver.py exists" in err
    assert not (tmp_path / "agent_openai_agents.toml").exists()


def test_the_page_of_agents_begins_with_these():
    page = (FOLDER.parent / "docs" / "your-agent.md").read_text("utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    shown = [block for block in blocks if "def run(task, session)" in block]
    files = {path: path.read_text("utf-8") for path in (FOLDER / "agents").glob("*_solver.py")}
    for file, text in files.items():
        code = text.split('"""\n\n', 1)[1]
        assert re.sub(r' {4}""".*"""\n', "", code) in shown, file
