"""Searches on the tiny world, end to end: figures against a recount, stopped and gone on, budgets,
what a pool costs, labels, and the commands.
"""

import asyncio
import json
import shutil
import sys
from collections import Counter

import pytest

from hornbeam.cli.main import main
from hornbeam.engine.local.local_engine import LocalEngine
from hornbeam.jobs.label.run_label import Label
from hornbeam.jobs.search.answer_pool import fresh_prompts, read_pool, search_pool, share_prompts
from hornbeam.recipe.recipe import load_recipe
from hornbeam.store.database import Store, export
from hornbeam.store.ledger import TOKENS, Entry
from hornbeam.tree.jsonl import read_trees
from hornbeam.tree.nodes import Node, Origin, Tree, floats, ids

from .doors import (
    BEAM,
    GREEDY,
    SINGLE,
    Silent,
    plain,
    plan_of,
    points,
    recipe_of,
    search,
    stages,
    stored,
)

MAJORITY = {"name": "majority", "choose": "majority", "sweep": {"n": [1, 2, 4]}}
BEST = {"name": "best", "choose": "best", "n": 4}
MCTS = {"name": "MCTS", "strategy": "mcts", "choose": "q", "children": 2, "simulations": 5}
PARTICLES = {"name": "particles", "strategy": "particle", "choose": "kept", "particles": 3}


@pytest.fixture(scope="module")
def grown(world, tmp_path_factory):
    """(result, run folder) of all kinds of methods."""
    path = tmp_path_factory.mktemp("grown") / "run"
    result = search(world, path, SINGLE, GREEDY, MAJORITY, BEST, BEAM, MCTS, PARTICLES)
    return result, path


def answers(tree):
    """(episode, answer, reward) of every finished episode without an error, in order."""
    ends = [i for i in tree.leaves() if tree.nodes[i].done and not tree.nodes[i].error]
    rows = [
        (tree.nodes[i].origin.episode, tree.nodes[i].answer, tree.columns["reward"][i])
        for i in ends
    ]
    return sorted((row for row in rows if row[1] is not None), key=lambda row: row[0])


def majority(said):
    """The reward of the first answer that most gave; 0 without any."""
    votes = Counter(answer for _, answer, _ in said)
    return next((r for _, answer, r in said if votes[answer] == max(votes.values())), 0.0)


def paid(entries, *kinds):
    return sum(e.amount for e in entries if e.kind.partition(" ")[0] in kinds)


# --- figures against a recount -------------------------------------------------------------------


def test_the_chain_learns_something_to_search_by(world):
    assert world.labels["searched"] == 16 and 1 <= world.labels["kept"] <= 16
    assert world.fitted["trees"] + world.fitted["held_out"] == world.labels["kept"]


@pytest.mark.parametrize("name", ["beam", "MCTS", "particles"])
def test_figures_of_a_search_are_those_of_its_trees_and_its_ledger(grown, name):
    row = next(p for (method, _), p in points(grown[0]).items() if method == name)
    trees, entries = stored(grown[1], name)
    assert row["questions"] == len(trees) == 4
    policy = [paid(found, "sampled_tokens") for found in entries]
    assert policy == [sum(len(node.tokens) for node in tree.nodes) for tree in trees]
    assert row["policy_tokens"] == sum(policy) / 4
    assert row["scorer_tokens"] == sum(paid(found, "scorer_tokens") for found in entries) / 4 > 0
    assert row["total_tokens"] == sum(paid(found, *TOKENS) for found in entries) / 4
    calls = ("model_calls", "tool_calls", "scorer_calls")
    assert row["calls"] == sum(paid(found, *calls) for found in entries) / 4
    for tree in trees:
        judged = [v is not None for v in tree.columns["value"]]
        assert judged == [bool(node.tokens) and not node.error for node in tree.nodes]
    assert row["accuracy"] == sum(row["right"]) / 4
    oracle = [max((r for *_, r in answers(tree)), default=0) for tree in trees]
    assert row["oracle"] == sum(oracle) / 4 >= row["hit_k"] >= row["accuracy"]
    assert all(a <= b for a, b in zip(row["right"], oracle))


