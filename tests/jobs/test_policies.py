"""Several policies on one tree: each learns from its own agents' nodes, by its own schedule."""

import asyncio
import json

import pytest
import torch

from hornbeam.assembly.examples import demonstrations, examples, spoken
from hornbeam.assembly.loading import load_policies
from hornbeam.assembly.plan import plan
from hornbeam.assembly.world import World
from hornbeam.credit import credit
from hornbeam.errors import DataError, RecipeError
from hornbeam.jobs.train.training import Run
from hornbeam.jobs.train.tree_metrics import warn_of_stops
from hornbeam.recipe.recipe import load_recipe
from hornbeam.store.database import Store, TreeKey
from hornbeam.store.ledger import Ledger
from hornbeam.train.policy import Policy
from hornbeam.tree.nodes import Tree

from .doors import Silent

PROGRAM = '''
"""Two take turns at the doors; each hears only the note before it."""

from hornbeam.chat import user
from hornbeam.tasks.lookup_world import doors
from hornbeam.tasks.lookup_world import lookup as note_of


async def duet(task, ep):
    note, turn = task.question, 0
    while behind := doors(note):
        reply = await ep.ask("even" if turn % 2 == 0 else "odd", [user(note)])
        if reply.text.strip() not in behind:
            return ""
        note = str(await ep.call("lookup", key=behind[reply.text.strip()]))
        turn += 1
    return note


def demonstration(task):
    note, turns = task.question, []
    for door in task.data["demonstration"]:
        turns.append(([user(note)], door, "even" if len(turns) % 2 == 0 else "odd"))
        note = note_of(task, doors(note)[door])
    return turns
'''
RECIPE = """
policies = {even = {}, odd = {}}
run = {steps = 2, tasks = 4, eval_every = 0, eval_start = false, checkpoint_every = 1}
model = {name = "tiny", options = {width = 32}}
agents = {even = {max_tokens = 4, policy = "even"}, odd = {max_tokens = 4, policy = "odd"}}
program = {name = "duet.py:duet"}
tools = {lookup = {}}
reward = {rule = "exact"}
grow = {n = 4}
optim = {lr = 6e-4}
sft = {count = 40, epochs = 16, lr = 5e-3, batch_size = 8}
[[tasks.train]]
source = "lookup"
count = 60
options = {depth = 2}
[[tasks.eval]]
source = "lookup"
split = "test"
count = 4
options = {depth = 2}
"""


@pytest.fixture
def duet(tmp_path):
    """Makes (recipe, plan) with changes, in a folder of its own."""
    (tmp_path / "duet.py").write_text(PROGRAM)
    (tmp_path / "duet.toml").write_text(RECIPE)

    def make(*sets):
        recipe = load_recipe(tmp_path / "duet.toml", sets)
        return recipe, plan(recipe, tmp_path)

    return make


def go(made, folder):
    asyncio.run(Run(*made, folder, Silent()).go())
    return {name: weights(folder / "final" / name) for name in made[0].names}


def weights(folder):
    return Policy.load(folder).weights()


def same(a, b):
    return all(torch.equal(a[name], b[name]) for name in a)


def metrics(folder):
    return [json.loads(row) for row in (folder / "metrics.jsonl").read_text().splitlines()]


def nodes(folder):
    with Store(folder, read_only=True) as store:
        return [node for key in store.keys("train") for node in store.read(key).tree.nodes[1:]]


def grown(made, folder):
    """Policies and the credited trees that they grew."""
    recipe, what = made
    policies = load_policies(recipe, folder / "model", print)
    shown = demonstrations(what.train.tasks, what.demonstration, 40)
    for member in policies:
        said = [spoken(turns, member.agents, False) for turns in shown]
        given = [example for turns in said for example in examples(turns, member.engine.chat)]
        assert list(member.policy.fit(given, recipe.sft))
    world = World.build(recipe, what, policies)
    starts = [
        (TreeKey("train", 0, n), Tree(task.to_json(), seed=n))
        for n, task in enumerate(what.train.tasks[:6])
    ]
    trees = asyncio.run(world.grower(Ledger(), None).grow_all(starts))
    for n, tree in enumerate(trees):  # before any training outcomes are all alike
        tree.columns["reward"] = [None] * len(tree)
        for k, leaf in enumerate(tree.leaves()):
            tree.columns["reward"][leaf] = float((n + k) % 2)
    credit(trees, "grpo")
    return policies, trees


def test_each_policy_learns_from_the_nodes_of_its_agents_alone(duet, tmp_path):
    policies, trees = grown(duet(), tmp_path)
    policies.save(tmp_path / "warm")
    result = policies.step(trees, 0)
    for member in policies:
        alone = Policy.load(tmp_path / "warm" / member.name, optim=member.policy.optim)
        own = alone.step(trees, trains=lambda node, name=member.name: node.agent == name)
        assert own["tokens_trained"] > 0 and own["updates"] == 1
        assert result[f"{member.name}/loss"] == own["loss"]
        assert same(member.policy.weights(), alone.weights())
    even, odd = (member.policy.weights() for member in policies)
    assert not same(even, odd)
    assert result["tokens_trained"] == result["even/tokens_trained"] + result["odd/tokens_trained"]
    assert result["loss"] == pytest.approx((result["even/loss"] + result["odd/loss"]) / 2)


