"""The door from Python: wrong arguments are one line, everything shows itself in one."""

import asyncio
import io
import math
import re
import warnings
from xml.etree import ElementTree

import pytest
import torch

import hornbeam as hb
from hornbeam import notebook
from hornbeam.chat import ByteChat
from hornbeam.engine.local.local_engine import LocalEngine
from hornbeam.engine.remote.completions import HttpEngine
from hornbeam.engine.remote.http_client import HttpSettings
from hornbeam.engine.request import Completion, Request
from hornbeam.episode.program import ProgramError
from hornbeam.errors import (
    ArgumentError,
    DataError,
    RecipeError,
    ScoreError,
    SettingError,
    UnknownSetting,
)
from hornbeam.tree.nodes import Call, ids

TASK = hb.Task("t", "What is 1 + 1?", "2", {"kind": "sum"})


@hb.program
async def solver(task, ep):
    return (await ep.ask("solver", [hb.user(task.question)])).text


async def alone(task):
    return None


def not_async(task, ep):
    return "2"


async def async_score(task, answer):
    return 1.0


def grow(program=solver, tasks=(TASK,), agents=None, strategy=hb.Independent(n=2), **more):
    return hb.grow_trees(program, tasks, agents or {"solver": hb.Scripted("2")}, strategy, **more)


def scored(**more):
    return grow(score=lambda task, answer: float(answer == task.answer), **more)


def lost(program=solver, tree=None, score=lambda task, answer: 0.0, **more):
    run = grow(score=lambda task, answer: 0.0)[0] if tree is None else tree
    return hb.blame(program, run, {"solver": hb.Scripted("2")}, score=score, **more)


def tree():
    return hb.Tree(TASK.to_json())