def test_the_answer_that_is_shown_is_the_one_that_is_counted(grown):
    for number, question in enumerate(grown[0]["questions"]):
        for result in question["searches"]:
            row = points(grown[0])[result["method"], result["label"]]
            chosen = [node for node in result["nodes"] if node.get("chosen")]
            assert (
                chosen and chosen[-1]["done"] and chosen[-1].get("answer", "") == result["answer"]
            )
            assert result["correct"] == (result["answer"] == question["gold"])
            assert row["right"][number] == float(result["correct"])
            if result["method"] == "single":  # one episode of a pool of four
                assert chosen == result["nodes"][1:]


def test_a_vote_ends_by_the_classes_of_the_rule(world, tmp_path):
    vote = {"name": "vote", "strategy": "vote", "choose": "majority", "n": 5, "parallel": 1}
    result = search(world, tmp_path / "run", vote)
    trees, _ = stored(tmp_path / "run", "vote")
    for tree, right in zip(trees, points(result)["vote", ""]["right"], strict=True):
        said = answers(tree)
        votes = [many for _, many in Counter(answer for _, answer, _ in said).most_common()]
        lead = votes[0] - sum(votes[1:2])
        assert right == majority(said) and (lead > 5 - len(said) or len(said) == 5)
        classes = [tree.columns["alike"][i] for i in tree.leaves()]
        assert len(set(classes)) == len(votes) and None not in classes


def test_majority_is_a_recount_of_the_first_n_of_the_pool(grown):
    trees, _ = stored(grown[1], pool(grown[1], 4))
    for n in (1, 2, 4):
        right = [majority([row for row in answers(tree) if row[0] < n]) for tree in trees]
        assert points(grown[0])["majority", f"n={n}"]["right"] == right


def pool(path, n):
    """The stage of the pool of n episodes a task."""
    return next(s for s in stages(path) if s.startswith("pool ") and s.endswith(f" {n}"))


def test_free_readings_are_recounts(grown):
    for (name, _), row in points(grown[0]).items():
        if name not in ("beam", "MCTS", "particles"):
            continue
        trees, _ = stored(grown[1], name)
        firsts = [next((r for *_, r in answers(tree)), 0.0) for tree in trees]
        assert row["free"]["first"] == sum(firsts) / 4
        likely = []
        for tree in trees:
            ends = [i for i in tree.leaves() if tree.nodes[i].done and not tree.nodes[i].error]
            sums = {i: sum(sum(tree.nodes[k].logprobs) for k in tree.path(i)) for i in ends}
            top = max(sums, key=sums.get, default=None)
            likely.append(0.0 if top is None else tree.columns["reward"][top])
        assert row["free"]["likelihood"] == sum(likely) / 4


def test_the_anytime_curve_ends_at_the_figures_of_the_point(grown):
    curves = 0
    for row in points(grown[0]).values():
        spent = [tokens for tokens, _ in row["anytime"]]
        assert spent == sorted(spent)
        if row["anytime"]:
            curves += 1
            tokens, accuracy = row["anytime"][-1]
            assert accuracy == row["accuracy"]
            assert tokens == pytest.approx(row["total_tokens"])
    assert curves >= 5


def test_differences_are_those_to_the_baseline_question_by_question(grown):
    rows = points(grown[0])
    base = rows["single", ""]["right"]
    assert grown[0]["baseline"] == "single" and rows["single", ""]["against"] is None
    for key, row in rows.items():
        if key[0] != "single":
            difference = sum(a - b for a, b in zip(row["right"], base)) / 4
            assert row["against"]["difference"] == pytest.approx(difference)
            assert row["against"]["low"] <= difference <= row["against"]["high"]


