"""Searches on the tiny world, end to end: figures against a recount, stopped and gone on, budgets,
what a pool costs, labels, and the commands.
"""

from collections import Counter

import pytest

from hornbeam.ledger import TOKENS

from .doors import BEAM, GREEDY, SINGLE, plain, points, search, stages, stored

MAJORITY = {"name": "majority", "choose": "majority", "sweep": {"n": [1, 2, 4]}}
MCTS = {"name": "MCTS", "strategy": "mcts", "choose": "q", "children": 2, "simulations": 5}
PARTICLES = {"name": "particles", "strategy": "particle", "choose": "kept", "particles": 3}


@pytest.fixture(scope="module")
def grown(world, tmp_path_factory):
    """(result, run folder) of all kinds of methods."""
    path = tmp_path_factory.mktemp("grown") / "run"
    best = {"name": "best", "choose": "best", "n": 4}
    told = search(world, path, SINGLE, GREEDY, MAJORITY, best, BEAM, MCTS, PARTICLES)
    return told, path


def answers(tree):
    """(episode, answer, reward) of every finished episode without an error, in order."""
    ends = [i for i in tree.leaves() if tree.nodes[i].done and not tree.nodes[i].error]
    rows = [(tree.nodes[i].episode, tree.nodes[i].answer, tree.columns["reward"][i]) for i in ends]
    return sorted((row for row in rows if row[1] is not None), key=lambda row: row[0])


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
        for told in question["searches"]:
            row = points(grown[0])[told["method"], told["label"]]
            chosen = [node for node in told["nodes"] if node.get("chosen")]
            assert chosen and chosen[-1]["done"] and chosen[-1].get("answer", "") == told["answer"]
            assert told["correct"] == (told["answer"] == question["gold"])
            assert row["right"][number] == float(told["correct"])


def test_majority_is_a_recount_of_the_first_n_of_the_pool(grown):
    trees, _ = stored(grown[1], pool(grown[1], 4))
    for n in (1, 2, 4):
        right = []
        for tree in trees:
            said = [row for row in answers(tree) if row[0] < n]
            votes = Counter(answer for _, answer, _ in said).most_common()
            top = [answer for answer, count in votes if count == votes[0][1]]
            first = next((reward for _, answer, reward in said if answer == top[0]), 0.0)
            right.append(first)
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
            apart = sum(a - b for a, b in zip(row["right"], base)) / 4
            assert row["against"]["difference"] == pytest.approx(apart)
            assert row["against"]["low"] <= apart <= row["against"]["high"]


# --- pools ---------------------------------------------------------------------------------------


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
