"""Runs by parts out of a file: as by the ready-made ones, named, held when they go on."""

import json
from functools import partial

import pytest

from hornbeam.store.database import Store
from told import without_code

RECIPE = """
[run]
steps = 2
tasks = 2
eval_every = 0
eval_start = false
[model]
name = "tiny"
options = {width = 16, layers = 1}
[agents.seeker]
max_tokens = 3
[program]
name = "single"
agent = "seeker"
[[tasks.train]]
source = "lookup"
split = "train"
count = 4
[[tasks.eval]]
source = "lookup"
split = "test"
count = 3
[reward]
rule = "mine.py:vowels"
workers = 1
[grow]
strategy = "independent"
n = 3
[credit]
method = "grpo"
[optim]
lr = 1e-2
"""

MINE = """
from pydantic import Field

from hornbeam.credit import PathMethod
from hornbeam.credit.baselines import standardised
from hornbeam.search import Fork, Strategy, Vote
from hornbeam.search.choose import majority


def vowels(task, text):
    return sum(text.count(v) for v in "aeiou") + len(text) / 100


def places(split, seed, doors: int = 4):
    for number in range(doors):
        yield {"question": f"What is behind {split} {number + seed}?", "answer": str(number)}


def worth(tree, node, scale: float = 1.0):
    return scale * tree.nodes[node].text.count("e")


def clip(ratio, plus, minus):
    return -(plus * ratio.clamp(max=1.2) + minus * ratio.clamp(min=0.8))


def surer(entropy):
    return -entropy


def pairs(text):
    return list(range(2, len(text), 2))


def longest(tree, leaves):
    return max(leaves, key=lambda i: len(str(tree.nodes[i].answer)), default=None)


def most(tree, leaves, same):
    return majority(tree, leaves, same)


class Ballot(Vote):
    pass


class Wide(Strategy):
    n: int = Field(8, ge=1)

    def ask(self, tree, state):
        return [Fork(e, 0) for e in range(self.n) if e not in state.asked]

    def leaves(self):
        return self.n


class Own(PathMethod):
    def advantages(self, groups):
        return [standardised([leaf.reward for leaf in group]) for group in groups]


class Raises(Own):
    def advantages(self, groups):
        return 1 / 0


class Lost(Wide):
    def ask(self, tree, state):
        raise KeyError("no such place")
"""


SAY = """
from hornbeam.chat import user


async def say(task, ep):
    return (await ep.ask("seeker", [user(task.question)])).text
"""


@pytest.fixture
def job(tmp_path, hornbeam):
    """Runs a command on the recipe with settings of --set; (exit code, all that was said)."""
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "mine.toml").write_text(RECIPE)

    def run(command, out, *sets, more=()):
        words = [word for each in sets for word in ("--set", each)]
        where = () if out is None else ("--out", tmp_path / out)
        code, err, said = hornbeam(command, tmp_path / "mine.toml", *words, *where, *more)
        return code, err + said

    return run


@pytest.fixture
def train(job):
    return partial(job, "train")


def weights(tmp_path, out):
    return (tmp_path / out / "final" / "model.safetensors").read_bytes()


OWN = ["grow.strategy='mine.py:Wide'", "credit.method='mine.py:Own'"]
OWN += ["loss.objective='mine.py:clip'"]


def test_own_parts_train_to_the_weights_of_the_ready_made_ones(train, tmp_path):
    assert train("ready")[0] == 0
    code, said = train("own", *OWN)
    assert code == 0, said
    assert weights(tmp_path, "ready") == weights(tmp_path, "own")
    assert train("other", *OWN, "run.seed=1")[0] == 0
    assert weights(tmp_path, "other") != weights(tmp_path, "own")

    (tmp_path / "mine.py").write_text(MINE + "# another version\n")
    code, said = train("own", *OWN)
    assert code == 2 and "run began with other code of reward.rule than mine.py:vowels has" in said
    (tmp_path / "mine.py").write_text(MINE)
    assert train("own", *OWN)[0] == 0


SHAPED = ["credit={method='shaped',column='good'}", "guides.good={kind='mine.py:worth'}"]


def test_an_own_guide_shapes_credit_and_is_held(train, tmp_path):
    code, said = train("run", *SHAPED)
    assert code == 0, said
    with Store(tmp_path / "run", read_only=True) as store:
        trees = [store.read(key).tree for key in store.keys("train")]
    for tree in trees:
        told = [float(node.text.count("e")) for node in tree.nodes[1:]]
        assert tree.columns["good"][1:] == told
    code, said = train("run", *SHAPED, "guides.good.scale=2.0")
    assert code == 2 and "this run began with another recipe (guides.good differ)" in said
    (tmp_path / "mine.py").write_text(MINE + "\n")
    code, said = train("run", *SHAPED, "reward.rule=exact")
    assert code == 2 and "reward.rule differ" in said
    code, said = train("other", *SHAPED, "reward.rule=exact", "run.steps=1")
    assert code == 0, said
    (tmp_path / "mine.py").write_text(MINE)
    code, said = train("other", *SHAPED, "reward.rule=exact", "run.steps=1")
    assert code == 2 and "other code of guides.good.kind than mine.py:worth has now" in said