def test_values_steer_and_outcomes_choose(world, tmp_path):
    beam, mcts = {**BEAM, "choose": "kept_orm"}, {**MCTS, "leaf": "orm"}
    likely = {**BEAM, "name": "likely", "column": "likelihood", "choose": "likelihood"}
    best, vote = {**BEST, "choose": "best_orm"}, {**BEST, "name": "vote", "choose": "orm_vote"}
    result = search(world, tmp_path / "run", SINGLE, beam, mcts, likely, best, vote)
    rows = points(result)
    assert rows["likely", ""]["scorer_tokens"] == 0 < rows["beam", ""]["scorer_tokens"]
    assert rows["best", ""]["scorer_tokens"] == rows["vote", ""]["scorer_tokens"] > 0
    for name in ("beam", "MCTS"):
        for tree in stored(tmp_path / "run", name)[0]:
            for i, node in enumerate(tree.nodes):
                step = bool(node.tokens) and not node.error
                assert (tree.columns["value"][i] is not None) == step
                assert (tree.columns["orm"][i] is not None) == (step and node.done)
    for tree, right in zip(stored(tmp_path / "run", "pool ")[0], rows["best", ""]["right"]):
        ends = [i for i in tree.leaves() if tree.nodes[i].done and not tree.nodes[i].error]
        top = max(ends, key=lambda i: tree.columns["orm"][i])
        assert right == tree.columns["reward"][top]


# --- pools ---------------------------------------------------------------------------------------


def test_fresh_prompt_tokens_by_hand():
    tree = Tree({"id": "t"})
    for episode, last in ((0, 4), (1, 5)):
        at = 0
        for step, (prompt, said) in enumerate((([1, 2, 3], [7, 8]), ([last], [9]))):
            held = {"tokens": ids(said), "logprobs": floats([0] * len(said))}
            at = tree.append(Node(at, prompt=ids(prompt), origin=Origin(episode, step), **held))
    fresh = fresh_prompts(tree)
    assert fresh == {0: 3 + 2, 1: 1}  # 1 2 3, then 8 4; of episode 1 only 5 is new
    late = [Entry("t", e, 0, "prompt_tokens_computed", n) for e, n in ((0, 0), (1, 12))]
    other = Entry("t", 1, 0, "sampled_tokens", 3)
    result = {(e.episode, e.kind): e.amount for e in share_prompts([*late, other], fresh)}
    computed = {(e, "prompt_tokens_computed"): n for e, n in ((0, 10), (1, 2))}
    assert result == computed | {(1, "sampled_tokens"): 3}


def test_a_part_of_a_pool_is_the_search_that_it_stands_for(world, grown, tmp_path):
    alone = search(world, tmp_path / "two", {"name": "majority", "choose": "majority", "n": 2})
    few, _ = stored(tmp_path / "two", pool(tmp_path / "two", 2))
    many, _ = stored(grown[1], pool(grown[1], 4))
    for a, b in zip(few, many, strict=True):
        assert len(a) < len(b)
        assert plain(a)["nodes"] == plain(b)["nodes"][: len(a)]
    one, part = points(alone)["majority", ""], points(grown[0])["majority", "n=2"]
    for figure in ("right", "policy_tokens", "calls", "scorer_tokens", "oracle", "hit_k", "free"):
        assert one[figure] == part[figure], figure
    # of tokens that questions share only their part of the pool's is known
    assert part["prompt_tokens"] == pytest.approx(one["prompt_tokens"], rel=0.02)


def test_a_pool_is_sampled_once_and_each_method_pays_for_the_guides_that_it_reads(grown):
    rows = points(grown[0])
    pools = [stage for stage in stages(grown[1]) if stage.startswith("pool ")]
    assert len(pools) == 2  # greedy ones, and all others
    best, vote = rows["best", ""], rows["majority", "n=4"]
    for figure in ("policy_tokens", "prompt_tokens", "oracle", "calls"):
        assert best[figure] == vote[figure], figure
    assert vote["scorer_tokens"] == 0 < best["scorer_tokens"]
    assert best["total_tokens"] == vote["total_tokens"] + best["scorer_tokens"]


