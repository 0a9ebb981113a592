"""`hornbeam blame` on runs with a planted step: of programs, teams, worlds, agents outside."""

import json
import os
import shutil
import signal
import subprocess
import sys

import pytest

from hornbeam.assembly.run_folder import FILES_IN
from hornbeam.chat import ByteChat
from hornbeam.engine.scripted import Scripted
from hornbeam.jobs.blame.blame_report import lines, summary
from hornbeam.jobs.blame.guide_values import GUIDE
from hornbeam.store.database import Store
from hornbeam.tree.jsonl import read_trees, write_trees
from hornbeam.tree.nodes import INJECTED, Node, Origin, Tree
from little_server import LittleServer, Manners

RECIPE = """
run = {steps = 1, tasks = 2, eval_every = 0, eval_start = false}
model = {name = "tiny", options = {width = 16, layers = 1}}
program = PROGRAM
reward = {rule = "exact"}
grow = {strategy = "independent", n = 4}
agents = {critic = {max_tokens = 3}, solver = {max_tokens = 3}}
[[tasks.train]]
source = "jsonl"
path = "tasks.jsonl"
"""
WALK = """
import os, signal
from pathlib import Path
from hornbeam.chat import user

KILL = Path(__file__).with_name("kill")

async def walk(task, ep):
    good = True
    for turn in range(6):
        who = "solver" if turn % 2 else "critic"
        reply = await ep.ask(who, [user(f"{task.question} {turn}")])
        if turn == 3:
            good = bool(reply.tokens) and reply.tokens[0] % 2 == 0
    if KILL.exists():
        left = int(KILL.read_text())
        KILL.write_text(str(left - 1))
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
    return "yes" if good else "no"
"""
NOTES = """
from hornbeam.chat import user

async def walk(task, ep):
    for turn in range(5):
        reply = await ep.ask("critic", [user(f"{task.question} {turn}")])
        odd = not reply.tokens or reply.tokens[0] % 2 == 1
        heard = await ep.call("note", text="bad" if turn == 2 and odd else "good")
    await ep.ask("solver", [user(f"{heard}")])
    return "no" if "bad" in heard else "yes"

def note(text, world):
    world.setdefault("notes", []).append(text)
    return list(world["notes"])
"""
AGENT = """
import json, os, urllib.request

def ask(messages):
    body = json.dumps({"model": "critic", "messages": messages}).encode()
    headers = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
    url = f"{os.environ['OPENAI_BASE_URL']}/chat/completions"
    with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as answer:
        return json.load(answer)["choices"][0]["message"]["content"]

def run(task, session):
    messages, good = [{"role": "user", "content": task.question}], True
    for turn in range(4):
        said = ask(messages)
        good = good and (turn != 1 or len(said) % 2 == 0)
        messages += [{"role": "assistant", "content": said}, {"role": "user", "content": "on"}]
    return "yes" if good else "no"
"""
PROGRAMS = {"walk": ('{name = "walk.py:walk"}', WALK), "notes": ('{name = "walk.py:walk"}', NOTES)}
PROGRAMS["agent"] = ('{agent = "walk.py:run"}', AGENT)
ONE = "<b>is it</b> & so"  # no markup on the page