# Wrong use of every public name: (call, family, what its one line says).
WRONG = {
    "grow_trees": [
        (lambda: grow(not_async), ArgumentError, r"async function .*write async def not_async"),
        (lambda: grow(alone), ArgumentError, r"async function .*the function alone.*too many"),
        (lambda: grow("react"), ArgumentError, r"the text 'react': make_program"),
        (lambda: grow(None), ArgumentError, "not None"),
        (lambda: grow(tasks=TASK), ArgumentError, "list of tasks.*not a Task: put it in a list"),
        (lambda: grow(tasks=[{"id": "t", "question": "?"}]), ArgumentError, "not a dict: it is nu"),
        (lambda: grow(tasks={"id": "t"}), ArgumentError, "list of tasks.*not a dict"),
        (lambda: grow(tasks="What is 1 + 1?"), ArgumentError, "list of tasks.*not the text 'What"),
        (lambda: grow(tasks=[TASK, "x"]), ArgumentError, "not the text 'x': it is number 1 of the"),
        (
            lambda: grow(tasks=[hb.Task("t", None)]),
            ArgumentError,
            "question of task 't' takes a te",
        ),
        (lambda: grow(tasks=[hb.Task("t", {})]), ArgumentError, "question .* not a dict"),
        (lambda: grow(tasks=[hb.Task(["t"], "?")]), ArgumentError, "the id of a task takes a text"),
        (lambda: grow(tasks=None), ArgumentError, "list of tasks"),
        (lambda: grow(agents="gpt-4"), ArgumentError, "agents takes engines by agent's name"),
        (
            lambda: grow(agents={"solver": "gpt-4"}),
            ArgumentError,
            r"agents\['solver'\].*'gpt-4': m",
        ),
        (lambda: grow(agents={"solver": hb.Scripted}), ArgumentError, "not the class Scripted"),
        (lambda: grow(agents=hb.Scripted("2")), ArgumentError, "not a Scripted"),
        (lambda: grow(agents={1: hb.Scripted("2")}), ArgumentError, "its keys are names, not 1"),
        (lambda: grow(strategy="branch"), ArgumentError, r"Branch\(...\) of hornbeam.search"),
        (lambda: grow(strategy="brunch"), ArgumentError, "'brunch': did you mean 'branch'"),
        (lambda: grow(strategy=hb.Branch), ArgumentError, "strategy: Branch.*not the class Branch"),
        (lambda: grow(strategy={"trunks": 2}), ArgumentError, "strategy.*not a dict"),
        (lambda: grow(strategy=8), ArgumentError, "strategy.*not 8"),
        (lambda: grow(score="exact"), ArgumentError, "score takes a function.*'exact'"),
        (lambda: grow(score=1.0), ArgumentError, "score takes a function.*not 1.0"),
        (lambda: grow(score=async_score), ArgumentError, "score.*async: write a plain def"),
        (lambda: grow(score=lambda answer: 1.0), ArgumentError, "score.*when called with 2"),
        (lambda: grow(score=lambda t, a: "good"), ScoreError, "'t', answer '2'.*the text 'good'"),
        (lambda: grow(score=lambda t, a: math.nan), ScoreError, "finite number or None, not nan"),
        (
            lambda: grow(score=lambda t, a: {"x": 1}),
            ScoreError,
            "needs a key .reward., this one has",
        ),
        (
            lambda: grow(tools=[hb.calculate]),
            ArgumentError,
            "tools takes functions by .*not a list",
        ),
        (lambda: grow(tools={"c": "calculate"}), ArgumentError, r"tools\['c'\].*'calculate'"),
        (lambda: grow(budget=100), ArgumentError, "a budget: Budget.*not 100"),
        (lambda: grow(seed="one"), ArgumentError, "seed takes a whole number"),
    ],
    "blame": [
        (lambda: lost(program=not_async), ArgumentError, r"blame.*write async def not_async"),
        (lambda: lost(tree=[tree()]), ArgumentError, "blame: tree takes a tree.*not a list"),
        (lambda: lost(leaf=7), ArgumentError, "node 7 is no leaf of .*see tree.leaves"),
        (lambda: lost(rise=True), ArgumentError, "no run of .* succeeded: name its leaf, as leaf"),
        (lambda: lost(score=None), ArgumentError, "blame: score takes a function.*not None"),
        (lambda: lost(score=1.0), ArgumentError, "blame: score takes a function.*not 1.0"),
        (lambda: lost(fork=3), SettingError, "no setting 'fork': did you mean 'forks'"),
        (lambda: lost(confidence=2), SettingError, "confidence = 2"),
        (lambda: lost(budget=9), ArgumentError, "blame: budget takes a budget"),
    ],
    "credit_trees": [
        (lambda: hb.credit_trees(tree(), "grpo"), ArgumentError, "not a Tree: put it in a list"),
        (lambda: hb.credit_trees(iter([tree()]), "grpo"), ArgumentError, "make a list of it first"),
        (lambda: hb.credit_trees(TASK, "grpo"), ArgumentError, "list of trees, not a Task"),
        (lambda: hb.credit_trees("t.jsonl", "grpo"), ArgumentError, "not the text 't.jsonl'"),
        (lambda: hb.credit_trees([TASK], "grpo"), ArgumentError, "not a Task: it is number 0"),
        (lambda: hb.credit_trees([tree()], "tree-grpo"), RecipeError, "did you mean 'tree_grpo'"),
        (lambda: hb.credit_trees([tree()], None), ArgumentError, "name of a credit method .grpo, "),
        (lambda: hb.credit_trees([tree()], hb.Branch()), ArgumentError, "not a Branch"),
        (lambda: hb.credit_trees([tree()], "grpo", nope=1), UnknownSetting, "no setting 'nope'"),
        (lambda: hb.credit_trees([tree()], "grpo"), DataError, "score the tree before"),
    ],
    "read_trees": [
        (lambda: list(hb.read_trees(None)), ArgumentError, "a path or an open file, not None"),
        (lambda: list(hb.read_trees(["a.jsonl"])), ArgumentError, "not a list"),
        (lambda: list(hb.read_trees("no-such-file")), DataError, "no-such-file: no such file in"),
    ],
    "write_trees": [
        (lambda: hb.write_trees(tree(), "x"), ArgumentError, "a list of trees.*not a Tree"),
        (lambda: hb.write_trees("x.jsonl", [tree()]), ArgumentError, "not the text 'x.jsonl'"),
        (lambda: hb.write_trees([tree()], None), ArgumentError, "a path or an open file to write"),
        (lambda: hb.write_trees([TASK], io.StringIO()), ArgumentError, "number 1 takes trees, not"),
        (
            lambda: hb.write_trees([hb.Tree({"id": "t", "of": object()})], io.StringIO()),
            DataError,
            "task 't' holds what is no JSON",
        ),
    ],
    "tree_svg": [
        (lambda: hb.tree_svg([tree()]), ArgumentError, "one tree, not a list"),
        (lambda: hb.tree_svg(tree(), "wide"), ArgumentError, "width takes a number of pixels"),
        (lambda: hb.tree_svg(tree(), -5), ArgumentError, "at least 320 pixels, not -5"),
    ],
    "tree_text": [
        (lambda: hb.tree_text([tree()]), ArgumentError, "one tree, not a list"),
        (lambda: hb.tree_text(None), ArgumentError, "one tree, not None"),
        (lambda: hb.tree_text(tree(), "wide"), ArgumentError, "a number of characters"),
    ],
    "program": [
        (lambda: hb.program(not_async), ProgramError, "write async def not_async.task, ep."),
        (lambda: hb.program(alone), ProgramError, "write async def alone"),
        (lambda: hb.program("react"), ProgramError, "the text 'react' is no agent program"),
        (lambda: hb.program(None), ProgramError, "None is no agent program"),
    ],
    "pure": [(lambda: hb.pure("price"), ArgumentError, "pure takes a function, the tool, not the")],
    "Scripted": [
        (lambda: hb.Scripted(None), ArgumentError, "Scripted takes .*not None"),
        (lambda: hb.Scripted(5), ArgumentError, "not 5"),
        (lambda: hb.Scripted([1, 2]), ArgumentError, "list of texts, not 1: it is number 0"),
        (lambda: hb.Scripted({"a": 1}), ArgumentError, "list of texts by prompt, not 1"),
        (lambda: hb.Scripted(lambda prompt: "2"), ArgumentError, "when called with 2"),
        (lambda: hb.Scripted(async_score), ArgumentError, "it is async: write a plain def"),
        (lambda: hb.Scripted("2", logprob="no"), ArgumentError, "logprob takes a number"),
        (
            lambda: hb.Scripted("2", object()),
            ArgumentError,
            "chat takes a chat, not an object: Temp",
        ),
        (lambda: hb.Scripted("2", context="8k"), ArgumentError, "context takes a number of tokens"),
    ],
    "Speaker": [
        (lambda: hb.Speaker("gpt-4"), ArgumentError, "an engine, not the text 'gpt-4': make one"),
        (lambda: hb.Speaker(hb.Scripted), ArgumentError, "not the class Scripted"),
        (
            lambda: hb.Speaker(hb.Scripted("2"), {"max_tokens": 5}),
            ArgumentError,
            "Sampling.*a dict",
        ),
        (lambda: hb.Speaker(hb.Scripted("2"), segment="\n"), ArgumentError, "a Segmenter, not the"),
    ],
    "Sampling": [
        (lambda: hb.Sampling(max_tokens="many"), ArgumentError, "max_tokens = 'many' cannot be: a"),
        (lambda: hb.Sampling(max_tokens=-1), ArgumentError, "max_tokens = -1 cannot be"),
        (lambda: hb.Sampling(temperature=-0.5), ArgumentError, "0 is greedy"),
        (lambda: hb.Sampling(temperature=math.nan), ArgumentError, "temperature = nan"),
        (lambda: hb.Sampling(temperature=None), ArgumentError, "temperature = None"),
        (lambda: hb.Sampling(top_p=2), ArgumentError, "a number from 0 to 1"),
        (lambda: hb.Sampling(top_k=1.5), ArgumentError, "top_k = 1.5"),
        (lambda: hb.Sampling(stop=5), ArgumentError, "stop = 5 cannot be: texts"),
        (lambda: hb.Sampling(stop=("",)), ArgumentError, "none of them empty"),
    ],
    "Branch": [
        (lambda: hb.Branch(2), SettingError, r"by name, as in Branch\(trunks=...\)"),
        (lambda: hb.Branch(trunks=0), SettingError, "Branch: trunks = 0: .* greater than or equal"),
        (lambda: hb.Branch(trunk=2), SettingError, "no setting 'trunk': did you mean 'trunks'"),
    ],
    "Independent": [
        (lambda: hb.Independent(5), SettingError, r"Independent\(n=...\)"),
        (lambda: hb.Independent(n="many"), SettingError, "n = 'many'"),
    ],
    "Budget": [
        (lambda: hb.Budget(1000), SettingError, r"Budget\(tokens=...\)"),
        (lambda: hb.Budget(tokens=-1), SettingError, "tokens = -1"),
        (lambda: hb.Budget(token=1), SettingError, "did you mean 'tokens'"),
    ],
    "mcp": [
        (lambda: hb.mcp(None), SettingError, "mcp = None: expected"),
        (lambda: hb.mcp("server", prefx="a"), SettingError, "did you mean 'prefix'"),
        (lambda: hb.mcp("no-such-server"), RecipeError, "there is no command 'no-such-server'"),
    ],
    "Tree": [
        (lambda: hb.Tree(TASK), ArgumentError, "a task as JSON data.*not a Task"),
        (lambda: hb.Tree("t"), ArgumentError, "not the text 't'"),
        (lambda: tree().append({"parent": 0}), ArgumentError, "takes nodes, not a dict"),
        (lambda: tree().append(hb.Node(3)), DataError, "parents come first"),
    ],
    "user": [
        (lambda: hb.user(None), ArgumentError, "a message takes a text, not None"),
        (lambda: hb.user([{"type": "text", "text": "?"}]), ArgumentError, "not a list"),
    ],
    "system": [(lambda: hb.system(b"bytes"), ArgumentError, "a text, not a bytes")],
    "assistant": [(lambda: hb.assistant(None), ArgumentError, "a text, not None")],
}
# What is no door for arguments: made by growth, or told of in another way.
ELSEWHERE = {
    "Episode": "its asks: below",
    "HornbeamError": "the family",
    "Node": "what it refers to is checked by its tree",
    "Reply": "made by growth",
    "Result": "tests/grow/test_step_rewards.py",
    "Task": "any JSON may stand in a file; growth checks it",
    "ToolError": "what programs catch",
    "calculate": "tells the agent, by a text",
    "solve": "tests/jobs/test_solve.py",
    **dict.fromkeys(("recipe_of", "train", "sft", "search", "evaluate", "label", "fit"), "a job"),
    **dict.fromkeys(("Local", "OpenAI", "VLLM"), "tests/engine/test_ready_engines.py"),
    "openai_client": "takes an episode, and options of a client that is not always here",
}


