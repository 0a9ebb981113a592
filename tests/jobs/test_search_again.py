"""A run folder that is searched again after its recipe or models changed tells nothing old."""

import shutil

import pytest

from hornbeam.jobs.fit.run_fit import fit
from hornbeam.recipe.recipe import load_recipe

from .doors import BEAM, Silent, points, search, stored

MIX = {"kind": "sum", "parts": {"value": 1.0, "likelihood": 0.1}}
BEST = {"name": "best", "choose": "best", "n": 3}
MIXED = {**BEAM, "name": "mixed", "column": "mix", "choose": "first"}


def figures(result):
    """All that is told of every point but what time decides."""
    rows = {key: dict(row) for key, row in points(result).items()}
    for row in rows.values():
        del row["seconds"]
    return rows


def test_another_model_at_the_same_place_judges_anew(world, tmp_path):
    place = shutil.copytree(world.prm, tmp_path / "prm")
    guides = {"value": {"kind": "prm", "model": str(place)}, "mix": MIX}
    before = search(world, tmp_path / "run", BEST, BEAM, MIXED, guides=guides)
    shutil.rmtree(place)
    recipe = load_recipe(world.recipe, ["fit.epochs=1", "fit.lr=0.02", "run.seed=7"])
    fit(recipe, world.trees, "q", place, Silent())
    again = search(world, tmp_path / "run", BEST, BEAM, MIXED, guides=guides)
    alone = search(world, tmp_path / "alone", BEST, BEAM, MIXED, guides=guides)
    assert figures(again) == figures(alone)
    trees = [question["searches"][0]["nodes"] for question in before["questions"]]
    assert trees != [question["searches"][0]["nodes"] for question in again["questions"]]


def test_a_guide_whose_settings_changed_judges_anew(world, tmp_path):
    row = {**BEST, "choose": "first", "guides": ["mix"]}
    other = {**MIX, "parts": {"value": -1.0, "likelihood": 0.0}}
    search(world, tmp_path / "run", row, MIXED, guides={"mix": MIX})
    again = search(world, tmp_path / "run", row, MIXED, guides={"mix": other})
    alone = search(world, tmp_path / "alone", row, MIXED, guides={"mix": other})
    assert figures(again) == figures(alone)
    for ours, theirs in zip(*(stored(tmp_path / f, "pool ")[0] for f in ("run", "alone"))):
        assert ours.columns["mix"] == pytest.approx(theirs.columns["mix"], abs=1e-5)
        negative = [None if v is None else -v for v in ours.columns["value"]]
        assert ours.columns["mix"] == pytest.approx(negative, abs=1e-5)


def test_a_method_with_another_budget_or_setting_is_searched_anew(world, tmp_path):
    tight = {**BEAM, "budget": {"tokens": 20}}
    wide = {**BEAM, "budget": {"tokens": 2000}, "width": 3}
    search(world, tmp_path / "run", tight)
    again = search(world, tmp_path / "run", wide)
    assert figures(again) == figures(search(world, tmp_path / "alone", wide))
    again = search(world, tmp_path / "run", {**wide, "budget": {"tokens": 60}})
    assert points(again)["beam", ""]["total_tokens"] <= 60


def test_a_pool_that_was_judged_by_halves_is_judged_to_its_end(world, tmp_path, monkeypatch):
    from hornbeam.score.prm import ValueGuide

    real, asked = ValueGuide.judge, []

    async def judge(guide, tree, nodes):
        asked.append(nodes)
        if len(asked) == 5:
            raise KeyboardInterrupt
        return await real(guide, tree, nodes)

    with monkeypatch.context() as patch:
        patch.setattr(ValueGuide, "judge", judge)
        try:
            search(world, tmp_path / "run", BEST, run={"at_once": 1})
        except KeyboardInterrupt:
            asked.append("stopped")
    assert asked[-1] == "stopped"
    again = search(world, tmp_path / "run", BEST, run={"at_once": 1})
    assert figures(again) == figures(search(world, tmp_path / "alone", BEST, run={"at_once": 1}))


def test_trees_that_were_begun_otherwise_go_on_so_and_it_is_said(world, tmp_path):
    """B1 B2 first steps were the only way once: such a folder has no word of them."""
    before = search(world, tmp_path / "run", {**BEAM, "first": "all"})
    again = search(world, tmp_path / "run", BEAM, progress=(progress := Silent()))
    assert figures(again) == figures(before)
    assert progress.text.getvalue().startswith("Chat template of ")
    (result,) = (line for line in progress.text.getvalue().splitlines() if "first" in line)
    assert result == (
        "search method 'beam': its trees here were begun with first = \"all\", the only way"
        ' then, and go on so; say first = "width" in the recipe to search anew'
    )
    anew = search(world, tmp_path / "run", {**BEAM, "first": "width"}, progress=(quiet := Silent()))
    assert "first" not in quiet.text.getvalue()
    assert figures(anew) == figures(search(world, tmp_path / "alone", BEAM))
    assert points(anew)["beam", ""]["policy_tokens"] < points(before)["beam", ""]["policy_tokens"]