def write(folder, kind="walk"):
    """The files of a recipe; its path."""
    program, code = PROGRAMS[kind]
    (folder / "walk.py").write_text(code)
    text = RECIPE.replace("PROGRAM", program)
    if kind == "notes":
        text = 'tools = {note = {use = "walk.py:note"}}\nworld = {kind = "python"}\n' + text
    (folder / "walk.toml").write_text(text)
    rows = [{"question": f"{ONE} {n}", "answer": "yes"} for n in range(4)]
    (folder / "tasks.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / "walk.toml"


TRAINED = {}  # by kind: the folder of a recipe that was trained for a step


@pytest.fixture
def ran(tmp_path, tmp_path_factory, hornbeam):
    """A recipe of a kind, trained for a step: its run folder in `tmp_path`."""

    def run(kind="walk"):
        if kind not in TRAINED:
            folder = tmp_path_factory.mktemp(kind)
            code, err, said = hornbeam("train", write(folder, kind), "--out", folder / "run")
            assert code == 0, err + said
            TRAINED[kind] = folder
        shutil.copytree(TRAINED[kind], tmp_path, dirs_exist_ok=True)
        with Store(tmp_path / "run") as store:
            store.set(FILES_IN, str(tmp_path))
        return tmp_path / "run"

    return run


@pytest.fixture
def blame(hornbeam):
    """Blames with --json; what is found."""

    def run(*words):
        code, err, out = hornbeam("blame", *words, "--json")
        assert code == 0, err
        return json.loads(out)

    return run


def paid(folder):
    """(what the ledger of forks holds by kind, sampled tokens in their trees)."""
    with Store(folder, read_only=True) as store:
        costs = store.totals()
        trees = [store.read(key).tree for key in store.keys(None)]
    grown = [n for tree in trees for n in tree.nodes if n.origin.episode]
    return costs, sum(len(node.tokens) for node in grown)


@pytest.mark.parametrize(("kind", "step"), [("walk", 4), ("notes", 3), ("agent", 2)])
def test_the_planted_step_is_found(ran, blame, kind, step):
    run = ran(kind)
    found = blame(run)
    (one,) = found["runs"]
    assert (one["why"], one["step"]) == ("found", step), one["finding"]
    assert one["interval"][0] > 0 and one["drop"] > 0.2 and one["outcome"] == 0
    assert one["agent"] == ("solver" if kind == "walk" else "critic")
    assert one["instead"] and one["said"] not in [other["text"] for other in one["instead"]]
    assert (one["kind"], one["tool"]) == (("call", "note") if kind == "notes" else ("message", ""))
    with Store(run, read_only=True) as store:  # the recorded run was only read
        assert {key.stage for key in store.keys(None)} == {"train"}
        tree = store.read(store.keys()[1]).tree
    assert tree.nodes[one["node"]].text == one["said"]
    costs, sampled = paid(run / "blame")
    assert costs["sampled_tokens"] == sampled == one["costs"]["sampled_tokens"]
    # what was paid is not paid again, and a larger budget goes on from it
    assert blame(run) == found
    assert paid(run / "blame")[0] == costs


def test_a_team_is_told_which_agent(ran, hornbeam):
    run = ran()
    code, _, out = hornbeam("blame", run)
    assert code == 0 and "Step 4 (solver) lost it: drop" in out
    by_agent = out.splitlines()[-1]
    assert by_agent.startswith("By agent, its drops added: solver ")
    assert float(by_agent.split("solver ")[1].split(",")[0]) > 0.3


def test_a_larger_budget_goes_on_from_the_forks_that_were_paid(ran, blame, tmp_path):
    run = ran()
    few = blame(run, "--forks", 8, "--out", tmp_path / "few")["runs"][0]
    assert few["forks"] == 8 and few["why"] == "undecided" and few["step"] is None
    (whole,) = blame(run, "--out", tmp_path / "few")["runs"]
    (other,) = blame(run, "--out", tmp_path / "other")["runs"]
    assert whole["forks"] > 8 and {**whole, "costs": 0} == {**other, "costs": 0}
    assert paid(tmp_path / "few")[1] == paid(tmp_path / "other")[1] == whole["tokens"]


def test_a_blame_killed_behind_its_last_fork_is_at_its_end(ran, blame, tmp_path):
    run = ran()
    (one,) = blame(run, "--forks", 4, "--out", tmp_path / "cut")["runs"]
    with Store(tmp_path / "cut") as store:
        mark = f"growing/{store.keys()[0].stage}"
        assert store.get(mark, "none") is None
        store.set(mark, {"what": f"forks of {one['tree']}, node {one['leaf']}", "had": {}})
    assert blame(run, "--forks", 4, "--out", tmp_path / "cut")["runs"] == [one]
    with Store(tmp_path / "cut", read_only=True) as store:
        assert store.get(mark, "none") is None  # else a larger budget is told what was paid as lost


def test_a_killed_blame_pays_for_no_fork_twice(ran, blame, tmp_path):
    run = ran()
    found = blame(run, "--out", tmp_path / "whole")
    (tmp_path / "kill").write_text("13")
    command = [sys.executable, "-m", "hornbeam", "blame", str(run), "--out", str(tmp_path / "cut")]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    ended = subprocess.run(command, capture_output=True, env=env, timeout=300)
    assert ended.returncode == -signal.SIGKILL, ended.stderr
    (tmp_path / "kill").unlink()
    _, before = paid(tmp_path / "cut")
    assert 0 < before < paid(tmp_path / "whole")[1]
    again = blame(run, "--out", tmp_path / "cut")
    (one,), (other,) = again["runs"], found["runs"]
    assert {**one, "costs": 0} == {**other, "costs": 0}
    costs, sampled = paid(tmp_path / "cut")
    assert sampled == paid(tmp_path / "whole")[1] <= costs["sampled_tokens"]
    with Store(tmp_path / "cut", read_only=True) as store:
        stages = {key.stage for key in store.keys(None)}
        kept = [store.totals(stage).get("sampled_tokens", 0) for stage in stages]
    assert sum(kept) == sampled  # what a kill cost stands apart


def test_all_failed_runs_share_a_budget_and_are_grouped(ran, blame, hornbeam):
    run = ran()
    found = blame(run, "--all-failed", "--forks", 256)
    told, runs = found["summary"], found["runs"]
    with Store(run, read_only=True) as store:
        trees = [store.read(key).tree for key in store.keys(None)]
    failed = sum(tree.columns["reward"][i] == 0 for tree in trees for i in tree.leaves())
    assert told["runs"] == len(runs) == failed > 1
    assert told["forks"] == sum(each["forks"] for each in runs) <= 256
    found_ones = [each for each in runs if each["why"] == "found"]
    assert found_ones and told["by_agent"] == [
        {
            "name": "solver",
            "count": len(found_ones),
            "share": 1.0,
            "mean_drop": pytest.approx(sum(r["drop"] for r in found_ones) / len(found_ones)),
        }
    ]
    code, _, out = hornbeam("blame", run, "--all-failed", "--summary", "--forks", 256)
    assert code == 0 and len(out.splitlines()) == 7
    assert out.splitlines()[0].startswith(f"{failed} failed runs: {len(found_ones)} found")
    # runs of one tree do not draw the same forks
    first = [[value["share"] for value in each["values"]] for each in runs]
    assert len({json.dumps(shares) for shares in first}) > 1


def test_a_small_budget_goes_into_few_runs(ran, hornbeam):
    code, err, out = hornbeam("blame", ran(), "--all-failed", "--forks", 8, "--json")
    assert code == 0 and "runs were not looked at (--forks)" in err
    assert [each["forks"] for each in json.loads(out)["runs"]] == [8]


def test_the_page_holds_texts_as_texts(ran, hornbeam, tmp_path):
    run, page = ran(), tmp_path / "blame.html"
    assert hornbeam("blame", run, "--page", page)[0] == 0
    text = page.read_text("utf-8")
    assert "&lt;b&gt;is it&lt;/b&gt; &amp; so" in text and "<b>is it" not in text
    assert "Step 4 (solver) lost it" in text and text.count("<tr class=lost>") == 1
    first = text.encode()
    assert hornbeam("blame", run, "--page", page)[0] == 0 and page.read_bytes() == first


def bare(path, out):
    """The trees of a file as others record them: their texts alone."""
    found = []
    for tree in read_trees(path):
        new, names = Tree(tree.task, seed=tree.seed), {0: 0}
        for i, node in enumerate(tree.nodes[1:], 1):
            kept = {"done": node.done, "answer": node.answer, "finish": node.finish}
            origin = Origin(node.origin.episode, node.origin.step)
            said = Node(names[node.parent], node.agent, text=node.text, origin=origin, **kept)
            names[i] = new.append(said)
            new.column("reward")[names[i]] = tree.columns["reward"][i]
        found.append(new)
    write_trees(found, out)


def test_a_file_of_trees_is_blamed_by_a_recipe(ran, blame, hornbeam, tmp_path):
    run, file = ran(), tmp_path / "trees.jsonl"
    assert hornbeam("export", run, "--out", file)[0] == 0
    words = "--recipe", tmp_path / "walk.toml", "--model", run / "final", "--out", tmp_path / "f"
    one = blame(file, "--tree", 2, *words)["runs"][0]
    of_run = blame(run)["runs"][0]
    assert (one["tree"], one["step"], one["values"]) == ("2", 4, of_run["values"])


def test_runs_that_hold_text_alone_are_said_again(hornbeam, blame, ran, tmp_path):
    """Their steps are those of the record; what was sampled as other ids spells the same."""
    run = ran("agent")
    assert hornbeam("export", run, "--out", tmp_path / "trees.jsonl")[0] == 0
    bare(tmp_path / "trees.jsonl", tmp_path / "bare.jsonl")
    words = "--recipe", tmp_path / "walk.toml", "--model", run / "final"
    one = blame(tmp_path / "bare.jsonl", *words, "--out", tmp_path / "f")["runs"][0]
    assert len(one["values"]) == 5 and one["forks"] > 0 and one["costs"]["sampled_tokens"] > 0
    with Store(tmp_path / "f", read_only=True) as store:
        (tree,) = [store.read(key).tree for key in store.keys(None)]
    path = [n for n in tree.nodes[1:] if n.origin.episode == 0]
    texts = [n.text for n in read_trees_of(tmp_path / "bare.jsonl", one)]
    assert [n.text for n in path] == texts and all(n.origin.version == INJECTED for n in path)


def read_trees_of(file, one):
    """The nodes of the recorded run that was blamed."""
    tree = list(read_trees(file))[int(one["tree"]) - 1]
    return [tree.nodes[i] for i in tree.path(one["leaf"])]


def test_a_run_of_a_server_that_speaks_text_is_blamed(hornbeam, blame, tmp_path):
    recipe = write(tmp_path)
    text = recipe.read_text().replace('{name = "tiny", options = {width = 16, layers = 1}}', "{}")
    recipe.write_text(text)
    code = WALK.replace("bool(reply.tokens) and reply.tokens[0] % 2", "len(reply.text) % 2")
    (tmp_path / "walk.py").write_text(code)
    engine = Scripted(lambda prompt, rng: rng.choice(["even", "odd"]), ByteChat())
    with LittleServer(engine, manners=Manners(chat_only=True, usage=False)) as server:
        engine = "--set", f"engine={{kind='chat',url='{server.url}'}}"
        labels = "label.strategy=rollouts", "label.trunks=2", "label.rollouts=1", "label.tasks=2"
        words = [word for each in labels for word in ("--set", each)]
        out = tmp_path / "run"
        code, err, _ = hornbeam("label", recipe, *words, *engine, "--out", out)
        assert code == 0, err
        found = blame(out, "--forks", 24)["runs"][0]
        assert found["forks"] > 0 and found["likeliest"] in range(1, 7) and found["tokens"] > 0
        again = blame(out, "--forks", 24)["runs"][0]
        assert again == found


def test_a_fitted_guide_is_the_prior(world, blame, tmp_path):
    """The run's own model judged: its values stand with the run, and are paid once."""
    labels = world.folder / "labels"
    words = labels, "--forks", 12
    plain = blame(*words, "--out", tmp_path / "plain")["runs"][0]
    guided = blame(*words, "--guide", world.prm, "--out", tmp_path / "guided")["runs"][0]
    assert "scorer_tokens" not in plain["costs"] and guided["costs"]["scorer_tokens"] > 0
    assert [v["value"] for v in plain["values"]] != [v["value"] for v in guided["values"]]
    again = blame(*words, "--guide", world.prm, "--out", tmp_path / "guided")["runs"][0]
    assert again == guided
    with Store(tmp_path / "guided", read_only=True) as store:
        (tree,) = [store.read(key).tree for key in store.keys(None)]
    path = [i for i, n in enumerate(tree.nodes) if i and n.origin.episode == 0 and n.tokens]
    assert all(0 <= tree.columns[GUIDE][i] <= 1 for i in path)


def test_a_run_that_won(ran, blame):
    run = ran()
    one = blame(run, "--won")["runs"][0]
    assert one["outcome"] == 1 and one["step"] in (4, None) and one["rise"]


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ("--tree train/9/0", "run has no such tree: it has train/0/0 to train/0/1"),
        ("--leaf 3", "--leaf 3: is a step of one tree: name that by --tree"),
        ("--tree train/0/0 --leaf 99", "no run of tree train/0/0 ends there: runs end at 6, 12"),
        ("--forks 0", "--forks 0: buys no fork: give it 1 or more"),
        ("--tokens 0", "--tokens 0: buys no fork: give it 1 or more"),
        ("--seed -1", "--seed -1: a number of 0 or more is expected"),
        ("--success 0", "no run failed: none has an error, or a reward below 0 (--success)"),
        ("--summary", "--summary: is of --all-failed"),
        ("--all-failed --tree train/0/0", "leave --tree and --leaf out"),
        ("--stage evil", "has no trees of it; its stages: train"),
        ("--guide nowhere", "nowhere: no model there"),
        ("--model nowhere", "nowhere"),
        (
            "--set engine={kind='http',url='http://127.0.0.1:9/v1',patience=0.1}",
            "127.0.0.1:9",
        ),
        ("--set run.stesp=1", "did you mean 'steps'?"),
        ("--recipe no.toml", "no.toml: no such file"),
        ("--agent nosuchcommand", "nosuchcommand"),
    ],
)
def test_what_cannot_be_is_one_line(ran, hornbeam, tmp_path, monkeypatch, words, line):
    run = ran()
    monkeypatch.chdir(tmp_path)
    code, err, out = hornbeam("blame", run, *words.split())
    told = err.splitlines()[-1]
    assert (code, out) == (2, "") and line in told and told.startswith("hornbeam: "), err
    assert "Traceback" not in err