ENGINES = [
    (lambda: LocalEngine("smollm2-135m", ByteChat()), "a causal LM of tran.*'smollm2-135m'"),
    (lambda: LocalEngine(torch.nn.Linear(2, 2), object()), "LocalEngine takes a chat, not an obj"),
    (lambda: LocalEngine(torch.nn.Linear(2, 2), ByteChat), "a chat, not the class ByteChat"),
    (lambda: HttpEngine("http://localhost:1/v1", ByteChat()), "takes HttpSettings.url.*the text"),
    (lambda: HttpEngine(HttpSettings(url="http://localhost:1/v1"), None), "a chat, not None"),
]


@pytest.mark.parametrize("number", range(len(ENGINES)))
def test_engines_refuse_in_one_line_too(number):
    make, says = ENGINES[number]
    with pytest.raises(ArgumentError, match=says) as caught:
        make()
    assert "\n" not in str(caught.value)


def test_every_public_name_has_its_wrong_use():
    assert set(WRONG) | set(ELSEWHERE) == set(hb.__all__) and not set(WRONG) & set(ELSEWHERE)


@pytest.mark.parametrize(
    ("name", "number"), [(name, n) for name, uses in WRONG.items() for n in range(len(uses))]
)
def test_wrong_arguments_get_one_line(name, number):
    use, family, says = WRONG[name][number]
    with pytest.raises(hb.HornbeamError, match=says) as caught:
        use()
    assert type(caught.value) is family
    text = str(caught.value)
    assert "\n" not in text and len(text) < 300


