"""A teacher behind a server, on the world of luck: taken at its word, or told again."""

import asyncio
import json

import pytest

from hornbeam.assembly.judges import judge_engine
from hornbeam.assembly.plan import plan
from hornbeam.errors import EngineError, RecipeError
from hornbeam.jobs.anchor.run_anchors import Anchors
from hornbeam.jobs.train.anchored_tasks import Anchored
from hornbeam.models import tiny_model
from hornbeam.recipe.recipe import load_recipe
from hornbeam.store.database import Store
from little_server import LittleServer, Manners

from .doors import Silent
from .test_anchors import PROGRAM, RECIPE


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with recipe, program and tasks, and the model that the server has."""
    path = tmp_path_factory.mktemp("luck")
    (path / "luck.py").write_text(PROGRAM)
    rows = ({"question": f"maybe {i}", "answer": "yes"} for i in range(8))
    (path / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = RECIPE.replace("TASKS", str(path / "tasks.jsonl"))
    text = text.replace("rollouts = 3", "rollouts = 1, attempts = 6")
    (path / "luck.toml").write_text(text.replace("STORE", str(path / "anchors")))
    tiny_model.make(path / "teacher", seed=5, width=16, heads=2, layers=1)
    return path


def recipe_of(folder, url, *sets):
    return load_recipe(folder / "luck.toml", [f"anchor.teacher={url}", *sets])


def taught(folder, recipe):
    return asyncio.run(Anchors(recipe, plan(recipe, folder), Silent()).go())


SERVERS = {
    "ids": ({}, "http", "teacher"),
    "text": ({"gives_ids": False}, "http", "policy"),
    "chats": ({"chat_only": True}, "chat", "policy"),
}


@pytest.mark.parametrize("server", SERVERS)
def test_a_server_teaches_and_training_finds_what_it_said(folder, server, tmp_path):
    manners, kind, scored_by = SERVERS[server]
    with LittleServer(judge_engine(folder / "teacher"), manners=Manners(**manners)) as server:
        how = ("anchor.endpoint.model=tiny", f"anchor.endpoint.kind={kind}")
        recipe = recipe_of(folder, server.url, *how, f"anchor.store={tmp_path / 'anchors'}")
        result = taught(folder, recipe)
        again = taught(folder, recipe)
    assert result["scored_by"] == [scored_by] and 0 < result["taught"] <= result["unsolved"]
    assert result["tokens"] > 0 == again["tokens"] and again["taught"] == result["taught"]
    tiny_model.make(tmp_path / "model", recipe.run.seed, **recipe.model.options)
    with Store(tmp_path / "run") as store:
        kept = Anchored(recipe, plan(recipe, folder), tmp_path / "model", store)
    assert kept.row["taught"] == result["taught"]


def test_a_teacher_that_cannot_be_is_refused(folder):
    with LittleServer(judge_engine(folder / "teacher")) as server:
        recipe = recipe_of(folder, server.url, "anchor.endpoint.model=big")
        with pytest.raises(EngineError, match="does not serve model 'big', it serves 'tiny'"):
            taught(folder, recipe)
    with pytest.raises(RecipeError, match=r"has no setting 'modle': did you mean 'model'"):
        taught(folder, recipe_of(folder, "http://a/v1", "anchor.endpoint.modle=big"))
    with pytest.raises(RecipeError, match=r"anchor\.endpoint is of a server"):
        taught(folder, recipe_of(folder, "teacher", "anchor.endpoint.model=big"))
