"""The claims of five papers: power, equal cost, verdicts, and the page that tells them."""

from __future__ import annotations

import json
import math
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def bench() -> Iterator[Any]:
    """The scripts, from bench/, which is taken off the path again."""
    sys.path.insert(0, str(ROOT / "bench"))
    try:
        import claims
        import claims_page
        import claims_search
        import claims_tables
        import power

        yield SimpleNamespace(
            claims=claims,
            page=claims_page,
            search=claims_search,
            tables=claims_tables,
            power=power,
        )
    finally:
        sys.path.remove(str(ROOT / "bench"))


def test_seeds_by_hand(bench: Any) -> None:
    # (1.95996 + 0.84162)^2 = 7.8489; sd twice the difference: 31.3955 + 1.9207 = 33.3
    assert bench.power.seeds_needed(0.10, 0.05) == 34
    # sd equal to the difference: 7.8489 + 1.9207 = 9.77
    assert bench.power.seeds_needed(0.05, 0.05) == 10
    assert bench.power.seeds_needed(0.0, 0.05) == 2
    # more power, more seeds: (1.95996 + 1.28155)^2 = 10.5074; + 1.9207 = 12.4
    assert bench.power.seeds_needed(0.05, 0.05, power=0.9) == 13


def test_the_smallest_difference_is_the_other_way_round(bench: Any) -> None:
    # 2.80159 * 0.05 / sqrt(12 - 1.9207) = 0.14008 / 3.17479
    assert bench.power.smallest_found(0.05, 12) == pytest.approx(0.044122, abs=1e-6)
    assert bench.power.smallest_found(0.05, 2 - 1) == math.inf
    n = bench.power.seeds_needed(0.08, 0.05)
    found = bench.power.smallest_found
    assert found(0.08, n) <= 0.05 < found(0.08, n - 1)


def test_questions_by_hand(bench: Any) -> None:
    # 100 questions, half right: draws alone 2 * 0.25 / 100 = 0.005 of a variance of 0.005
    # free: (12 - 1.9207) * (0.05 / 2.80159)^2 = 10.0793 * 3.18516e-4 = 0.0032104; 0.5 / that
    sd = math.sqrt(0.005)
    assert bench.power.questions_needed(sd, 100, 0.5, 12, 0.05) == 156
    # the seeds' own variance alone is more than 12 seeds can bear: no number of questions helps
    assert bench.power.questions_needed(0.1, 10_000, 0.5, 12, 0.05) is None


def test_the_baseline_is_read_at_our_cost(bench: Any) -> None:
    base = [(100, 0.2), (300, 0.6)]
    # at 200: 0.4 between both; at 400: the last, 0.6; at 50: the first, 0.2
    assert bench.claims.equal_cost([(200, 0.5)], base) == pytest.approx(0.1)
    ours = [(200, 0.5), (400, 0.7), (50, 0.1)]
    assert bench.claims.equal_cost(ours, base) == pytest.approx((0.1 + 0.1 - 0.1) / 3)


def test_figures_of_a_seed_by_hand(bench: Any) -> None:
    ours = {"curve": [(0, 0.0), (50, 0.5), (100, 1.0)], "costs": {"anchor_tokens": 10}}
    base = {"curve": [(0, 0.0), (50, 0.4), (100, 0.8)], "costs": {}}
    figure = bench.claims.figure
    assert figure("curve", ours, base, 100) == pytest.approx(0.5 - 0.4)
    assert figure("end", ours, base, 100) == pytest.approx(0.2)
    # ours at 40: 0.4; 97 % of 0.8 is 0.776
    assert figure("share", ours, base, 100) == pytest.approx(0.4 - 0.776)
    # anchors free: what we had at 50 is there at 40
    assert figure("share, free", ours, base, 100) == pytest.approx(0.5 - 0.776)
    with pytest.raises(ValueError, match="no such"):
        figure("no such", ours, base, 100)


def test_the_verdict_rule(bench: Any) -> None:
    verdict = bench.claims.verdict
    above = [0.06, 0.08] * 5
    assert verdict(above) == "holds"
    assert verdict([-d for d in above]) == "does not hold"
    assert verdict([0.3, -0.28] * 5) == "not decided"  # 0 and 5 points are both within
    assert verdict([0.01, -0.01] * 5, least=0.05) == "does not hold"  # 5 points are not within
    assert verdict([0.01, -0.01] * 5) == "not decided"
    assert verdict(above[:9]) == "not decided"  # too few seeds, whatever they say


