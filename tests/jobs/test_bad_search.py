"""Bad input to search, label and fit: one line on stderr with a remedy, exit code 2, a folder that
goes on.
"""

import json
import shutil
import sys

import pytest

from hornbeam.cli.main import main
from hornbeam.tree.jsonl import read_trees, write_trees
from told import without_code

from .doors import stages

A = "[[search.methods]]\nname = 'a'\n"
ONE = "[[search.methods]]\nname = 'one'\nn = 1\n"
BEAM = (
    "[[search.methods]]\nname = 'beam'\nstrategy = 'beam'\nbeams = 1\nwidth = 2\nchoose = 'kept'\n"
)


@pytest.fixture
def hornbeam(world, tmp_path, monkeypatch, capsys):
    """Runs a command on `run.text` with text added to it; (exit code, lines on stderr, stdout)."""
    recipe = tmp_path / "doors.toml"

    def run(command, added="", *words, out="run"):
        recipe.write_text(run.text + added)
        where = ["--out", str(tmp_path / out), *map(str, words)]
        monkeypatch.setattr(sys, "argv", ["hornbeam", command, str(recipe), *where])
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        printed = capsys.readouterr()
        lines = [
            s for s in without_code(printed.err).splitlines() if s.strip() and "it/s]" not in s
        ]
        return end.value.code or 0, lines, printed.out

    run.folder = tmp_path
    run.text = world.recipe.read_text().replace("count = 4\n", "count = 2\n")
    return run


def refused(result, *words):
    code, lines, _ = result
    print(lines)
    assert code == 2 and len(lines) == 1, result
    assert lines[0].startswith("hornbeam: ")
    assert all(word in lines[0] for word in words), lines[0]


def goes_on(hornbeam, *words):
    """The same folder serves the mended recipe."""
    code, lines, out = hornbeam("search", ONE, *words)
    assert code == 0 and "one" in out, lines


@pytest.mark.parametrize(
    ("methods", "words"),
    [
        ("", ["search.methods", "empty"]),
        (A + "choose = 'best'\nstrategy = 'beam'\ncolumn = 'worth'\n",
         ["'a'", "'worth'", "[guides.worth]"]),
        (A + "strategy = 'beem'\n", ["'a'", "'beem'", "'beam'"]),
        (A + "choose = 'majorty'\n", ["'a'", "'majorty'", "'majority'"]),
        (A + "choose = 'kept'\n", ["'a'", "'kept'", "'independent'"]),
        (A + "choose = 'q'\nstrategy = 'beam'\n", ["'a'", "'q'", "'beam'"]),
        (A + "strategy = 'mcts'\nrollout = true\n", ["'a'", "gold"]),
        (A + "strategy = 'beam'\ncolumn = 'reward'\n", ["'a'", "gold"]),
        (A + "widht = 3\nstrategy = 'beam'\n", ["'a'", "widht", "'width'"]),
        (A + "sweep = {n = [1, 2], m = [1]}\n", ["sweep", "one length"]),
        (A + "sweep = {n = []}\n", ["sweep"]),
        (A + "sweep = {n = 4}\n", ["sweep"]),
        (ONE + ONE, ["search.methods", "name"]),
        ("[search]\nbaseline = 'two'\n" + ONE, ["baseline", "'two'"]),
        ("[guides.mix]\nkind = 'sum'\nparts = {valu = 1.0}\n" + ONE, ["guides.mix", "valu"]),
        ("[guides.mix]\nkind = 'sum'\n" + ONE, ["guides.mix", "parts"]),
        ("[guides.next]\nkind = 'prm'\n" + ONE, ["guides.next", "model"]),
        ("[guides.next]\nkind = 'likelihood'\novr = 'step'\n" + ONE,
         ["guides.next", "'ovr'", "'over'"]),
        ("[guides.next]\nkind = 'llikelihood'\n" + ONE, ["guides", "kind"]),
    ],
)  # fmt: skip
def test_methods_and_guides_that_cannot_be(hornbeam, methods, words):
    refused(hornbeam("search", methods), *words)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ("kind = 'likelihood'\nover = 'paths'", ["over", "'path'"]),
        ("kind = 'likelihood'\njoin = 3", ["join", "'mean'"]),
        ("kind = 'sum'\nparts = {value = 'much'}", ["parts.value", "number"]),
        ("kind = 'likelihood'\njoin = 'last'", ["join = 'last'", "set chunk"]),
        ("kind = 'likelihood'\nchunk = 8", ["chunk is of join = 'last' or 'lowest'"]),
        ("kind = 'likelihood'\njoin = 'last'\nchunk = 0", ["chunk = 0", "1 or more"]),
        ("kind = 'likelihood'\nscale = -1", ["scale = -1", "above 0"]),
        ("kind = 'likelihood'\nmodel = 'tiny'", ["no setting 'model'"]),
        ("kind = 'log_ratio'", ["model", "reference"]),
        ("kind = 'log_ratio'\nmodel = 'x'\nover = 'all'", ["over", "'step'"]),
    ],
)
def test_settings_of_a_guide_that_cannot_be(hornbeam, settings, words):
    refused(hornbeam("search", f"[guides.other]\n{settings}\n{ONE}"), "guides.other", *words)
    goes_on(hornbeam)


