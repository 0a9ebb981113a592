"""The posterior by hand, and laws of the search for the step that lost a run."""

import asyncio
import math
from itertools import product
from random import Random

import numpy as np
import pytest

from hornbeam import stats
from hornbeam.blame import BlameSettings, DropSearch, ForkOutcome, Step, find_drop
from hornbeam.blame.posterior import NONE, Levels
from hornbeam.errors import DataError, SettingError


def planted(values, seed=0, tokens=10, repeats=0.0):
    """A forker of a world whose chance of success after t steps is values[t]."""
    rng, steps = Random(seed), len(values) - 1
    made = []

    async def fork(position, count):
        out = []
        for _ in range(count):
            at = position
            while at < steps and rng.random() < repeats:
                at += 1
            won = float(rng.random() < values[at])
            out.append(
                ForkOutcome(won, tokens * (steps - position), at - position, f"at {at}", "b")
            )
        made.extend((position, each) for each in out)
        return out

    return fork, made


def found(values, seed=0, steps=None, repeats=0.0, **settings):
    fork, made = planted(values, seed, repeats=repeats)
    known = steps or [Step("ab"[t % 2], f"step {t + 1}", 10) for t in range(len(values) - 1)]
    search = find_drop(known, fork, BlameSettings(**settings), outcome=values[-1], seed=seed)
    return asyncio.run(search), made


def binomial(m, n, x):
    return m**x * (1 - m) ** (n - x)


def beta_binomial(m, n, x, s):
    up = math.prod(s * m + i for i in range(x)) * math.prod(s * (1 - m) + i for i in range(n - x))
    return up / math.prod(s + i for i in range(n))


@pytest.mark.parametrize("drift", [0.0, 0.1])
def test_the_posterior_is_the_sum_over_all_pairs_of_levels(drift):
    counts, outcome = [(3, 2), (4, 0)], 0.02  # forks and successes at positions 0 and 1
    made = Levels(2, 0.05, drift, outcome)
    for position, (n, x) in enumerate(counts):
        for k in range(n):
            made.add(position, float(k < x))
    grid, s = [float(m) for m in made.levels], 1 / drift**2 - 1 if drift else 0

    def likely(m, position):
        n, x = counts[position]
        return beta_binomial(m, n, x, s) if drift else binomial(m, n, x)

    def weight(terms):  # the mean of the likelihood over the levels, and the mean of V_0
        total = sum(w for _, w in terms)
        return total / len(terms), sum(a * w for a, w in terms) / total

    none, _ = weight([(m, likely(m, 0) * likely(m, 1)) for m in grid if m <= 0.05])
    pairs = [(a, b) for a, b in product(grid, grid) if a - b >= max(0.05, b - outcome)]
    first, high = weight([(a, likely(a, 0) * likely(b, 1)) for a, b in pairs])
    last, level = weight([(a, likely(a, 0) * likely(a, 1)) for a in grid if a - outcome >= 0.05])
    weights = [NONE * none, (1 - NONE) / 2 * first, (1 - NONE) / 2 * last]
    posterior = made.posterior()
    assert posterior.chances == pytest.approx([w / sum(weights) for w in weights])
    n, x = counts[0]
    held = [(x + s * a) / (n + s) if drift else a for a in (high, level)]
    assert posterior.values[0, 1:] == pytest.approx(held)


def test_the_first_step_is_as_likely_as_the_last_before_any_fork():
    search = DropSearch([Step()] * 5, BlameSettings(drift=0))
    assert search.posterior.chances == pytest.approx([NONE] + [(1 - NONE) / 5] * 5)


def test_information_is_none_where_nothing_can_be_told_and_most_at_the_change():
    levels = Levels(3, 0.05, 0.0)
    for position in (0, 2):
        for _ in range(20):
            levels.add(position, float(position == 0))
    told = levels.posterior().information()
    assert int(np.argmax(told)) == 1  # lost by step 1 or 2: position 1 settles it
    assert told[1] > 0.5 and max(told[0], told[2]) < 0.05


@pytest.mark.parametrize("k", [1, 3, 6])
def test_a_planted_step_is_found_and_what_was_said_instead(k):
    blame, made = found([0.8] * k + [0.0] * (7 - k), seed=k)
    assert (blame.why, blame.step, blame.said) == ("found", k, f"step {k}")
    assert blame.interval[0] > 0 and blame.interval[0] < blame.drop <= blame.interval[1]
    assert {said.text for said in blame.instead} == {f"at {k - 1}"}
    wins = sum(each.success == 1 for at, each in made if at == k - 1)
    assert blame.instead[0].count == wins
    assert blame.agent == "ab"[(k - 1) % 2]
    assert max(blame.by_agent, key=blame.by_agent.get) == blame.agent
    assert sum(blame.by_agent.values()) == pytest.approx(blame.values[0].value - 0)


