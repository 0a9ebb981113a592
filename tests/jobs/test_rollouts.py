"""Labels by rollouts on the tiny world: the run, the filter, the account, what is refused."""

import asyncio
import json

import pytest

from hornbeam.errors import ProgramError, RecipeError
from hornbeam.jobs.label.run_label import Label
from hornbeam.recipe.recipe import load_recipe
from hornbeam.recipe.sections import LabelSection, label_strategy
from hornbeam.search.chunk_labels import apply
from hornbeam.search.labels import alone
from hornbeam.store.ledger import TOKENS
from hornbeam.tree.jsonl import read_trees
from hornbeam.tree.nodes import INJECTED, Node, Origin, Tree

from .doors import Silent, plan_of, stored

ROLLOUTS = {"strategy": "rollouts", "tasks": 4, "skip": 2, "trunks": 2, "rollouts": 4}


def label(world, path, **changes):
    """(what a label run told, its trees, what it said)."""
    recipe, progress = load_recipe(world.recipe), Silent()
    recipe = recipe.model_copy(update={"label": LabelSection(**{**ROLLOUTS, **changes})})
    result = asyncio.run(Label(recipe, plan_of(world), path, progress).go())
    return result, list(read_trees(path / "trees.jsonl")), progress.text.getvalue()


@pytest.fixture(scope="module")
def run(world, tmp_path_factory):
    """(what a label run told, its trees, its folder)."""
    path = tmp_path_factory.mktemp("rollouts") / "run"
    result, trees, _ = label(world, path, chunk_label="rel_ratio", thresholds={"gamma": 0.8})
    return result, trees, path


def recount(tree, trunks=2):
    """Q of the task and of the steps of trunks, from the tree's own edges."""
    reward, ends, first = tree.columns["reward"], {}, {}
    for i, node in enumerate(tree.nodes[1:], 1):
        first.setdefault(node.origin.episode, node.parent)
        ends[node.origin.episode] = i
    out = {}
    for i, node in enumerate(tree.nodes):
        if node.done and node.origin.episode < trunks and i:
            out[i] = [reward[i]]
        elif not i or node.origin.episode < trunks:
            out[i] = [reward[ends[e]] for e, at in first.items() if at == i and e >= trunks]
    return {i: sum(found) / len(found) for i, found in out.items()}


def test_every_step_of_a_trunk_has_the_mean_of_its_own_rollouts(run):
    result, trees, _ = run
    assert result["searched"] == result["kept"] == len(trees) == 4
    for tree in trees:
        known = {i: q for i, q in enumerate(tree.columns["q"]) if q is not None}
        assert known == pytest.approx(recount(tree))
        counts = {tree.columns["visits"][i] for i in known if not tree.nodes[i].done}
        assert counts == {4.0}
    steps = [q for tree in trees for q in tree.columns["q"][1:] if q is not None]
    assert result["labels"] == len(steps) and sum(0 < q < 1 for q in steps) > 0
    assert result["runs"] == sum(len(tree.leaves()) for tree in trees)


def test_the_account_is_that_of_the_ledger(run):
    result, _, path = run
    stored_trees, entries = stored(path, "label")
    paid = sum(e.amount for found in entries for e in found if e.kind in TOKENS)
    assert result["tokens_computed"] == paid == sum(result["costs"].get(kind, 0) for kind in TOKENS)
    assert result["tokens_alone"] == sum(alone(tree) for tree in stored_trees)
    assert result["times_cheaper"] == result["tokens_alone"] / paid > 1


def test_the_filter_gives_the_labels_of_the_run(run, hornbeam, tmp_path):
    result, trees, path = run
    labels = [tree.columns["label"] for tree in trees]
    assert {v for column in labels for v in column} == {1, -1, None}
    assert result["good"] == sum(column.count(1) for column in labels)
    assert result["bad"] == sum(column.count(-1) for column in labels)
    lines = [json.loads(line) for line in (path / "trees.jsonl").read_text().splitlines()]
    for line in lines:
        del line["columns"]["label"]
    bare = tmp_path / "bare.jsonl"
    bare.write_text("".join(json.dumps(line) + "\n" for line in lines))
    code, err, out = hornbeam("label", "rel_ratio", bare, "--set", "gamma=0.8")
    assert (code, err) == (0, "")
    found = [json.loads(line) for line in out.splitlines()]
    assert [line["columns"].pop("label") for line in found] == labels
    assert found == lines
    code, _, out = hornbeam("label", "abs_q", bare, "--out", tmp_path / "labelled.jsonl")
    assert (code, out) == (0, "")
    for tree, other in zip(read_trees(tmp_path / "labelled.jsonl"), trees):
        assert tree.columns["label"] == apply(other, "abs_q", {})


def test_the_filter_writes_nothing_that_is_half(run, world, hornbeam, tmp_path):
    path, out = run[2], tmp_path / "out.jsonl"
    lines = (path / "trees.jsonl").read_text().splitlines()
    broken = json.loads(lines[1])
    del broken["columns"]["q"]
    file = tmp_path / "trees.jsonl"
    file.write_text(f"{lines[0]}\n{json.dumps(broken)}\n")
    code, err, _ = hornbeam("label", "abs_q", file, "--out", out)
    assert code == 2 and f"{file}, line 2" in err and 'no column "q"' in err
    code, err, _ = hornbeam("label", "abs_q", world.folder / "labels" / "trees.jsonl", "--out", out)
    assert code == 2 and "[0, 1]" in err and "[-1, 1]" in err and "--method rollouts" in err
    refused = {
        ("abs_q",): "name the file",
        ("abs_g", file): "'abs_q'",
        ("abs_q", file, "--set", "alpha=1"): "'alpha'",
        ("rel_ratio", file, "--set", "gamma=nan"): "gamma",
        ("abs_q", file, "--model", "m"): "--model",
        ("abs_q", tmp_path / "none"): "no such file in",
    }
    for words, result in refused.items():
        code, err, _ = hornbeam("label", *words, "--out", out)
        assert code == 2 and result in err and len(err.splitlines()) == 1, (words, err)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["trees.jsonl"]


