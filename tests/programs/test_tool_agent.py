"""The program "tools": native calls until an answer, what it demonstrates, what it refuses."""

import json

import pytest

from hornbeam.assembly.examples import demonstrations, examples
from hornbeam.assembly.plan import plan
from hornbeam.chat import ByteChat, TemplateChat
from hornbeam.chat.ready_templates import with_template
from hornbeam.errors import ProgramError, RecipeError
from hornbeam.models import tiny_model
from hornbeam.programs import make_program, native_tools
from hornbeam.recipe.recipe import Recipe
from hornbeam.tasks.lookup_world import lookup as look_up
from hornbeam.tasks.lookup_world import lookup_tasks
from hornbeam.tools import calculate
from hornbeam.tree.task import Task

CHAT = ByteChat()
TASK = Task("boxes", "3 boxes of 12?", "36", {"expression": "12 * 3"})


def call(name, **arguments):
    return f'<tool_call>\n{{"name": "{name}", "arguments": {json.dumps(arguments)}}}\n</tool_call>'


CALL = call("calculator", expression="12 * 3")


def ends(tree):
    return [(tree.nodes[i].answer, tree.nodes[i].error) for i in tree.leaves()]


@pytest.mark.parametrize(
    ("settings", "said", "answer", "calls"),
    [
        ({}, [CALL, "36"], "36", ["36"]),
        ({"answer": "number"}, [CALL, "It is 36."], "36", ["36"]),
        ({"answer": "number"}, ["hm", "36"], "36", []),
        ({"max_turns": 2}, [CALL, CALL], None, ["36", "36"]),
        ({}, [CALL + "\n" + call("calculator", expression="1/0"), "36"], "36", None),
    ],
)
def test_it_calls_until_it_answers(grow, settings, said, answer, calls) -> None:
    program, _ = make_program("tools", settings)
    tree = grow(program, TASK, said)
    assert ends(tree) == [(answer, "")]
    found = [c.result for node in tree.nodes for c in node.calls]
    assert calls is None or found == calls
    if calls is None:
        assert found[0] == "36" and found[1].startswith("error:")


def test_a_reply_with_neither_is_told_so(grow) -> None:
    program, _ = make_program("tools", {"answer": "number"})
    tree = grow(program, TASK, ["hm", "36"])
    assert "user: error: call a tool, or answer" in CHAT.decode(tree.context(2))


@pytest.fixture(scope="module")
def chat():
    return TemplateChat(with_template(tiny_model.tokenizer(), "tiny"), "tiny")


def test_a_demonstration_is_one_conversation_in_the_templates_own_form(chat) -> None:
    _, show = make_program("tools", {"system": ""})
    (turns,) = demonstrations([TASK], show, None, {"calculator": calculate})
    assert [turn.message.get("tool_calls") is not None for turn in turns] == [True, False]
    (taught,) = examples(turns, chat)
    said = [chat.decode(ids) for ids, learns in taught.spans if learns]
    assert said == [
        '<tool_call>{"name": "calculator", "arguments": {"expression": "12 * 3"}}</tool_call>',
        "36",
    ]
    prompt = chat.render(turns[0].messages, {}, turns[0].tools)
    assert taught.prompt == list(prompt)


def test_a_demonstration_that_cannot_be_called_so_is_one_line() -> None:
    def find(text: str) -> str:
        return text

    _, show = make_program("tools", {"tools": ["find"]})
    with pytest.raises(RecipeError, match="calls 'find' as it cannot be called: there is no arg"):
        demonstrations([TASK], show, None, {"find": find})
    _, show = make_program("tools", {})
    with pytest.raises(RecipeError, match="calls 'calculator', which it does not offer: known: "):
        demonstrations([TASK], show, None, {"find": find})


def test_plans_and_walks_are_shown_too(grow) -> None:
    step = {"question": "?", "query": "who", "found": "Ann", "answer": "Ann"}
    plan_task = Task("p", "Who?", ["Ann"], {"plan": [[step, {**step, "query": "what"}], [step]]})
    _, show = make_program("tools", {"tools": ["search"]})
    turns = show(plan_task)
    called = [
        [c["function"]["arguments"] for c in turn.message.get("tool_calls", ())] for turn in turns
    ]
    assert called == [['{"query": "who"}', '{"query": "what"}'], ['{"query": "who"}'], []]
    assert [m["role"] for m in turns[1].messages[-3:]] == ["assistant", "tool", "tool"]
    assert turns[-1].text == "Ann"
    (task,) = lookup_tasks("train", 1, depth=2)
    program, show = make_program("tools", {"system": ""})
    said = [turn.message for turn in show(task)]
    script = [
        call(c["function"]["name"], **json.loads(c["function"]["arguments"]))
        for message in said[:-1]
        for c in message["tool_calls"]
    ]
    tree = grow(program, task, [*script, said[-1]["content"]], tools={"lookup": look_up})
    assert ends(tree) == [(said[-1]["content"], "")]
    assert len([c for node in tree.nodes for c in node.calls if not c.error]) == 2


def recipe(**more):
    base = {"model": {"name": "tiny"}, "program": {"name": "tools"}, "tools": {"calculator": {}}}
    tasks = {"train": [{"source": "word_problems", "count": 2}]}
    return Recipe.model_validate({**base, "tasks": tasks, **more})


def test_what_a_recipe_cannot_mean_is_one_line(tmp_path) -> None:
    plan(recipe(), tmp_path)
    with pytest.raises(RecipeError, match=r"calls tool 'calc', and \[tools\] has 'calculator'"):
        plan(recipe(program={"name": "tools", "tools": ["calc"]}), tmp_path)
    with pytest.raises(RecipeError, match=r"calls tool '\*', and \[tools\] has none"):
        plan(recipe(tools={}), tmp_path)
    (tmp_path / "mine.py").write_text("def odd(x=object()):\n    return x\n", "utf-8")
    with pytest.raises(ProgramError, match=r"tool 'odd', parameter 'x': its default an? object is"):
        plan(recipe(tools={"odd": {"use": "mine.py:odd"}}), tmp_path)
    with pytest.raises(RecipeError, match=r"model.chat_template = .*no chat template 'herms'"):
        plan(recipe(model={"name": "tiny", "chat_template": "herms"}), tmp_path)
    (tmp_path / "bad.jinja").write_text("{% for m in %}", "utf-8")
    with pytest.raises(RecipeError, match=r"no template can be read: .*, line 1"):
        made = recipe(model={"name": "tiny", "chat_template": str(tmp_path / "bad.jinja")})
        plan(made, tmp_path)


def test_what_the_program_offers_is_known_before_it_runs() -> None:
    (schemas,) = native_tools("tools", {}, {"calculator": calculate}).values()
    assert [s["function"]["name"] for s in schemas] == ["calculator"]
    assert native_tools("react", {}, {"calculator": calculate}) == {}
    assert native_tools("mine.py:team", {}, {}) == {}