def test_a_pool_from_a_file_gives_the_figures_of_the_search_that_grew_it(world, grown, tmp_path):
    with Store(grown[1], read_only=True) as store:
        export(store, tmp_path / "all.jsonl", pool(grown[1], 4))
    recipe = recipe_of(world, SINGLE, MAJORITY, BEST, BEAM)
    progress = Silent()
    assert (grown[1] / "pool.jsonl").read_text() == (tmp_path / "all.jsonl").read_text()
    result = asyncio.run(search_pool(recipe, read_pool(tmp_path / "all.jsonl"), progress))
    assert "beam: left out" in progress.text.getvalue()
    rows = points(result)
    assert set(rows) == {("single", ""), ("best", "")} | {("majority", f"n={n}") for n in (1, 2, 4)}
    for key, row in rows.items():
        grown_row = points(grown[0])[key]
        for figure in ("right", "policy_tokens", "oracle", "hit_k", "free", "against"):
            assert row[figure] == grown_row[figure], (key, figure)
        assert row["prompt_tokens"] >= grown_row["prompt_tokens"] > 0  # questions share none here


def test_a_pool_that_is_wanted_larger_is_not_read_short(world, tmp_path):
    search(world, tmp_path / "run", SINGLE)
    result = search(
        world, tmp_path / "run", SINGLE, {"name": "majority", "choose": "majority", "n": 3}
    )
    trees, _ = stored(tmp_path / "run", pool(tmp_path / "run", 3))
    assert [len(tree.leaves()) for tree in trees] == [3] * 4
    policy = sum(len(node.tokens) for tree in trees for node in tree.nodes) / 4
    assert points(result)["majority", ""]["policy_tokens"] == policy


# --- stopped, and gone on ------------------------------------------------------------------------


class Killed(BaseException):
    """What no handler of errors catches."""


class Calls:
    """Counts calls of an engine, and ends the process's work at call number `last`."""

    def __init__(self, monkeypatch, last=None):
        self.begun = self.ended = 0
        real = LocalEngine.generate

        async def generate(engine, request):
            self.begun += 1
            if self.begun == last:
                raise Killed
            said = await real(engine, request)
            self.ended += 1
            return said

        monkeypatch.setattr(LocalEngine, "generate", generate)


def assert_alike(tree, other):
    """Equal trees; log-probs and values to the last bits, in which the batches show."""
    mine, its = plain(tree), plain(other)
    for a, b in zip(mine["nodes"], its["nodes"], strict=True):
        assert a.pop("logprobs", []) == pytest.approx(b.pop("logprobs", []), abs=1e-5)
    columns, others = mine.pop("columns"), its.pop("columns")
    assert mine == its and columns.keys() == others.keys()
    for name, column in columns.items():
        assert column == pytest.approx(others[name], abs=1e-5), name


@pytest.mark.parametrize("last", [1, 9, 30, 47])
def test_a_killed_search_goes_on_to_the_same_trees_and_result(
    world, tmp_path, monkeypatch, last, whole
):
    methods = (SINGLE, BEAM, MCTS)
    with monkeypatch.context() as patch:
        first = Calls(patch, last)
        with pytest.raises(BaseException) as raised:
            search(world, tmp_path / "run", *methods)
        assert isinstance(raised.value, Killed | BaseExceptionGroup)
    with monkeypatch.context() as patch:
        then = Calls(patch)
        results = search(world, tmp_path / "run", *methods)
    all_calls, result, path = whole
    flight = first.begun - first.ended
    assert all_calls <= first.ended + then.ended <= all_calls + flight
    assert stages(tmp_path / "run") == stages(path)
    for stage in stages(path):
        ours, theirs = stored(tmp_path / "run", stage), stored(path, stage)
        for tree, found, other in zip(*ours, theirs[0], strict=True):
            assert_alike(tree, other)
            said = sum(len(node.tokens) for node in tree.nodes)
            assert said <= paid(found, "sampled_tokens") <= said + 4 * flight
    for key, row in points(result).items():
        for figure in ("right", "hit_k", "oracle", "free"):
            assert points(results)[key][figure] == row[figure]