def test_models_of_guides_that_cannot_be(hornbeam, world):
    there = hornbeam.folder / "gone"
    refused(hornbeam("search", BEAM, "--set", f"guides.value.model={there}"), "gone")
    there.mkdir()
    refused(hornbeam("search", BEAM, "--set", f"guides.value.model={there}"), "gone")
    plain = f"guides.value.model={world.policy}"
    refused(hornbeam("search", BEAM, "--set", plain), "guides.value", "hornbeam fit")
    goes_on(hornbeam)


def test_a_guide_that_was_fitted_on_another_tokenizer(hornbeam, world):
    from transformers import AutoTokenizer

    from hornbeam.train.value_files import fingerprint

    other = shutil.copytree(world.prm, hornbeam.folder / "other")
    words = other / "tokenizer.json"
    words.write_text(words.read_text().replace('"▁left"', '"▁lift"'))
    refused(hornbeam("search", BEAM, "--set", f"guides.value.model={other}"), "tokenizer", "other")
    card = json.loads((other / "value.json").read_text())
    card["fingerprint"] = fingerprint(AutoTokenizer.from_pretrained(other))
    (other / "value.json").write_text(json.dumps(card))
    refused(
        hornbeam("search", BEAM, "--set", f"guides.value.model={other}"), "another tokenizer", "fit"
    )
    goes_on(hornbeam)


def test_a_device_that_is_not_there(hornbeam):
    refused(hornbeam("search", ONE, "--set", "run.device=gpu"), "run.device", "'gpu'")
    goes_on(hornbeam)


def test_values_that_are_no_numbers(hornbeam, world):
    import torch
    from safetensors.torch import load_file, save_file

    broken = shutil.copytree(world.prm, hornbeam.folder / "broken")
    weights = load_file(broken / "model.safetensors")
    weights["score.weight"] = torch.full_like(weights["score.weight"], torch.nan)
    save_file(weights, broken / "model.safetensors", metadata={"format": "pt"})
    refused(hornbeam("search", BEAM, "--set", f"guides.value.model={broken}"), "not finite")
    best = "[[search.methods]]\nname = 'best'\nchoose = 'best'\nn = 2\n"
    refused(hornbeam("search", best, "--set", f"guides.value.model={broken}"), "not finite")
    code, lines, out = hornbeam("search", BEAM + best)
    assert code == 0 and "best" in out, lines


def test_nothing_to_search(hornbeam):
    text = hornbeam.text
    a, b = text.index("[[tasks.eval]]"), text.index("[reward]")
    hornbeam.text = text[:a] + text[b:]
    refused(hornbeam("search", ONE), "tasks.eval", "[[tasks.eval]]")
    hornbeam.text = text
    goes_on(hornbeam)


def test_a_budget_below_one_path_gives_no_answer_and_says_so(hornbeam):
    for budget in ("tokens = 5", "calls = 1", "tokens = 0"):
        tight = ONE.replace("one", "tight") + f"budget = {{{budget}}}\n"
        code, lines, _ = hornbeam("search", tight, out=budget.replace(" ", ""))
        assert code == 0, lines
        data = json.loads((hornbeam.folder / budget.replace(" ", "") / "search.json").read_text())
        (row,) = data["methods"][0]["points"]
        assert row["unanswered"] == row["spent"] == row["questions"] == 2
        assert row["accuracy"] == row["oracle"] == 0
        for question in data["questions"]:
            assert question["searches"][0].get("answer") is None


