"""Two and three processes on one policy: the gradients, weights and files of one process."""

import itertools
import random

import numpy as np
import pytest
import torch

from hornbeam.errors import RankError
from hornbeam.train.pack import packs, unique
from hornbeam.train.policy import Policy
from hornbeam.train.ranks import Ranks
from hornbeam.train.rows import Row, Rows, Segment, collect
from hornbeam.train.sharded import balance, idle, spread
from hornbeam.train.train_settings import LossSettings, OptimSettings
from train import ranks_world, worlds
from train.ranks_world import CASES, GO_ON, read

pytestmark = pytest.mark.timeout(600)  # processes of their own, each of which imports torch
CLOSE = 1e-5
EXACT = [case for case in CASES if case != "bf16"]


def distance(a, b):
    return float((a - b).norm() / b.norm())


# --- who runs what -------------------------------------------------------------------------------


def test_balance_by_hand():
    # 7 | 6, 5 to the lesser load, 4 to 7 against 11, 3 to the first of 11 and 11
    assert balance([7, 6, 5, 4, 3], 2) == [[0, 3, 4], [1, 2]]
    assert balance([3, 9], 3) == [[1], [0], []]


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_balance_keeps_grahams_bound_and_loses_no_pack(ranks):
    draw = random.Random(ranks)
    for _ in range(30):
        sizes = [draw.randint(1, 20) for _ in range(draw.randint(1, 7))]
        given = balance(sizes, ranks)
        assert sorted(itertools.chain(*given)) == list(range(len(sizes)))
        assert all([sizes[k] for k in own] == sorted(sizes[k] for k in own)[::-1] for own in given)
        best = min(
            max(sum(s for s, r in zip(sizes, who) if r == rank) for rank in range(ranks))
            for who in itertools.product(range(ranks), repeat=len(sizes))
        )
        assert max(sum(sizes[k] for k in own) for own in given) <= (4 / 3 - 1 / (3 * ranks)) * best


def row(*ids):
    return Row(np.asarray(ids, np.int32), (Segment(1, np.zeros(1, np.float32), 1.0, 0.0, 1.0),))


def test_a_batch_of_one_pack_is_cut_for_two_ranks_and_a_shared_path_is_not():
    difference = Rows([row(1, 2, 3, 4), row(5, 6, 7, 8)])
    assert spread(difference, 100, 2, packed=True) == [[(4, [0])], [(4, [1])]]
    one = Rows([row(1, 2, 3, 4, 5), row(1, 2, 3, 4, 6)])
    assert spread(one, 100, 2, packed=True) == [[(5, [0])], [(5, [1])]]  # 5 at once, not 6
    assert spread(one, 100, 1, packed=True) == [[(6, [0, 1])]]


@pytest.mark.parametrize("packed", [True, False])
def test_spread_gives_every_row_once_within_the_bound(packed):
    for seed, ranks in itertools.product(range(4), (1, 2, 3)):
        rows = collect(ranks_world.trees(seed), share=packed)
        given = spread(rows, 24, ranks, packed=packed)
        held = [k for own in given for _, group in own for k in group]
        assert sorted(held) == list(range(len(rows.rows)))
        made = packs(rows, 24, packed=packed, groups=[g for own in given for _, g in own])
        sizes = [pack.ids.numel() for pack in made]
        assert sizes == [size for own in given for size, _ in own]
        assert max(sizes) <= max(24, *(len(r.ids) for r in rows.rows))
        if packed:
            assert sum(sizes) >= unique(rows)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("ratio", ["token", "turn", "sequence"])
def test_an_idle_pack_moves_and_counts_nothing(packed, ratio):
    rows = collect(ranks_world.trees(1), share=packed, pairs=ratio == "sequence")
    result = []
    for more in (0, 2):

        class Idler(Policy):
            def _packs(self, rows, more=more):
                return super()._packs(rows) + [idle(self.optim.packed, "cpu")] * more

        how = LossSettings(ratio=ratio, kl=0.1, entropy=0.1, old="trainer")
        p = Idler(worlds.model("Llama"), loss=how, optim=OptimSettings(packed=packed))
        result.append(p._learn([rows]))
    assert result[0] == pytest.approx(result[1], rel=1e-6, abs=1e-9)
    assert result[0]["updates"] == 1