@pytest.fixture(scope="module")
def whole(world, tmp_path_factory):
    """(calls of the engine, result, run folder) of a search that was never stopped."""
    path = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        calls = Calls(patch)
        result = search(world, path, SINGLE, BEAM, MCTS)
    return calls.begun, result, path


def test_a_search_that_is_done_pays_for_nothing_again(world, tmp_path, monkeypatch, whole):
    shutil.copytree(whole[2], tmp_path / "run")
    calls = Calls(monkeypatch)
    result = search(world, tmp_path / "run", SINGLE, BEAM, MCTS)
    assert calls.begun == 0
    assert result["methods"] == whole[1]["methods"]


# --- budgets -------------------------------------------------------------------------------------


def test_a_budget_ends_each_question_by_itself_and_keeps_the_best_answer(world, tmp_path):
    free = {"name": "free", "choose": "majority", "n": 8}
    tight = {**free, "name": "tight", "budget": {"tokens": 75}}
    calls = {**MCTS, "name": "calls", "simulations": 30, "budget": {"calls": 25}}
    rows = points(search(world, tmp_path / "run", free, tight, calls))
    spent = 0
    trees, entries = stored(tmp_path / "run", "tight ")
    for tree, found in zip(trees, entries, strict=True):
        assert paid(found, *TOKENS) <= 75
        spent += len({node.origin.episode for node in tree.nodes[1:] if node.done}) < 8
    assert rows["tight", ""]["spent"] == spent >= 1
    assert rows["free", ""]["spent"] == 0
    right = [majority(answers(tree)) for tree in trees]
    assert rows["tight", ""]["right"] == right
    assert rows["tight", ""]["unanswered"] == sum(not answers(tree) for tree in trees)
    for found in stored(tmp_path / "run", "calls ")[1]:
        assert paid(found, "model_calls", "tool_calls", "scorer_calls") <= 25


# --- labels --------------------------------------------------------------------------------------


def label(world, path, **changes):
    recipe = load_recipe(world.recipe)
    choice = recipe.label.model_copy(update=changes)
    job = Label(recipe.model_copy(update={"label": choice}), plan_of(world), path, Silent())
    result = asyncio.run(job.go())
    return result, list(read_trees(path / "trees.jsonl"))


def test_labels_by_the_published_search_are_its_own_visits_and_means(world, tmp_path):
    recipe = load_recipe(world.recipe, ["label.style=masprm", "label.most=1.0", "label.tasks=3"])
    job = Label(recipe, plan_of(world), tmp_path / "run", Silent())
    result = asyncio.run(job.go())
    trees = list(read_trees(tmp_path / "run" / "trees.jsonl"))
    assert result["searched"] == result["kept"] == len(trees) == 3
    for tree in trees:
        visits, q, reward = (tree.columns[name] for name in ("visits", "q", "reward"))
        for i in range(len(tree)):
            below = tree.children(i)
            assert len(below) in (0, 3)  # a new level is sampled whole
            assert (q[i] is None) == (visits[i] == 0)
            if tree.nodes[i].done:
                assert q[i] == 2 * reward[i] - 1 and visits[i] >= 1  # all that ended are graded
            elif visits[i]:
                assert visits[i] == sum(visits[k] for k in below)
                total = sum(visits[k] * q[k] for k in below if visits[k])
                assert q[i] == pytest.approx(total / visits[i])
    assert result["runs"] == sum(node.done for tree in trees for node in tree.nodes)
    assert result["unknown"] == sum(v == 0 for tree in trees for v in tree.columns["visits"][1:])
    again = Label(recipe, plan_of(world), tmp_path / "run", Silent())
    assert asyncio.run(again.go())["costs"] == result["costs"]  # nothing is grown twice