def test_a_window_that_slides_costs_and_forgets(bench: Any) -> None:
    how = bench.claims.worlds()["window"]
    paid: dict[str, Counter[str]] = {}
    for name in ("single agent", "single agent, no limit"):
        world = bench.tables.Window(how, how["arms"][name], 0)
        tree, paid[name] = bench.tables.Tree({"id": 0}), Counter()
        world.episode(tree, 0, [0, 1, 2], paid[name])
        keys = [node.state for node in tree.nodes if node.agent == "main"]
        assert any(key.startswith("after") for key in keys) == (name == "single agent")
    read = {
        name: one["prompt_tokens_computed"] / one["sampled_tokens"] for name, one in paid.items()
    }
    assert read["single agent"] > 2 > read["single agent, no limit"]


def test_four_of_five_tasks_are_unsolved_and_all_anchors_are_paid(bench: Any) -> None:
    how = bench.claims.worlds()["sparse"]
    world = bench.tables.Sparse(how, how["arms"]["pvpo"], 0)
    assert 0.65 <= world.unsolved <= 0.9
    costs = world.ledger.totals
    assert costs["anchor_tokens"] > 2 * how["anchors"] * how["tasks_in_all"] * how["short"]
    assert costs["teacher_tokens"] > 0 and world.injected
    assert world.spent == sum(costs.values())
    node = next(iter(world.injected.values())).nodes[1]
    assert node.origin.version == -1 and node.logprobs[0] < 0


def test_an_injected_word_counts_by_its_ratio_to_the_teacher(bench: Any) -> None:
    how = bench.claims.worlds()["sparse"]
    world = bench.tables.Sparse(how, {}, 0)
    origin = bench.tables.Origin(version=-1)

    def slope(chance: float, advantage: float) -> float:
        slopes: dict[Any, list[float]] = {}
        logprobs = [math.log(chance)]
        node = bench.tables.Node(0, "walker", text="0", state="x", origin=origin, logprobs=logprobs)
        world._slope(slopes, node, advantage)
        return slopes["x"][0]

    # pi = 1/3 of three words: ratio 1/3 / 0.5 = 2/3, gradient of the logit 1 - 1/3
    assert slope(0.5, 1.0) == pytest.approx(2 / 3 * 2 / 3)
    assert slope(0.1, 1.0) == 0.0  # ratio 10/3 is clipped where the word is to be likelier
    assert slope(0.1, -1.0) == pytest.approx(-10 / 3 * 2 / 3)


def test_beams_and_votes_are_paid_by_what_they_read(bench: Any) -> None:
    how = bench.claims.worlds()["team"] | {"questions": 3, "label_questions": 8}
    team = bench.search.Team(how, 0)
    team.fit()
    assert team.paid["label_sampled_tokens"] and team.paid["fit_prm"] and team.paid["fit_orm"]
    one = bench.search.strategy("independent", n=1)
    tokens, _ = team.search(one, how["arms"]["majority"])
    # four messages of 8 words; prompts of 24, 32, 40 and 48
    assert tokens == 4 * 8 + 24 + 32 + 40 + 48
    beam = bench.search.strategy("beam", beams=1, width=3)
    guided, _ = team.search(beam, how["arms"]["PRM beam"])
    free, _ = team.search(beam, how["arms"]["likelihood beam"])
    # the PRM reads each of 12 messages and a separator, and the question once (16)
    assert guided - free == 12 * 9 + 16


def test_the_page_is_that_of_the_file(bench: Any) -> None:
    known = bench.claims.read()
    text = bench.page.PAGE.read_text("utf-8")
    assert bench.page.page(known, text) == text
    for paper in bench.page.PAPERS:
        path = bench.claims.RESULTS / f"claims_{bench.page.slug(paper)}.svg"
        assert path.read_text("utf-8") == bench.page.picture(paper, known)


def test_every_claim_has_its_seeds_and_its_reason(bench: Any) -> None:
    known, hows = bench.claims.read(), bench.claims.worlds()
    for claim in bench.claims.CLAIMS:
        seeds = known["worlds"][claim.world]
        assert len(seeds) >= bench.claims.LEAST_SEEDS
        found = bench.claims.differences(claim, seeds, hows[claim.world])
        if bench.claims.verdict(found, claim.least) == "does not hold":
            assert claim.ablation and claim.why
            bench.claims.differences(claim, seeds, hows[claim.world], ablation=True)


def test_a_series_goes_on_where_it_was(bench: Any, monkeypatch: Any, tmp_path: Path) -> None:
    monkeypatch.setattr(bench.claims, "FILE", tmp_path / "claims.json")
    small = bench.claims.worlds()["sparse"] | {"budget": 8000}
    monkeypatch.setattr(bench.claims, "worlds", lambda: {"sparse": small})
    bench.claims.run(["sparse"], 1, math.inf)
    first = json.loads((tmp_path / "claims.json").read_text())["worlds"]["sparse"]["0"]
    bench.claims.run(["sparse"], 2, math.inf)
    both = json.loads((tmp_path / "claims.json").read_text())["worlds"]["sparse"]
    assert [*both] == ["0", "1"] and both["0"] == first
