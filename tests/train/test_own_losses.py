"""Losses of one's own: copies of ready-made ones step to the same weights; what is odd is told."""

import pytest
import torch

from hornbeam.credit import credit
from hornbeam.errors import HornbeamError, SettingError
from hornbeam.train.policy import Policy
from hornbeam.train.train_settings import LossSettings, LossTerm, OptimSettings
from train import worlds

MINE = """
import torch


def clip(ratio, plus, minus, low: float = 0.2, high: float = 0.2):
    return -(plus * ratio.clamp(max=1 + high) + minus * ratio.clamp(min=1 - low))


def surer(entropy):
    return -entropy


def odd(logp, ratios):
    return logp


def shape(logp):
    return logp.sum()


def number(plus):
    return 3


def far(logp, reference, advantage, old, much: float):
    return much * (logp - reference).abs() * (advantage != 0) * (old <= 0)
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    return tmp_path


def stepped(folder, **loss):
    """(metrics of two steps, weights after them) by these settings."""
    trees = worlds.random_trees(3)
    credit(trees, "grpo")
    how = LossSettings(old="trainer", **loss).beside(folder)
    policy = Policy(worlds.model("Llama"), loss=how, optim=OptimSettings(lr=1e-2, minibatches=2))
    rows = [policy.step(trees), policy.step(trees)]
    return rows, [p.detach().clone() for p in policy.model.parameters()]


def same(a, b):
    return all(map(torch.equal, a, b))


@pytest.mark.parametrize("ratio", ["token", "turn", "sequence"])
def test_an_own_objective_steps_to_the_weights_of_the_ready_made_one(folder, ratio):
    own = {"objective": "mine.py:clip", "ratio": ratio}
    (rows, mine), (ready_rows, ready) = stepped(folder, **own), stepped(folder, ratio=ratio)
    assert same(mine, ready) and [r["loss"] for r in rows] == [r["loss"] for r in ready_rows]
    narrow = stepped(folder, **own, options={"low": 0.001, "high": 0.001})[1]
    assert same(narrow, stepped(folder, ratio=ratio, clip_low=0.001, clip_high=0.001)[1])
    assert not same(narrow, mine)


def test_an_own_term_is_added_and_told(folder):
    terms = (LossTerm(use="mine.py:surer", weight=0.05),)
    rows, mine = stepped(folder, terms=terms)
    assert same(mine, stepped(folder, entropy=0.05)[1]) and not same(mine, stepped(folder)[1])
    assert all(row["term_surer"] == pytest.approx(-row["entropy"]) for row in rows)
    far = LossTerm(use="mine.py:far", weight=0.1, options={"much": 2})
    rows, both = stepped(folder, terms=(*terms, far), kl=0.1)
    assert 0 < rows[0]["term_far"] < rows[1]["term_far"] and not same(both, mine)


@pytest.mark.parametrize(
    ("loss", "line"),
    [
        ({"objective": "mine.py:clp"}, "loss: mine.py has no 'clp': did you mean 'clip'?"),
        ({"objective": "mine.py:odd"}, "mine.py: odd takes 'ratios', which it is not given: did"),
        (
            {"objective": "mine.py:clip", "options": {"lo": 1}},
            "no setting 'lo': did you mean 'low'",
        ),
        ({"objective": "mine.py:clip", "options": {"low": "x"}}, "low = 'x': expected a number"),
        ({"objective": "mine.py:shape"}, "shape gave shape []: a tensor of shape ["),
        ({"objective": "mine.py:number"}, "number gave 3: a tensor of shape ["),
        ({"terms": ({"use": "mine.py:fra"},)}, "mine.py has no 'fra': did you mean 'far'?"),
        (
            {"terms": ({"use": "mine.py:far", "options": {"much": 1}},)},
            "takes reference: set loss.kl",
        ),
        ({"terms": ({"use": "mine.py:far"},)}, "far takes 'much', which it is not given"),
        ({"terms": ({"use": "far"},)}, "unknown loss 'far'"),
    ],
)
def test_what_is_wrong_is_one_line(folder, loss, line):
    with pytest.raises(HornbeamError) as told:
        stepped(folder, **loss)
    assert line in str(told.value) and "\n" not in str(told.value)


@pytest.mark.parametrize(
    ("loss", "line"),
    [
        ({"objective": "clp"}, "objective: 'clp': did you mean 'clip'?"),
        ({"options": {"low": 1}}, "loss.options has no meaning with loss.objective = 'clip'"),
        ({"objective": "m.py:f", "clip_low": 0.1}, "its settings are loss.options"),
        (
            {"terms": ({"use": "m.py:f"}, {"use": "n.py:f"})},
            "each needs a function of another name",
        ),
    ],
)
def test_settings_that_do_not_go_together(loss, line):
    with pytest.raises(SettingError) as told:
        LossSettings(**loss)
    assert line in str(told.value)