METHOD = "{{name='{0}',strategy='{1}',choose='{2}',n=3}}"


def test_a_search_by_own_parts_is_as_one_by_ready_made_ones(job, tmp_path):
    (tmp_path / "held.py").write_text(MINE)
    ready = METHOD.format("a", "vote", "majority")[:-1] + ",parallel=1}"
    mine = METHOD.format("b", "held.py:Ballot", "held.py:most")[:-1] + ",parallel=1}"
    last = METHOD.format("c", "held.py:Ballot", "held.py:longest")
    sets = [f"search.methods=[{ready},{mine},{last}]"]
    code, said = job("search", "run", *sets)
    assert code == 0, said

    def points():
        result = json.loads((tmp_path / "run" / "search.json").read_text())
        return {m["name"]: m["points"][0] for m in result["methods"]}

    first, second = points()["a"], points()["b"]
    assert first["questions"] == 3 and first["right"] == second["right"]
    assert (first["total_tokens"], first["hit_k"]) == (second["total_tokens"], second["hit_k"])
    with Store(tmp_path / "run", read_only=True) as store:
        before = set(store.keys(None))
    (tmp_path / "held.py").write_text(MINE + "\n")
    code, said = job("search", "run", *sets)
    assert code == 0, said
    with Store(tmp_path / "run", read_only=True) as store:
        assert {key.stage.split()[0] for key in set(store.keys(None)) - before} == {"b", "c"}


TASKS = "tasks.{0}=[{{source='{1}.py:places',split='{0}',options={{doors=3}}}}]"


def test_own_tasks_are_trained_on_in_chunks_of_own_making(train, tmp_path):
    sets = [TASKS.format(part, "mine") for part in ("train", "eval")]
    sets += ["agents.seeker.max_tokens=6", "grow={strategy='branch',trunks=2,nodes=1,rounds=1}"]
    code, said = train("own", *sets, "agents.seeker.segment={by='mine.py:pairs'}")
    assert code == 0 and "mine.py:places train: 3 tasks by mine.py: places" in said, said
    with Store(tmp_path / "own", read_only=True) as store:
        trees = [store.read(key).tree for key in store.keys("train")]
    assert any(node.finish == "chunk" for tree in trees for node in tree.nodes)
    assert train("ready", *sets, "agents.seeker.segment={by='regex',regex='(?s)..'}")[0] == 0
    assert weights(tmp_path, "own") == weights(tmp_path, "ready")


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("grow.strategy", "grow.strategy='held.py:Wide'"),
        ("credit.method", "credit.method='held.py:Own'"),
        ("program.name", "program={name='held.py:say'}"),
        ("tools.x.use", "tools.x.use='held.py:vowels'"),
        ("agents.seeker.segment.by", "agents.seeker.segment={by='held.py:pairs'}"),
        ("loss.objective", "loss.objective='held.py:clip'"),
        ("loss.terms.0.use", "loss.terms=[{use='held.py:surer',weight=0.1}]"),
        ("tasks.train.0.source", TASKS.format("train", "held")),
    ],
)
def test_each_file_of_own_code_is_held(train, tmp_path, key, change):
    held = tmp_path / "held.py"
    held.write_text(f"{MINE}\n{SAY}")
    code, said = train("run", "run.steps=1", change)
    assert code == 0, said
    held.write_text(held.read_text() + "\n")
    code, said = train("run", "run.steps=1", change)
    assert code == 2 and f"other code of {key} than held.py:" in said, said


def test_what_own_code_raises_is_one_line_with_its_place(train):
    for change, line in {
        "grow.strategy='mine.py:Lost'": "mine.py:69: KeyError: 'no such place'",
        "credit.method='mine.py:Raises'": "mine.py:64: ZeroDivisionError: division by zero",
    }.items():
        code, said = train(change.partition(".")[0], change)
        assert code == 2 and without_code(said).startswith(f"hornbeam: {line}"), said


def test_a_dry_run_names_own_code(train):
    code, said = train(None, *OWN, more=["--dry-run"])
    assert code == 0, said
    line = "# own code: reward.rule = mine.py:vowels, grow.strategy = mine.py:Wide"
    assert line in said
