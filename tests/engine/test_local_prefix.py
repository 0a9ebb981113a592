"""The prefix tree: laws on random sequences; a token's key tells which prefix it is of."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbeam.engine.local.prefix_tree import CHUNK, PrefixTree
from hornbeam.tree.nodes import ids

SEQUENCES = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=1, max_size=12)


def compute(tree):
    """Fill what is pending, parents first: the value of a token is the digest of its prefix."""
    while tree.pending:
        for run in tree.ready():
            before = ids(t for r in run.path()[:-1] for t in r.tokens)
            values = [digest(before + run.tokens[: i + 1]) for i in range(len(run.tokens))]
            tree.fill(run, tensor(values), torch.tensor([values[-1]]))


def digest(tokens):
    return float(hash(tuple(tokens)) % 9973)


def tensor(values):
    return torch.tensor(values).view(1, 1, 1, -1, 1).repeat(2, 1, 1, 1, 1)


def check(run, prompt):
    assert ids(t for r in run.path() for t in r.tokens) == ids(prompt)
    values = torch.cat([r.kv for r in run.path()], 3)[0].flatten().tolist()
    assert values == [digest(prompt[: i + 1]) for i in range(len(prompt))]
    assert run.logits.item() == values[-1]


@settings(max_examples=150)
@given(SEQUENCES, SEQUENCES, SEQUENCES)
def test_every_prefix_is_computed_once_and_is_found_again(first, kept, second):
    tree = PrefixTree(10**6, logits_cost=3)
    known = set()
    for wave in (first, second):
        ends = [tree.add(ids(prompt)) for prompt in wave]
        new = {tuple(p[: i + 1]) for p in wave for i in range(len(p))} - known
        again = sum(fresh for _, fresh in ends) - len(new)
        assert 0 <= again <= len({tuple(p) for p in wave} & known)  # only for their logits
        compute(tree)
        for (run, _), prompt in zip(ends, wave):
            check(run, prompt)
        known |= new
        for tokens in kept:
            tree.give(ids(tokens), tensor([digest(tokens[: i + 1]) for i in range(len(tokens))]))
            known |= {tuple(tokens[: i + 1]) for i in range(len(tokens))}
        logits = sum(run.logits is not None for run in tree._runs())
        assert tree.held == len(known) + 3 * logits


def test_what_was_used_least_recently_goes_first():
    tree = PrefixTree(budget=10)
    for tokens in ([1, 2, 3, 4], [1, 2, 5, 6], [7, 8, 9]):
        tree.add(ids(tokens))
        compute(tree)
    tree.add(ids([1, 2, 3, 4]))
    tree.add(ids([1, 1, 1, 1]))
    compute(tree)
    tree.trim()  # 12 tokens; the leaf 5 6 and then 7 8 9 are the oldest
    assert tree.held == 7
    assert tree.add(ids([1, 2, 3, 4]))[1] == 0
    assert tree.add(ids([1, 2, 5]))[1] == 1
    assert tree.add(ids([7, 8, 9]))[1] == 3


def test_long_prompts_are_cut_in_chunks():
    tree = PrefixTree(10**6)
    run, fresh = tree.add(ids([5] * (2 * CHUNK + 1)))
    assert fresh == 2 * CHUNK + 1 and [len(r.tokens) for r in run.path()] == [CHUNK, CHUNK, 1]
    compute(tree)
    check(run, [5] * (2 * CHUNK + 1))


def test_nothing_is_computed_below_what_is_run_again():
    tree = PrefixTree(budget=1000)
    tree.add(ids([1, 2, 3, 4, 5, 6]))
    compute(tree)
    short, _ = tree.add(ids([1, 2, 3]))  # ends inside what is known: its last token is run again
    long, fresh = tree.add(ids([1, 2, 3, 4, 5, 6, 7]))  # goes on below it
    assert fresh == 1 and tree.ready() == [short]
    compute(tree)
    check(short, ids([1, 2, 3]))
    check(long, ids([1, 2, 3, 4, 5, 6, 7]))


def test_known_tells_what_is_computed_and_changes_nothing():
    tree = PrefixTree(1000)
    run, _ = tree.add(ids([1, 2, 3, 4]))
    assert tree.known(ids([1, 2, 3, 4])) == 0  # pending
    tree.fill(run, torch.zeros(2, 1, 1, 4, 1), torch.zeros(5))
    assert tree.known(ids([1, 2, 3, 4, 5])) == 4
    assert tree.known(ids([1, 2, 9])) == 2
    assert tree.known(ids([7])) == 0
    assert len(list(tree._runs())) == 1


def tokens_of(run):
    return ids(t for r in run.path() for t in r.tokens)


@settings(max_examples=100)
@given(SEQUENCES, SEQUENCES, SEQUENCES)
def test_a_run_starts_from_its_parents_state(first, kept, second):
    tree = PrefixTree(10**6, logits_cost=3, state_cost=2)
    for wave in (first, second):
        ends = [tree.add(ids(prompt)) for prompt in wave]
        again = sum(len(run.tokens) for run in tree.pending)
        assert sum(fresh for _, fresh in ends) == again
        while tree.pending:
            ready = tree.ready()
            assert ready
            for run in ready:
                if run.parent.parent is not None:
                    assert run.parent.state[0].item() == digest(tokens_of(run.parent))
                whole = tokens_of(run)
                values = [digest(whole[: i + 1]) for i in range(run.start, len(whole))]
                result = torch.tensor([values[-1]])
                tree.fill(run, tensor(values), result, (result,))
        for (run, _), prompt in zip(ends, wave):
            check(run, prompt)
            assert tree.known(ids(prompt)) == len(prompt)
        for tokens in kept:
            values = [digest(tokens[: i + 1]) for i in range(len(tokens))]
            tree.give(ids(tokens), tensor(values), (torch.tensor([values[-1]]),))
        runs = list(tree._runs())
        held = sum(len(r.tokens) + 3 * (r.logits is not None) for r in runs)
        assert tree.held == held + 2 * sum(r.state is not None for r in runs)
        assert all(r.state is None or r.state[0].item() == digest(tokens_of(r)) for r in runs)
    tree.budget = 0
    tree.trim()
    assert tree.held == 0 and not list(tree._runs())
