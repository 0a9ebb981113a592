"""Log-ratios to a second model, and likelihoods over chunks of fixed length: by hand."""

import asyncio
import math
import random

import pytest

from hornbeam.errors import ModelError, ScoreError
from hornbeam.score.likelihood import LikelihoodGuide, joined
from hornbeam.score.log_ratio import LogRatioGuide
from hornbeam.train import forward
from hornbeam.train.token_reader import TokenReader
from hornbeam.tree.nodes import Node, Tree, floats, ids
from train import worlds


class Reader:
    """Log-probs -0.1, -0.2, ... of the tokens of a row, over the temperature; counts tokens."""

    name, vocabulary, context = "second", 100, 50

    def __init__(self):
        self.ran = []

    def log_probs(self, tokens, temperature):
        self.ran.append(len(tokens))
        return [-(k + 1) / 10 / temperature for k in range(len(tokens) - 1)]


def tree():
    """A prompt of 2 ids; a step of 2 tokens, one of 1 below it, one that failed, a silent one."""
    out = Tree({"id": "q"})
    where = out.place(0, "a", ids([7, 8]))._asdict()
    out.append(Node(0, agent="a", tokens=ids([1, 2]), logprobs=floats([-1.0, -2.0]), **where))
    out.append(Node(1, agent="a", tokens=ids([3]), logprobs=floats([-0.5])))
    out.append(Node(1, agent="a", tokens=ids([4]), logprobs=floats([-0.5]), error="it fell"))
    out.append(Node(1, agent="a"))
    return out


def judged(guide, given, nodes):
    most = guide.most(given, nodes)
    said = asyncio.run(guide.judge(given, nodes))
    assert said.tokens == most
    return said.values, said.tokens


# The row is 7 8 1 2 3: the second model says -0.1 of 8, -0.2 of 1, -0.3 of 2, -0.4 of 3.
# Ratios: 1: -1.0 + 0.2 = -0.8; 2: -2.0 + 0.3 = -1.7; 3: -0.5 + 0.4 = -0.1.
@pytest.mark.parametrize(
    ("settings", "wanted"),
    [
        ({}, [-2.5, -0.1]),  # the sum over the step
        ({"join": "mean"}, [-1.25, -0.1]),
        ({"over": "path"}, [-2.5, -2.6]),
        ({"over": "path", "join": "last", "chunk": 2}, [-1.25, -0.9]),
        ({"over": "path", "join": "lowest", "chunk": 2}, [-1.25, -1.25]),
        ({"scale": 2.0}, [math.tanh(-2.5), math.tanh(-0.1)]),  # 2 sigmoid(2 x) - 1 = tanh(x)
        # at temperature 0.5 it says twice as much: -0.4, -0.6 and -0.8 of 1, 2 and 3
        ({"temperatures": {"a": 0.5}}, [-0.6 - 1.4, 0.3]),
    ],
)
def test_log_ratios_by_hand(settings, wanted):
    values, tokens = judged(LogRatioGuide(Reader(), **settings), tree(), [1, 2, 3, 4])
    assert values[:2] == pytest.approx(wanted) and values[2:] == [None, None]
    assert tokens == 5


def test_a_path_is_read_once_and_forgotten_with_its_tree():
    reader, given = Reader(), tree()
    guide = LogRatioGuide(reader, over="path")
    assert judged(guide, given, [1])[0] == pytest.approx([-2.5])
    assert judged(guide, given, [2])[0] == pytest.approx([-2.6])
    assert reader.ran == [4, 5]  # the second row holds its prefix again, and is paid whole
    assert judged(guide, given, [1, 2]) == (pytest.approx([-2.5, -2.6]), 0)
    guide.forget(given)
    assert judged(guide, given, [1, 2])[1] == 5