def test_the_command_labels_a_recipe_of_another_strategy(world, hornbeam, tmp_path):
    sets = ["--set", "label.rollouts=2", "--set", "label.tasks=2"]
    rule = ["--set", "label.chunk_label=abs_q", "--set", "label.adaptive=true"]
    words = ["--method", "rollouts", *sets, *rule, "--out", tmp_path / "run"]
    code, _, out = hornbeam("label", world.recipe, *words)
    assert code == 0 and "By abs_q" in out and "times that" in out
    trees = list(read_trees(tmp_path / "run" / "trees.jsonl"))
    assert len(trees) == 2 and all(set(t.columns["label"]) <= {1, -1, None} for t in trees)
    tasks = plan_of(world).train.tasks
    assert [tree.task["id"] for tree in trees] == [task.id for task in tasks[2:4]]  # label.skip


def test_tasks_that_are_settled_are_left_out_by_option(world, run, tmp_path):
    roots = [tree.columns["q"][0] for tree in run[1]]
    result, trees, _ = label(world, tmp_path / "run", most=0.5)
    assert [tree.columns["q"][0] for tree in trees] == [q for q in roots if 0.25 <= q <= 0.75]
    assert result["searched"] == 4 and result["kept"] == len(trees)


def test_runs_without_any_reward_are_told_and_nothing_is_written(world, tmp_path):
    recipe = load_recipe(world.recipe, ["limits.turns=1"])
    recipe = recipe.model_copy(update={"label": LabelSection(**ROLLOUTS)})
    job = Label(recipe, plan_of(world), tmp_path / "run", Silent())
    with pytest.raises(ProgramError, match=r"no run of 4 tasks has a reward.*limits\.turns"):
        asyncio.run(job.go())
    assert not (tmp_path / "run" / "trees.jsonl").exists()


@pytest.mark.parametrize(
    ("label", "words"),
    [
        ({"chunk_label": "abs_q", "strategy": "mcts"}, "label.strategy = 'rollouts'"),
        ({"thresholds": {"gamma": 1.0}}, "name it as chunk_label"),
    ],
)
def test_rules_that_cannot_be(label, words):
    with pytest.raises((ValueError, RecipeError), match=words):
        label_strategy(LabelSection(**{**ROLLOUTS, **label}))


def foreign(trees, runs=1):
    """The first runs of trees as others record them: texts, no ids."""
    out = []
    for tree in trees:
        new = Tree(tree.task)
        for episode in range(runs):
            at = 0
            for node in tree.nodes[1:]:
                if node.origin.episode == episode:
                    done = {"done": node.done, "answer": node.answer}
                    who = {"agent": "solver", "origin": Origin(episode, new.depth(at) + 1)}
                    at = new.append(Node(at, text=node.text, finish=node.finish, **who, **done))
        out.append(new)
    return out


def labelled(world, path, trees, **changes):
    recipe, progress = load_recipe(world.recipe), Silent()
    choice = {"strategy": "rollouts", "trunks": 2, "rollouts": 4, **changes}
    choice = {name: value for name, value in choice.items() if value is not None}
    recipe = recipe.model_copy(update={"label": LabelSection(**choice)})
    result = asyncio.run(Label(recipe, plan_of(world), path, progress, trees).go())
    return result, list(read_trees(path / "trees.jsonl")), progress.text.getvalue()


def test_runs_of_others_are_labelled_by_rollouts_from_their_steps(world, run, tmp_path):
    result, trees, said = labelled(world, tmp_path / "run", recorded := foreign(run[1], 2))
    assert "8 runs of 4 tasks are grown on" in said and result["searched"] == 4
    for tree, was in zip(trees, recorded, strict=True):
        for episode in range(2):
            nodes = [node for node in tree.nodes[1:] if node.origin.episode == episode]
            assert [n.text for n in nodes] == [
                n.text for n in was.nodes if n.origin.episode == episode
            ][not episode :]
            assert all(node.tokens and node.origin.version == INJECTED for node in nodes)
            assert not any(node.logprobs for node in nodes)
        known = {i: q for i, q in enumerate(tree.columns["q"]) if q is not None}
        assert known == pytest.approx(recount(tree))
    # what was said is not paid as sampled; the same command does nothing again
    again, same, said = labelled(world, tmp_path / "run", recorded)
    assert (again["costs"], same, "grown on" in said) == (result["costs"], trees, False)


def test_runs_that_the_program_does_not_repeat_are_told(world, run, tmp_path):
    good, bad = foreign(run[1], 1), foreign(run[1], 1)[:1]
    bad[0].append(
        Node(len(bad[0]) - 1, agent="solver", text="more", origin=Origin(0, 99), done=True)
    )
    _, _, said = labelled(world, tmp_path / "run", [*good[1:], *bad])
    assert "1 of 4 recorded runs are not reproduced by the program; task" in said
    with pytest.raises(
        ProgramError, match=r"none of 1 recorded runs is reproduced by the recipe's"
    ):
        labelled(world, tmp_path / "none", bad)
    with pytest.raises(RecipeError, match="by rollouts alone: add --method rollouts"):
        labelled(world, tmp_path / "mcts", good, strategy="mcts", trunks=None, rollouts=None)