def test_one_policy_may_have_a_gate_that_the_other_has_not(duet, tmp_path):
    even = "policies.even={loss={gate={stop_kl=1e-9, kl=9.0}}, optim={epochs=3}}"
    policies, trees = grown(duet(even), tmp_path)
    result = policies.step(trees, 0)
    assert (result["even/updates"], result["even/stopped_updates"]) == (1, 2)
    assert result["stopped_updates"] == 2 and result["updates"] == 2
    assert result["divergence"] == result["even/divergence"] > 0 and "odd/divergence" not in result
    said = []
    stopped = {"a/updates": 0, "a/stopped_updates": 2, "a/divergence": 0.25, "updates": 1}
    warn_of_stops({**result, **stopped}, 4, said.append)
    assert said == [
        "step 5: loss.gate let no update of policy 'a' be made (divergence 0.25):"
        ' raise stop_kl or stop_ratio, or set loss.old = "trainer"'
    ]


def test_a_run_of_two_policies_goes_on_where_it_was_stopped(duet, tmp_path):
    exact = "run.resume=exact"
    whole = go(duet(exact), tmp_path / "whole")
    go(duet(exact, "run.steps=1"), tmp_path / "parts")
    parts = go(duet(exact), tmp_path / "parts")
    assert all(same(whole[name], parts[name]) for name in ("even", "odd"))
    assert not same(whole["even"], whole["odd"])  # the warm start alone makes them differ
    rows = metrics(tmp_path / "whole")
    assert {row["stage"] for row in rows if row["kind"] == "sft"} == {"even", "odd"}


def test_policies_take_turns_and_versions_tell_who_spoke(duet, tmp_path):
    turns = ["policies.even={every=2}", "policies.odd={every=2, phase=1}", "run.steps=3"]
    made = duet(*turns, "grow.n=8", "run.tasks=8")
    go(made, tmp_path / "run")
    rows = metrics(tmp_path / "run")
    learned = [
        {key.split("/")[0] for key in row if key.endswith("/updates")}
        for row in rows
        if row["kind"] == "train"
    ]
    assert learned == [{"even"}, {"odd"}, {"even"}]
    spoke = {(node.agent, node.origin.version) for node in nodes(tmp_path / "run")}
    assert {agent for agent, _ in spoke} == {"even", "odd"}
    assert len(spoke) > 2  # weights changed between steps


def test_a_policy_that_is_not_trained_stays_as_it_is(duet, tmp_path):
    policies, trees = grown(duet("policies.odd={train=false}"), tmp_path)
    before = {m.name: {k: w.clone() for k, w in m.policy.weights().items()} for m in policies}
    result = policies.step(trees, 0)
    even, odd = policies
    assert not same(before["even"], even.policy.weights())
    assert same(before["odd"], odd.policy.weights()) and "odd/loss" not in result


def test_adapters_share_the_weights_below_them(duet, tmp_path):
    policies, trees = grown(duet("lora={rank=4}"), tmp_path)
    even, odd = (member.policy for member in policies)
    held = [dict(policy.model.named_parameters()) for policy in (even, odd)]
    for name, parameter in held[0].items():
        assert (parameter.data_ptr() == held[1][name].data_ptr()) == ("lora_" not in name)
    before = {name: weight.clone() for name, weight in odd.weights().items()}
    even.step(trees, trains=lambda node: node.agent == "even")
    assert same(before, odd.weights()) and not same(before, even.weights())


def test_a_policy_may_have_a_model_and_settings_of_its_own(duet, tmp_path):
    recipe, _ = duet('policies.odd={model="tiny", optim={lr=1e-5}}', "policies.even.lora={rank=2}")
    policies = load_policies(recipe, tmp_path / "model", print)
    even, odd = (member.policy for member in policies)
    assert (even.optim.lr, odd.optim.lr) == (6e-4, 1e-5)
    assert even.model is not even.causal and odd.model is odd.causal
    assert (tmp_path / "model-odd" / "config.json").is_file()


def test_the_weights_of_a_run_are_evaluated_by_policy(duet, tmp_path, hornbeam):
    go(duet("run.steps=0"), tmp_path / "run")
    final, recipe = tmp_path / "run" / "final", tmp_path / "duet.toml"
    code, err, said = hornbeam("eval", recipe, "--model", final, "--json")
    assert code == 0, err
    one = json.loads(said)
    code, _, said = hornbeam("eval", recipe, "--model", final / "even", "--json")
    assert code == 0 and json.loads(said)["count"] == one["count"] == 4
    rows = metrics(tmp_path / "run")
    assert one["accuracy"] == rows[-1]["accuracy"]
    assert hornbeam("view", tmp_path / "run")[0] == 0


@pytest.mark.parametrize(
    ("sets", "message"),
    [
        (["agents.odd.policy="], "agents.odd: no policy: set policy = 'even' or 'odd'"),
        (["agents.odd.policy=evn"], "agents.odd: policy = 'evn': did you mean 'even'?"),
        (["agents.odd.policy=even"], "policies.odd: no agent uses it"),
        (["policies={}"], "agents.even: policy = 'even': there is no [policies]"),
        (["policies.odd.optim={rate=1}"], "'policies.odd.optim' has no setting 'rate'"),
        (["policies.odd={every=2, phase=2}"], "phase = 2 never comes"),
        (["policies.odd.lr=1"], "[policies.odd] has no key 'lr'"),
        (["agents.odd.temperature=0.5", "agents.odd.policy=even"], "one temperature"),
    ],
)
def test_wrong_policies_are_one_line(duet, sets, message):
    with pytest.raises(RecipeError) as error:
        duet(*sets)
    assert message in str(error.value) and "\n" not in str(error.value)


def test_a_demonstration_must_say_who_speaks_where_several_learn(duet, tmp_path):
    text = PROGRAM.replace(', "even" if len(turns) % 2 == 0 else "odd"))', "))")
    made = duet()
    (tmp_path / "duet.py").write_text(text)
    made = (made[0], plan(made[0], tmp_path))
    with pytest.raises(DataError, match="must name the agent of each turn"):
        go(made, tmp_path / "run")