def test_other_code_than_the_run_began_with_is_told(ran, hornbeam, tmp_path):
    run = ran()
    file = tmp_path / "walk.py"
    file.write_text(WALK.replace("range(6)", "range(7)"))
    code, err, _ = hornbeam("blame", run)
    assert code == 2 and "other code of program.name than walk.py:walk has now" in err
    # a recipe that is named is held to nothing: the program itself does not repeat the run
    file.write_text(WALK.replace("{task.question} {turn}", "{turn} {task.question}"))
    sets = "--recipe", tmp_path / "walk.toml", "--model", run / "final"
    assert hornbeam("export", run)[0] == 0
    code, err, _ = hornbeam("blame", run / "trees.jsonl", *sets, "--out", tmp_path / "b")
    assert code == 2 and "the program does not repeat the recorded run" in err
    assert len(err.splitlines()[-1]) < 400


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("none.jsonl", "none.jsonl: no such file"),
        ("none", "no run here (run.db is missing)"),
        ("bare.jsonl", "bare.jsonl: no run has a reward: `hornbeam score` gives them one"),
        ("some.jsonl", "trees without a recipe: name it by --recipe"),
    ],
)
def test_a_file_without_what_is_needed(hornbeam, tmp_path, file, line):
    leaf = '{"parent": 0, "text": "no", "done": true}'
    tree = '{"task": {"id": 1, "question": "?"}, "nodes": [{"parent": -1}, LEAF]COLUMNS}\n'
    columns = ', "columns": {"reward": [null, 0.0]}'
    for name, more in (("bare", ""), ("some", columns)):
        path = tmp_path / f"{name}.jsonl"
        path.write_text(tree.replace("LEAF", leaf).replace("COLUMNS", more))
    code, err, _ = hornbeam("blame", tmp_path / file)
    assert code == 2 and line in err and len(err.splitlines()) == 1