def test_nothing_is_written_where_a_tree_is_not_one(tmp_path):
    path = tmp_path / "trees.jsonl"
    with pytest.raises(ArgumentError):
        hb.write_trees([tree(), TASK], path)
    assert not [*tmp_path.iterdir()]


async def answer(task, ep):
    return "2"


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda ep: ep.ask("solver", "What?"), r"a list of messages, .*, not the text 'What"),
        (lambda ep: ep.ask("solver", hb.user("What?")), "list of messages, .* not a dict"),
        (lambda ep: ep.ask("solver", ["What?"]), "needs a role and a content, not 'What"),
        (lambda ep: ep.ask(hb.Scripted("2"), []), "ep.ask takes an agent's name, not a Scripted"),
        (
            lambda ep: ep.ask("slover", [hb.user("?")]),
            "no agent 'slover' in agents: did you mean 'solver'",
        ),
        (lambda ep: ep.call(hb.calculate), "ep.call takes a tool's name, not the function calc"),
        (
            lambda ep: ep.call("calculator"),
            "there is no tool 'calculator': did you mean 'calculate",
        ),
        (
            lambda ep: ep.delegate("solver", answer, "What?"),
            "ep.delegate takes a task: .* the text",
        ),
        (lambda ep: ep.delegate(answer, answer, TASK), "an agent's name, not the function answer"),
    ],
)
def test_a_program_that_asks_for_something_else_is_told_so(act, says):
    """At its leaves, and by one warning where no episode came through."""

    async def wrong(task, ep):
        return await act(ep)

    with pytest.warns(UserWarning, match="all 2 episodes failed; the first: ") as result:
        (grown,) = grow(wrong, tools={"calculate": hb.calculate})
    assert len(result) == 1 and re.search(says, str(result[0].message))
    assert all(re.search(says, grown.nodes[leaf].error) for leaf in grown.leaves())


