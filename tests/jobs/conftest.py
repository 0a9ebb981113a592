"""The tiny world that searches are tested in: warm-started, labelled and fitted once."""

import asyncio
import sys
from types import SimpleNamespace

import pytest

from hornbeam.assembly.plan import plan
from hornbeam.cli.main import main
from hornbeam.jobs.fit.run_fit import fit
from hornbeam.jobs.label.run_label import Label
from hornbeam.jobs.train.training import Run
from hornbeam.recipe.recipe import load_recipe
from hornbeam.tree.jsonl import read_trees

from .doors import RECIPE, Silent


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """`recipe`: its file; `policy`, `prm`: folders of models; what labels and fit told."""
    folder = tmp_path_factory.mktemp("doors")
    path = folder / "doors.toml"
    prm, policy = folder / "prm", folder / "policy"
    path.write_text(RECIPE.replace("PRM", str(prm)))
    recipe = load_recipe(path)
    asyncio.run(Run(recipe, plan(recipe, folder), policy, Silent()).go())
    path.write_text(path.read_text().replace('name = "tiny"', f'name = "{policy / "final"}"'))
    path.write_text(path.read_text().replace("options = {width = 32}\n", "", 1))
    recipe = load_recipe(path)
    labels = asyncio.run(Label(recipe, plan(recipe, folder), folder / "labels", Silent()).go())
    trees = list(read_trees(folder / "labels" / "trees.jsonl"))
    fitted = fit(recipe, trees, "q", prm, Silent())
    return SimpleNamespace(
        folder=folder,
        recipe=path,
        policy=policy / "final",
        prm=prm,
        labels=labels,
        trees=trees,
        fitted=fitted,
    )


@pytest.fixture
def hornbeam(monkeypatch, capsys):
    """Runs a command; (exit code, stderr, stdout)."""

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["hornbeam", *map(str, words)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        said = capsys.readouterr()
        return end.value.code or 0, said.err.strip(), said.out

    return run