def test_what_won_a_run_is_the_same_search_upside_down():
    lost, _ = found([0.7, 0.7, 0.7, 0.0, 0.0], seed=3)
    won, _ = found([0.3, 0.3, 0.3, 1.0, 1.0], seed=3, rise=True)
    assert (won.why, won.step) == ("found", 3) == (lost.why, lost.step)
    assert won.values[1].value < 0.6 < won.values[3].value
    assert won.reason().startswith("step 3 (a) won it: rise ")


def test_a_run_that_never_had_a_chance_is_told_as_such():
    blame, _ = found([0.0] * 6)
    assert (blame.why, blame.step) == ("never", None)
    start = blame.values[0]
    assert start.successes == 0 and start.interval[1] <= 0.06
    assert f"of {start.forks} forks from the start 0 succeeded" in blame.reason()


def test_a_budget_that_ends_first_leaves_it_undecided():
    blame, made = found([0.4] * 5 + [0.0] * 4, forks=6)
    assert (blame.why, blame.step, len(made)) == ("undecided", None, 6)
    assert blame.reason().startswith(f"undecided: step {blame.likeliest} is likeliest")


@pytest.mark.parametrize("seed", range(6))
def test_budgets_are_never_exceeded(seed):
    rng = Random(seed)
    values = [*sorted((rng.random() for _ in range(rng.randint(2, 9))), reverse=True), 0.0]
    forks, tokens = rng.randint(1, 40), rng.randint(0, 900)
    blame, made = found(values, seed, forks=forks, tokens=tokens, batch=rng.randint(1, 9))
    assert blame.forks == len(made) <= forks
    assert blame.tokens == sum(each.tokens for _, each in made) <= tokens


def test_a_slide_has_no_step_and_none_is_made_up():
    slide = [0.8 * (1 - t / 16) for t in range(17)]
    whys = [found(slide, seed)[0].why for seed in range(10)]
    assert whys.count("undecided") >= 8


def test_the_drop_is_by_forks_that_did_not_make_the_step_suspect():
    search = DropSearch([Step()] * 3, BlameSettings(confidence=0.9))
    for position, success in [(0, 1.0)] * 4 + [(1, 0.0)] * 30:
        search.tell(position, ForkOutcome(success))
        if search.suspect:
            break
    told = len(search.told)
    assert search.suspect == 1 and search.state() == "undecided"
    assert search.drop(1)[1] == (-1.0, 1.0)
    for _ in range(6):
        search.tell(0, ForkOutcome(1.0))
        search.tell(1, ForkOutcome(0.0))
    assert search.state() == "found" and len(search.told) == told + 12
    six = stats.wilson(1.0, 6), stats.wilson(0.0, 6)
    assert search.drop(1) == (1.0, stats.newcombe(1.0, six[0], 0.0, six[1]))


def test_equal_seeds_give_equal_searches():
    one, two = (found([0.5, 0.5, 0.2, 0.0], seed=5) for _ in range(2))
    assert one == two
    assert one != found([0.5, 0.5, 0.2, 0.0], seed=6)


def test_a_fork_that_repeats_steps_counts_once_for_the_place_and_for_every_value_it_passed():
    search = DropSearch([Step(tokens=4)] * 4, BlameSettings(drift=0))
    search.tell(1, ForkOutcome(1.0, 12, repeated=2))
    assert search.counts.tolist() == [[0, 1, 1, 1], [0, 1, 1, 1]]
    assert search.levels.forks.tolist() == [0, 0, 0, 1]
    direct = DropSearch([Step(tokens=4)] * 4, BlameSettings(drift=0))
    direct.tell(3, ForkOutcome(1.0, 4))
    assert search.posterior.chances == pytest.approx(direct.posterior.chances)


def test_the_step_is_found_where_forks_often_repeat_what_was_recorded():
    blames = [found([0.6] * 6 + [0.0] * 5, seed, repeats=0.4)[0] for seed in range(8)]
    assert sum(blame.step == 6 for blame in blames) >= 6
    assert all(sum(v.forks for v in blame.values) > blame.forks for blame in blames)


def test_forks_without_a_verdict_are_paid_and_say_nothing():
    search = DropSearch([Step(tokens=4)] * 4, BlameSettings())
    before = search.posterior.chances
    search.tell(2, ForkOutcome(None, 8))
    assert search.posterior.chances is before and search.tokens == 8


def test_a_guide_moves_the_first_forks():
    steps, guide = [Step()] * 12, [0.9] * 9 + [0.05] * 3
    plain = DropSearch(steps, BlameSettings(batch=1))
    led = DropSearch(steps, BlameSettings(batch=1, prior=4.0), guide=guide)
    assert int(np.argmax(led.posterior.chances)) == 9
    assert led.ask()[0] in (8, 9) and plain.ask()[0] != led.ask()[0]


def test_wrong_input_is_said():
    async def one_short(position, count):
        return [ForkOutcome(1.0)] * (count - 1)

    with pytest.raises(DataError, match="a run without a step"):
        asyncio.run(find_drop(0, one_short))
    with pytest.raises(DataError, match="forks were asked for at"):
        asyncio.run(find_drop(4, one_short))
    with pytest.raises(SettingError, match="confidence"):
        BlameSettings(confidence=0.3)