def test_groups_by_hand():
    def run(why, kind, agent, tool, drop):
        paid = {"forks": 2, "tokens": 10}
        return {"why": why, "kind": kind, "agent": agent, "tool": tool, "drop": drop, **paid}

    told = summary(
        [
            run("found", "call", "a", "add", 0.5),
            run("found", "call", "b", "add", 0.25),
            run("found", "answer", "b", "", 0.75),
            run("undecided", "call", "c", "sub", 0.9),
            run("never", "message", "c", "", 0.0),
        ]
    )
    assert (told["runs"], told["found"], told["never"], told["undecided"]) == (5, 3, 1, 1)
    assert (told["forks"], told["tokens"]) == (10, 50)
    (call, answer), third = told["by_kind"], pytest.approx(1 / 3)
    assert call == {"name": "call", "count": 2, "share": pytest.approx(2 / 3), "mean_drop": 0.375}
    assert answer == {"name": "answer", "count": 1, "share": third, "mean_drop": 0.75}
    assert [(g["name"], g["count"]) for g in told["by_agent"]] == [("b", 2), ("a", 1)]
    assert [(g["name"], g["count"]) for g in told["by_tool"]] == [("add", 2), ("", 1)]


def test_a_terminal_obeys_nothing_that_was_said(ran, blame):
    one = blame(ran())["runs"][0]
    evil = {**one, "said": "\x1b[2J evil\x07", "task": "\x1b]0;x\x07", "answer": "\x1b[31m"}
    told = "\n".join(lines(evil))
    assert "evil" in told and "\x1b" not in told and "\x07" not in told