def test_the_temperature_of_an_agent_that_is_trained_is_its_speakers():
    async def warmer(task, ep):
        return await ep.ask("solver", [hb.user("?")], temperature=0.5)

    agents = {"solver": hb.Speaker(hb.Scripted("2"), trained=True)}
    with pytest.warns(UserWarning, match="the agent's 1.0: set it there, in the recipe or its Sp"):
        hb.grow_trees(warmer, [TASK], agents)


def test_programs_that_are_async_in_another_way_are_taken():
    class Agent:
        async def __call__(self, task, ep):
            return await solver(task, ep)

    for program in (solver, lambda task, ep: solver(task, ep), Agent()):
        (grown,) = grow(program)
        assert [grown.nodes[leaf].answer for leaf in grown.leaves()] == ["2", "2"]


def test_a_stop_text_is_one_stop():
    assert hb.Sampling(stop="END").stop == ("END",) == hb.Sampling(stop=["END"]).stop


def test_a_score_of_any_kind_of_number_is_a_float(tmp_path):
    np = pytest.importorskip("numpy")
    for value in (True, 1, np.float32(1), np.bool_(True)):
        trees = grow(score=lambda task, answer, value=value: value)
        assert trees[0].columns["reward"][1:] == [1.0, 1.0]
        assert all(type(v) is float for v in trees[0].columns["reward"][1:])
        hb.write_trees(trees, tmp_path / "t.jsonl")
        assert next(hb.read_trees(tmp_path / "t.jsonl")).columns == trees[0].columns


def test_none_as_every_reward_is_told():
    """A score that forgets its return."""
    with pytest.warns(UserWarning, match="grow_trees: none of 2 answers has a reward"):
        trees = grow(score=lambda task, answer: None)
    with pytest.warns(UserWarning, match="credit_trees: none of 2 answers .* nothing is credited"):
        hb.credit_trees(trees, "grpo")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        hb.credit_trees([*trees, *scored()], "grpo")  # some of them have


# --- how things show themselves ------------------------------------------------------------------

LONG = "word " * 5000
HOSTILE = "<script>alert(1)</script> & \"']]> \x00\x08\x1b[31m\ud800\ufffe\nline two"


def large():
    out = hb.Tree({"id": LONG, "question": LONG})
    for _ in range(50):
        node = hb.Node(
            0, "solver", tokens=ids(range(5000)), text=LONG, done=True, answer=[LONG] * 9
        )
        out.append(node)
    out.columns["reward"] = [1.0] * len(out)
    return out