# --- real processes ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Three steps of every case, by one process and by two; the second of the two is then lost."""
    out = tmp_path_factory.mktemp("ranks")
    assert ranks_world.spawn(2, "train", out, out / "two") == [0, 9]
    for case in CASES:
        (out / "one" / case).mkdir(parents=True)
        ranks_world.train(ranks_world.policy(case), out / "one" / case)
    return out


@pytest.fixture(scope="module")
def gone_on(trained):
    """From one process to three, and from two to one."""
    assert ranks_world.spawn(3, "go_on", trained / "one", trained / "three") == [0] * 3
    for case in GO_ON:
        (trained / "again" / case).mkdir(parents=True)
        ranks_world.go_on(
            ranks_world.policy(case), trained / "two" / case, trained / "again" / case
        )
    return trained


@pytest.mark.parametrize("case", EXACT)
def test_gradients_of_two_ranks_are_those_of_one(trained, case):
    one, two = (read(trained / n / case / "1") for n in ("one", "two"))
    assert distance(two.gradient, one.gradient) < CLOSE and one.gradient.norm() > 1e-3
    result = [torch.load(trained / n / case / "told.pt") for n in ("one", "two")]
    for a, b in zip(*result):
        assert a == pytest.approx(b, rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("case", EXACT)
def test_three_steps_end_in_the_weights_of_one_process(trained, case):
    one, two = (read(trained / n / case / "3") for n in ("one", "two"))
    moved = one.weights - ranks_world.weights(ranks_world.policy(case)._named)
    assert float((two.weights - one.weights).norm() / moved.norm()) < 1e-3
    assert two.state["version"] == 3 and distance(two.second, one.second) < 1e-4


def test_bf16_computes_in_bf16_on_float32_weights(trained):
    one, two = (read(trained / n / "bf16" / "1") for n in ("one", "two"))
    assert two.weights.dtype == two.gradient.dtype == torch.float32
    exact = read(trained / "one" / "token_mean" / "1").gradient
    assert 1e-4 < distance(two.gradient, exact) < 0.05
    assert distance(two.gradient, one.gradient) < 0.05


@pytest.mark.parametrize("case", ["cispo_constant", "lora_kl"])
def test_rank_0_saves_the_model_that_one_process_saves(trained, case):
    from safetensors.torch import load_file

    files = [trained / n / case / "3" / "model.safetensors" for n in ("one", "two")]
    one, two = map(load_file, files)
    assert one.keys() == two.keys()
    assert all(torch.allclose(one[name], two[name], atol=1e-4) for name in one)
    adapter = trained / "two" / case / "3" / "adapter" / "adapter_config.json"
    assert adapter.is_file() == (case == "lora_kl")


@pytest.mark.parametrize("case", GO_ON)
def test_a_state_goes_on_on_another_number_of_ranks(gone_on, case):
    of_one, of_two = (read(gone_on / n / case / "2") for n in ("three", "again"))
    assert distance(of_one.weights, of_two.weights) < 1e-5
    assert distance(of_one.second, of_two.second) < 1e-4
    assert of_one.state["version"] == of_two.state["version"] == 4  # two steps, two of warm start
    q = ranks_world.policy(case)
    q.load_state(gone_on / "three" / case / "2")
    assert torch.equal(ranks_world.weights(q._named), of_one.weights)


def test_a_rank_that_is_lost_is_one_line(trained):
    said = (trained / "two" / "lost").read_text()
    assert "one of them was lost; the same command goes on from the last checkpoint" in said
    assert len(said.splitlines()) == 1


def test_a_process_that_nobody_started_with_others_is_told_so(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(RankError, match=r"the ranks cannot come together: .*RANK"):
        Ranks()