# --- labels ---------------------------------------------------------------------------------------


def test_labels_by_blame_end_at_the_step_that_lost_a_run(ran, hornbeam, tmp_path):
    run = ran()
    words = "--method", "blame", "--set", "label.runs=3", "--set", "label.forks=96"
    words += "--model", run / "final", "--out", tmp_path / "labels"
    code, err, out = hornbeam("label", tmp_path / "walk.toml", *words)
    assert code == 0 and "By blame" in out, err
    trees = list(read_trees(tmp_path / "labels" / "trees.jsonl"))
    seen = set()
    for tree in trees:
        ends = [i for i in tree.leaves() if tree.nodes[i].origin.episode < 3]
        for end in ends:
            path = [i for i in tree.path(end) if tree.nodes[i].origin.episode < 3]
            labels = tuple(tree.columns["label"][i] for i in path)
            q = [tree.columns["q"][i] for i in path]
            seen.add(labels)
            if tree.columns["reward"][end] == 1:
                assert labels == (1.0,) * 6 and q == [1.0] * 6
            elif labels != (None,) * 6:
                assert labels == (1.0, 1.0, 1.0, -1.0, None, None)
                assert q[2] > 0.3 > q[3] and all(0 <= v <= 1 for v in q)
    assert len(seen) > 1 and (1.0, 1.0, 1.0, -1.0, None, None) in seen
    rows = tmp_path / "rows.jsonl"
    words = "--to", "trl", "--column", "label", "--out", rows
    code, err, _ = hornbeam("steps", tmp_path / "labels" / "trees.jsonl", *words)
    assert code == 0, err
    labels = [json.loads(line)["labels"] for line in rows.read_text().splitlines()]
    assert [True, True, True, False] in labels


def test_recorded_runs_are_labelled_by_blame(ran, hornbeam, tmp_path):
    run = ran()
    assert hornbeam("export", run, "--out", tmp_path / "trees.jsonl")[0] == 0
    words = "--method", "blame", "--set", "label.runs=4", "--set", "label.chunk_label=abs_q"
    words += "--trees", tmp_path / "trees.jsonl", "--model", run / "final"
    code, err, out = hornbeam("label", tmp_path / "walk.toml", *words, "--out", tmp_path / "l")
    assert code == 0 and "8 runs of 2 tasks are grown on" in out and "By abs_q" in out, err
    trees = list(read_trees(tmp_path / "l" / "trees.jsonl"))
    assert {v for tree in trees for v in tree.columns["label"]} == {1, -1, None}