def shown():
    engine, episode = hb.Scripted(LONG), hb.Episode(None, "helper.1")
    return {
        "Tree": large(),
        "Node": large().nodes[3],
        "Node that failed": hb.Node(0, "a", error=LONG, calls=(Call("c", {"x": LONG}, LONG),)),
        "Task": hb.Task(LONG, LONG, [LONG] * 20, {"k": LONG}),
        "Reply": hb.Reply(LONG, ids(range(5000)), "stop", "solver"),
        "Episode": episode,
        "Scripted": engine,
        "Speaker": hb.Speaker(engine),
        "Sampling": hb.Sampling(),
        "Budget": hb.Budget(tokens=5),
        "Branch": hb.Branch(),
        "Independent": hb.Independent(),
        "Call": Call("calculate", {"expression": LONG}, LONG),
        "Completion": Completion(ids(range(5000)), text=LONG),
        "Request": Request(ids(range(5000))),
    }


@pytest.mark.parametrize("name", shown())
def test_everything_shows_itself_in_a_line(name):
    result = repr(shown()[name])
    assert "\n" not in result and len(result) <= 270 and name.partition(" ")[0] in result


def test_what_a_repr_tells():
    (grown,) = scored()
    assert len(repr(grown.nodes)) < 60 * len(grown)
    assert repr(grown) == "<Tree 't': 2 steps, 2 leaves, columns reward>"
    assert repr(grown.nodes[1]) == "<Node solver of 0, '2', 2 tokens, answer '2'>"
    assert repr(TASK) == "Task('t', 'What is 1 + 1?', answer='2', data={'kind': 'sum'})"
    assert repr(Call("look", {"key": 1}, "found")) == "<Call look({'key': 1}): 'found'>"


def hostile():
    out = hb.Tree({"id": HOSTILE, "question": HOSTILE})
    out.append(hb.Node(0, HOSTILE, text=HOSTILE))
    out.append(hb.Node(1, "<b>", text=HOSTILE, done=True, answer=HOSTILE))
    out.append(hb.Node(1, "x", text="", done=True, answer={HOSTILE: [HOSTILE]}))
    out.append(hb.Node(0, "y", done=True, error=HOSTILE))
    return out


@pytest.mark.parametrize("credited", [False, True])
def test_a_notebook_shows_a_tree_as_well_formed_xml_that_stands_alone(credited):
    out = hostile()
    if credited:
        out.columns["reward"] = [None, None, 1.0, 0.0, None]
        hb.credit_trees([out], "grpo")
    picture = out._repr_svg_()
    assert out._repr_html_() == f'<div style="overflow:auto">{picture}</div>'
    root = ElementTree.fromstring(picture.encode())
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    kinds = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert kinds <= {"svg", "title", "style", "rect", "circle", "path", "text", "tspan"}
    assert not {"href", "src", "onload"} & {k for e in root.iter() for k in e.attrib}
    assert "url(" not in picture and "@import" not in picture
    assert "alert(1)" in "".join(root.itertext())


def test_a_tree_as_text_holds_nothing_that_a_terminal_obeys():
    """Nor what print cannot encode."""
    text = hb.tree_text(hostile())
    assert all(line.isprintable() for line in text.split("\n")) and text.encode()
    assert "<script>alert(1)</script>" in text


def test_the_rules_of_a_picture_touch_no_other():
    """In a notebook a style holds for the whole page."""
    style = next(
        e.text
        for e in ElementTree.fromstring(tree()._repr_svg_()).iter()
        if e.text and "{" in e.text
    )
    flat = style.replace("@media(prefers-color-scheme:dark){", "").replace("}}", "}")
    selectors = [part for rule in flat.split("}") if rule for part in rule.split("{")[0].split(",")]
    assert len(selectors) > 20
    assert all(part.startswith(".hornbeam-tree ") for part in selectors)


def test_a_large_tree_is_shown_as_its_line():
    out = tree()
    for _ in range(notebook.LARGE):
        out.append(hb.Node(0))
    assert out._repr_svg_() is None is out._repr_html_() and "steps" in repr(out)


def test_growth_inside_a_running_loop_refuses_in_the_same_line():
    async def cell():
        return grow("react")

    with pytest.raises(ArgumentError, match="the text 'react'"):
        asyncio.run(cell())
