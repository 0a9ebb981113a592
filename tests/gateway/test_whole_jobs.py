"""Every job on an agent outside: what it makes is what it makes of the equal program."""

import json

import pytest

from gateway.test_agent_jobs import FUNCTION, HERE, MINE, RECIPE, weights
from hornbeam.chat import assistant, system, user
from hornbeam.gateway.delegations import Delegations
from hornbeam.store.database import Store
from hornbeam.tree.jsonl import from_json

# As errand_agent.py, by delegation.
NATIVE_ERRAND = """
import json

from hornbeam.chat import assistant, system, user
from hornbeam.tree.task import Task


async def seek(task, ep):
    messages = [system("seek"), user(task.question)]
    for _ in range(2):
        said = (await ep.ask("seeker", messages)).text
        messages += [assistant(said), user("and?")]
    return said


async def run(task, ep):
    messages = [user(task.question)]
    for _ in range(2):
        said = (await ep.ask("guide", messages)).text
        found = await ep.delegate("seeker", seek, Task(task.id, f"{said}?"))
        messages += [assistant(said), user(found)]
    return (await ep.ask("guide", messages)).text
"""
TWO = """
[policies.guide]
[policies.seeker]
[agents.guide]
max_tokens = 12
stop = ["a", "e", "i", "o", "s", "t", "1", "2", "3", "4", "0"]
policy = "guide"
[agents.seeker]
max_tokens = 12
stop = ["a", "e", "i", "o", "s", "t", "1", "2", "3", "4", "0"]
policy = "seeker"
"""
DELEGATION = """
[reward.delegation]
answer = '(?s)(.*)'
expert = 0.0
"""
SEARCH = """
[[search.methods]]
name = "greedy"
strategy = "independent"
choose = "first"
n = 1
[[search.methods]]
name = "majority"
strategy = "independent"
choose = "majority"
n = 3
[label]
strategy = "rollouts"
tasks = 2
"""


class Opening:
    """What of an episode the scopes need."""

    scope, count = "", 0

    def opened(self, agent):
        self.count += 1
        return f"{agent}.{self.count}"


def test_what_begins_and_what_goes_on_are_told_apart():
    one, two = [system("now: 1"), user("a")], [user("b")]
    more = [assistant("x"), user("and?")]
    of = Delegations(Opening(), "main").scope
    assert of("main", one) == of("main", [*one, *more]) == ""
    assert of("sub", two) == of("sub", [*two, *more]) == "sub.1"
    assert of("sub", one) == "sub.2" and of("sub", [*two, *more]) == "sub.1"
    assert of("sub", [system("now: 2"), *one[1:], *more]) == "sub.2"  # other instructions
    assert of("sub", two) == "sub.3" == of("sub", [*two, *more])  # asked once more
    assert of("sub", [user("a summary"), *more]) == "sub.3"  # of nobody knows which: the latest
    of = Delegations(Opening(), "main").scope
    assert of("main", one) == "" == of("sub", [*one, *more])  # handed over
    assert of("sub", two, "") == "" == of("sub", [*two, *more])  # as an older record has it


@pytest.fixture
def run(tmp_path, hornbeam):
    """Runs a command on a recipe of a folder of its own; what was said."""

    def go(name, text, command, *more):
        folder = tmp_path / name
        if not folder.is_dir():
            folder.mkdir()
            for file in ("lookup_agent.py", "errand_agent.py"):
                (folder / file).write_text((HERE / file).read_text("utf-8"))
            (folder / "mine.py").write_text(MINE)
            (folder / "errand.py").write_text(NATIVE_ERRAND)
            (folder / "recipe.toml").write_text(text)
        code, err, said = hornbeam(command, folder / "recipe.toml", *more)
        assert code == 0, err + said
        return said

    return go


def trees(folder, stage):
    store = Store(folder)
    found = [store.read(key).tree for key in store.keys(stage)]
    store.close()
    return found


def facts(tree):
    told = [(n.parent, n.agent, n.scope, [*n.tokens], n.finish, n.done) for n in tree.nodes]
    return told, tree.columns["reward"], tree.columns["advantage"]


def test_two_policies_by_name_are_trained_with_m_grpo(run, tmp_path):
    text = RECIPE.replace("[agents.seeker]\nmax_tokens = 3", TWO)
    text = text.replace('method = "grpo"', 'method = "m_grpo"\nd = 2')
    text = text.replace("[grow]", DELEGATION + "[grow]").replace("steps = 2", "steps = 1")
    text = text.replace("eval_every = 2", "eval_every = 0\neval_start = false")
    text = text.replace("trunks = 3", "trunks = 2").replace("count = 3", "count = 1")
    programs = {
        "native": 'name = "errand.py:run"',
        "outside": 'agent = "python errand_agent.py {task}"',
    }
    for name, program in programs.items():
        run(name, text.replace("PROGRAM", program), "train", "--out", tmp_path / name / "out")
    native, outside = (trees(tmp_path / name / "out", "train") for name in programs)
    assert {n.scope for tree in outside for n in tree.nodes} == {"", "seeker.1", "seeker.2"}
    assert [*map(facts, outside)] == [*map(facts, native)]
    for policy in ("guide", "seeker"):
        trained = [weights(tmp_path / name / "out" / "final" / policy) for name in programs]
        assert trained[0] == trained[1] != []
        assert trained[0] != weights(tmp_path / "native" / "out" / "model")


def test_it_is_evaluated_and_searched_alike(run, tmp_path):
    found = {}
    for name, program in {"native": 'name = "lookup"', "outside": FUNCTION}.items():
        text = RECIPE.replace("PROGRAM", program) + SEARCH
        told = json.loads(run(name, text, "eval", "--json").splitlines()[-1])
        out = tmp_path / name / "search"
        run(name, text, "search", "--out", out)
        result = json.loads((out / "search.json").read_text("utf-8"))
        points = [point for method in result["methods"] for point in method["points"]]
        kept = ("label", "accuracy", "right", "policy_tokens", "oracle", "failed", "unanswered")
        rows = [{key: point[key] for key in kept} for point in points]
        found[name] = [told["reward" if "reward" in told else "accuracy"], told["count"], rows]
    assert found["native"] == found["outside"]
    assert len(found["outside"][2]) == 2


def test_it_labels_and_what_it_labels_is_fitted(run, tmp_path):
    fitted = {}
    for name, program in {"native": 'name = "lookup"', "outside": FUNCTION}.items():
        text = RECIPE.replace("PROGRAM", program) + SEARCH
        labels, model = tmp_path / name / "labels", tmp_path / name / "prm"
        run(name, text, "label", "--out", labels)
        given = ("--trees", labels / "trees.jsonl", "--model", labels / "model")
        run(name, text, "fit", *given, "--out", model)
        lines = (labels / "trees.jsonl").read_text("utf-8").splitlines()
        labelled = [from_json(json.loads(line)) for line in lines]
        told = [([[*n.tokens] for n in tree.nodes], tree.columns["q"]) for tree in labelled]
        fitted[name] = told, weights(model)
    assert fitted["native"] == fitted["outside"]
    assert any(value for _, column in fitted["outside"][0] for value in column)