def test_what_cannot_be_read_has_no_value():
    given = tree()
    given.append(Node(2, agent="a", tokens=ids([1] * 60), logprobs=floats([-1.0] * 60)))
    given.append(Node(2, agent="a", tokens=ids([1])))  # as an engine tells it that gives none
    given.append(Node(6, agent="a", tokens=ids([2]), logprobs=floats([-1.0])))
    values, _ = judged(LogRatioGuide(Reader(), over="path"), given, [5, 6, 7])
    assert values == [None, None, None]
    assert judged(LogRatioGuide(Reader()), given, [7])[0] != [None]
    given.append(Node(0, agent="a", tokens=ids([100]), logprobs=floats([-1.0])))
    with pytest.raises(ScoreError, match=r"second: task 'q' holds id 100, and the model knows 100"):
        asyncio.run(LogRatioGuide(Reader()).judge(given, [8]))


def test_a_damaged_model_is_told():
    reader = Reader()
    reader.log_probs = lambda tokens, temperature: [math.nan] * (len(tokens) - 1)
    with pytest.raises(ScoreError, match="second: a log-prob of task 'q' is not finite"):
        asyncio.run(LogRatioGuide(reader).judge(tree(), [1]))


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_ratios_are_those_of_plain_forwards(temperature):
    """On random trees with rewritten contexts; against the policy itself they are 0."""
    model, given = worlds.model("Llama"), worlds.tree(random.Random(3), nodes=14)
    reader = TokenReader(model)
    said = [i for i, node in enumerate(given.nodes) if node.tokens]
    sums = {}
    for i in said:
        told = forward.score(model, given.context(i), given.nodes[i].tokens, temperature)
        sums[i] = sum(given.nodes[i].logprobs) - sum(told)
    guide = LogRatioGuide(reader, temperatures={"agent": temperature})
    values, tokens = judged(guide, given, [*range(1, len(given))])
    assert {i: v for i, v in enumerate(values, 1) if v is not None} == pytest.approx(sums, abs=1e-4)
    assert tokens <= sum(given.length(i) for i in said)
    assert (reader.vocabulary, reader.context) == (worlds.VOCAB, 256)


def test_a_reader_of_a_folder_without_a_model(tmp_path):
    with pytest.raises(ModelError, match="no model there"):
        TokenReader.load(tmp_path / "none")


VALUES = [-1.0, -3.0, -0.5, -0.5, -2.0]


@pytest.mark.parametrize(
    ("join", "chunk", "wanted"),
    [
        ("sum", 0, -7.0),
        ("mean", 0, -1.4),
        ("last", 1, -2.0),
        ("last", 3, -1.0),
        ("last", 9, -1.4),  # fewer tokens than a chunk: all of them
        ("lowest", 1, -3.0),
        ("lowest", 2, -2.0),  # of -2, -1.75, -0.5 and -1.25
        ("lowest", 3, -1.5),  # of -1.5, -4/3 and -1
        ("lowest", 5, -1.4),
    ],
)
def test_chunks_of_fixed_length_by_hand(join, chunk, wanted):
    assert joined(VALUES, join, chunk) == pytest.approx(wanted)


def test_equal_words_are_worth_the_same_whatever_steps_they_stand_in():
    """Two paths of the same tokens, cut into steps otherwise: the last chunk does not see it."""
    cut = {}
    for name, sizes in (("long", [5]), ("short", [1, 1, 3])):
        given, at, first = Tree({"id": "q"}), 0, 0
        for size in sizes:
            own = floats(VALUES[first : first + size])
            at = given.append(Node(at, tokens=ids(range(size)), logprobs=own))
            first += size
        ends = {}
        for over in ("step", "path"):
            for join in ("sum", "mean", "last"):
                guide = LikelihoodGuide("l", over, join, 4 if join == "last" else 0)
                ((ends[over, join],), _) = judged(guide, given, [at])
        cut[name] = ends
    same = {key for key, value in cut["long"].items() if value == pytest.approx(cut["short"][key])}
    assert same == {("path", "sum"), ("path", "mean"), ("path", "last")}
    assert cut["long"]["path", "last"] == pytest.approx(-1.5)


def test_a_scaled_likelihood_is_a_chance():
    ((value,), _) = judged(LikelihoodGuide("l", scale=2.0), tree(), [1])
    assert value == pytest.approx(2 * math.exp(2 * -1.5) - 1)