@pytest.mark.parametrize(
    ("edges", "words"),
    [
        ("[[program.edges]]\nfrom = 'a'\nto = 'b'\n[[program.edges]]\nfrom = 'b'\nto = 'a'\n",
         ["cycle", "a > b > a", "times"]),
        ("[[program.edges]]\nfrom = 'a'\nto = 'c'\n", ["a > c", "no agent 'c'"]),
    ],
)  # fmt: skip
def test_teams_that_cannot_be(hornbeam, edges, words):
    team = "[program]\nname = 'team'\n" + edges
    for name in "ab":
        team += f"[[program.agents]]\nname = '{name}'\n"
    text, lookup = hornbeam.text, '[program]\nname = "lookup"\n'
    assert lookup in text
    hornbeam.text = text.replace(lookup, team)
    refused(hornbeam("search", ONE), *words)
    hornbeam.text = text
    goes_on(hornbeam)


# --- label and fit -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ('label={strategy="beam"}', ["label.strategy", "outcomes"]),
        ("label.strategy=mtcs", ["mtcs", "'mcts'"]),
        ("label.simulation=3", ["simulation", "'simulations'"]),
        ("label.skip=40", ["label.skip", "40"]),
        ("label.most=2", ["label", "most"]),
    ],
)
def test_label_searches_that_cannot_be(hornbeam, wrong, words):
    refused(hornbeam("label", "", "--set", wrong), *words)


def test_trees_that_cannot_be_fitted_on(hornbeam, world):
    file = hornbeam.folder / "trees.jsonl"

    def fit(*words):
        return hornbeam("fit", "", "--trees", file, *words, out="prm")

    refused(fit(), "trees.jsonl", "hornbeam label")
    file.write_text("")
    refused(fit(), "trees.jsonl", "no tree")
    file.write_text("{\n")
    refused(fit(), "trees.jsonl", "line 1")
    trees = list(read_trees(world.folder / "labels" / "trees.jsonl"))
    for tree in trees:
        tree.columns["q"] = [None] * len(tree)
    write_trees(trees, file)
    refused(fit(), "'q'", "target")
    for tree in trees:
        del tree.columns["q"]
    write_trees(trees, file)
    refused(fit(), "'q'", "visits")
    refused(fit("--column", "worth"), "'worth'")
    for tree in trees:
        tree.columns["q"] = [1.5] * len(tree)
    write_trees(trees, file)
    refused(fit(), "1.5", "[-1, 1]")
    write_trees(list(read_trees(world.folder / "labels" / "trees.jsonl")), file)
    refused(fit("--set", "fit.objective=ranking"), "objective")
    assert not (hornbeam.folder / "prm").exists()
    code, lines, _ = fit("--set", "fit.epochs=1")
    assert code == 0, lines
    refused(fit(), "prm", "not empty", "--out")


def test_pools_that_cannot_be_read(hornbeam, world):
    file = hornbeam.folder / "pool.jsonl"
    refused(hornbeam("search", ONE, "--pool", file), "pool.jsonl")
    file.write_text("")
    refused(hornbeam("search", ONE, "--pool", file), "pool.jsonl", "no tree")
    trees = list(read_trees(world.folder / "labels" / "trees.jsonl"))
    write_trees(trees, file)
    many = ONE.replace("n = 1", "n = 99")
    refused(hornbeam("search", many, "--pool", file), "none of the recipe's methods")
    refused(hornbeam("search", ONE + "choose = 'majorty'\n", "--pool", file), "'majority'")
    for tree in trees:
        del tree.columns["reward"]
    write_trees(trees, file)
    refused(hornbeam("search", ONE, "--pool", file), "pool.jsonl", "reward")
    assert not (hornbeam.folder / "run" / "run.db").exists()
    goes_on(hornbeam)
    assert len(stages(hornbeam.folder / "run")) == 1