def test_labels_are_means_of_outcomes_of_tasks_that_are_in_doubt(world, tmp_path):
    result, every = label(world, tmp_path / "every", tasks=6, skip=3, most=1.0)
    tasks = plan_of(world).train.tasks
    assert [tree.task["id"] for tree in every] == [task.id for task in tasks[3:9]]
    assert result["searched"] == result["kept"] == 6
    assert result["runs"] == sum(len(tree.leaves()) for tree in every)
    for tree in every:
        for i in range(len(tree)):
            ends = [k for k in tree.leaves() if i in (0, *tree.path(k))]
            r = [2 * tree.columns["reward"][k] - 1 for k in ends]
            assert tree.columns["visits"][i] == len(r)
            assert tree.columns["q"][i] == pytest.approx(sum(r) / len(r))
    result, kept = label(world, tmp_path / "kept", tasks=6, skip=3, most=0.8)
    doubtful = [plain(tree) for tree in every if abs(tree.columns["q"][0]) <= 0.8]
    assert [plain(tree) for tree in kept] == doubtful
    assert result["searched"] == 6 and result["kept"] == len(kept) < 6
    steps = [v for tree in kept for v in tree.columns["q"][1:]]
    assert result["labels"] == sum(v is not None for v in steps)


def test_a_killed_label_search_goes_on_to_the_same_labels(world, tmp_path, monkeypatch):
    _, whole = label(world, tmp_path / "whole", tasks=4, most=1.0)
    with monkeypatch.context() as patch:
        Calls(patch, 25)
        with pytest.raises(BaseException) as raised:
            label(world, tmp_path / "run", tasks=4, most=1.0)
        assert isinstance(raised.value, Killed | BaseExceptionGroup)
    assert not (tmp_path / "run" / "trees.jsonl").exists()
    _, trees = label(world, tmp_path / "run", tasks=4, most=1.0)
    for tree, other in zip(trees, whole, strict=True):
        assert_alike(tree, other)


# --- the commands --------------------------------------------------------------------------------


def command(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["hornbeam", *map(str, words)])
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main()
    assert not end.value.code
    return capsys.readouterr().out


def test_search_prints_a_table_or_json(world, tmp_path, monkeypatch, capsys):
    recipe = tmp_path / "two.toml"
    recipe.write_text(
        world.recipe.read_text()
        + '[[search.methods]]\nname = "single pass"\nn = 1\n'
        + '[[search.methods]]\nname = "best"\nchoose = "best"\nsweep = {n = [2, 3]}\n'
    )
    given = ("search", recipe, "--out", tmp_path / "run", "--set", "tasks.eval.0.count=2")
    lines = command(monkeypatch, capsys, *given).splitlines()
    head = next(k for k, line in enumerate(lines) if line.startswith("method"))
    assert [line.split("  ")[0] for line in lines[head + 1 : head + 4]] == [
        "single pass",
        "best",
        "best",
    ]
    assert "against single pass" in lines[head] and "n=3" in lines[head + 3]
    assert any(line.startswith("Report:") and "search.html" in line for line in lines)
    data = json.loads(command(monkeypatch, capsys, *given, "--json"))
    assert data == json.loads((tmp_path / "run" / "search.json").read_text())
    assert data["command"].startswith("hornbeam search") and "--json" in data["command"]
    assert [p["label"] for p in data["methods"][1]["points"]] == ["n=2", "n=3"]


def test_label_and_fit_tell_what_they_made(world, tmp_path, monkeypatch, capsys):
    given = ("--set", "label.tasks=6", "--set", "label.most=1.0", "--set", "fit.epochs=1")
    printed = command(monkeypatch, capsys, "label", world.recipe, "--out", tmp_path / "l", *given)
    assert "6 tasks searched by" in printed and "6 trees kept" in printed
    trees = tmp_path / "l" / "trees.jsonl"
    words = ("fit", world.recipe, "--trees", trees, "--out", tmp_path / "prm", *given)
    printed = command(monkeypatch, capsys, *words)
    assert "Fitted on" in printed and "held out" in printed
    assert (tmp_path / "prm" / "value.json").is_file()
