"""Answers with native calls: read, quoted, found again; by hand."""

import json
from typing import get_args

import pytest

from hornbeam.chat import Answers, ByteChat, Spoken, TemplateChat, result_of, user
from hornbeam.chat.call_formats import FORMATS, ToolFormat
from hornbeam.chat.ready_templates import with_format
from hornbeam.errors import ModelError
from little_chats import FIRST_SYSTEM, QWEN, chat_of, saved

ADD = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds.",
        "parameters": {"type": "object", "properties": {"a": {"type": "number"}}},
    },
}
SAID = (
    'Let me.\n<tool_call>\n{"name": "add", "arguments": {"a":2.50, "b": "</tool_call>"}}\n'
    "</tool_call>"
)


def test_an_answer_is_text_reasoning_and_calls():
    chat = ByteChat()
    tokens = chat.encode(f"<think>\nhm\n</think>\n\n{SAID}")
    spoken = chat.read(tokens, [ADD])
    (call,) = spoken.calls
    assert (spoken.text, spoken.reasoning) == ("Let me.", "hm")
    assert (call.name, call.arguments) == ("add", {"a": 2.5, "b": "</tool_call>"})
    assert call.raw == '{"a":2.50, "b": "</tool_call>"}' and not call.problem
    assert chat.read(tokens, [ADD]) == spoken and len(call.id) == 9
    assert chat.read(chat.encode(" 4 "), [ADD]) == Spoken(" 4 ")


BROKEN = {
    '<tool_call>{"name": "add", "arguments": {"a": }}</tool_call>': "no JSON: ",
    '<tool_call>{"name": "add", "arguments": {"a": 2': "cut off",
    '<tool_call>{"arguments": {}}</tool_call>': "no name",
    '<tool_call>{"name": "add", "arguments": [1]}</tool_call>': "no JSON object",
    '<tool_call>{"name": "add", "arguments": {"a": NaN}}</tool_call>': "NaN is no JSON",
    '<tool_call>{"name": "add", "arguments": {"a": 1e999}}</tool_call>': "too large",
    '<tool_call>{"name": "add", "arguments": {"a": "\\ud800"}}</tool_call>': "surrogate",
    "<tool_call>add(2)</tool_call>": "not the form",
}


@pytest.mark.parametrize("text", BROKEN)
def test_a_call_that_cannot_be_read_is_a_call_with_a_problem(text):
    chat = ByteChat()
    (call,) = chat.read(chat.encode(text)).calls
    assert BROKEN[text] in call.problem and "\n" not in call.problem and call.arguments == {}


def test_a_message_finds_the_ids_that_were_sampled_as_it_was_said_or_as_it_reads():
    chat = ByteChat()
    asked, answers = [user("2+2?")], Answers()
    tokens = chat.encode(SAID)
    spoken = chat.read(tokens)
    answers.add(asked, spoken.message(), tokens)
    message = spoken.message()
    assert answers.find([*asked, message]) == {1: tokens}
    parsed = json.loads(json.dumps(message))
    parsed["tool_calls"][0]["function"]["arguments"] = spoken.calls[0].arguments
    assert answers.find([*asked, parsed]) == {1: tokens}
    other = json.loads(json.dumps(parsed))
    other["tool_calls"][0]["function"]["arguments"] = {"a": 3}
    assert answers.find([*asked, other]) == {}
    assert answers.find([*asked, {"role": "assistant", "content": "Let me."}]) == {}


def test_two_spellings_of_one_call_keep_their_own_ids():
    chat, answers, asked = ByteChat(), Answers(), [user("2+2?")]
    said = [chat.encode(f'<tool_call>{{"name": "add", "arguments": {a}}}') for a in ("{}", "{ }")]
    messages = [chat.read(tokens).message() for tokens in said]
    for tokens, message in zip(said, messages):
        answers.add(asked, message, tokens)
    assert [answers.find([*asked, message]) for message in messages] == [{1: t} for t in said]


def test_what_was_sampled_stands_before_the_result():
    for chat in (ByteChat(), chat_of(QWEN, special=("<|im_start|>", "<tool_call>"))):
        asked = [user("2+2?")]
        first = chat.render(asked, {}, [ADD])
        tokens = [*chat.encode(SAID), *chat.ends]
        spoken = chat.read(tokens, [ADD])
        heard = result_of(spoken.calls[0], "4 <|im_end|>")
        messages = [*asked, spoken.message(), heard]
        result = chat.render(messages, {1: tokens}, [ADD])
        assert list(result[: len(first) + len(tokens)]) == [*first, *tokens]
        assert "add" in chat.spell(first[:400]) and chat.rewritten(messages, {1: tokens}) == {}


BAD_TOOLS = {
    "no function": ({"name": 3}, "tool 1: .* is expected"),
    "a set": ({"name": "f", "parameters": {"type": "object", "default": {1}}}, "as JSON"),
    "a type": (
        {"name": "f", "parameters": {"type": "object", "properties": {"a": {"type": "float"}}}},
        r"tool 'f': parameters.a: no JSON schema has the type 'float'",
    ),
    "NaN": ({"name": "f", "parameters": {"type": "object", "default": float("nan")}}, "as JSON"),
    "a list": ({"name": "f", "parameters": []}, "must be a JSON schema of type"),
    "a name": ({"name": "a b"}, "is no name"),
}


@pytest.mark.parametrize("what", BAD_TOOLS)
def test_a_definition_that_no_json_schema_can_hold_is_one_line(what):
    tool, result = BAD_TOOLS[what]
    chat = chat_of(QWEN)
    with pytest.raises(ModelError, match=result) as error:
        chat.render([user("q")], {}, [tool])
    assert "\n" not in str(error.value) and chat.tool_problem([tool]) == str(error.value)


def test_a_template_without_tools_says_what_to_do():
    chat = chat_of(FIRST_SYSTEM)
    assert "leaves out the tools (add)" in chat.tool_problem([ADD])
    with pytest.raises(ModelError, match=r"say in a system message what there is"):
        chat.render([user("q")], {}, [ADD])
    told = [{"role": "system", "content": "There is add(a)."}, user("q")]
    assert chat.render(told, {}, [ADD]) == chat.render(told)
    assert "leaves out" not in chat.tool_problem([ADD], told)
    assert "leaves out" in chat.tool_problem([ADD], [user("an address")])
    assert "tool calls are read as hermes" in chat_of(QWEN).about()
    assert "tool calls" not in chat.about()
    assert chat.tool_problem([]) == "" == chat_of(QWEN).tool_problem([ADD])


def test_a_message_that_was_changed_is_encoded_anew():
    chat, asked, answers = (
        chat_of(QWEN, special=("<|im_start|>", "<tool_call>")),
        [user("?")],
        Answers(),
    )
    tokens = [*chat.encode(SAID), *chat.ends]
    spoken = chat.read(tokens, [ADD])
    answers.add(asked, spoken.message(), tokens)
    changed = json.loads(json.dumps(spoken.message()))
    changed["tool_calls"][0]["function"]["arguments"] = '{"a":3}'
    messages = [*asked, changed, result_of(spoken.calls[0], "4")]
    assert answers.find(messages) == {}
    text = chat.spell(chat.render(messages, answers.find(messages), [ADD]))
    assert '{"name": "add", "arguments": {"a": 3}}' in text  # as the template writes it


def test_a_form_of_calls_can_be_named_and_is_saved_with_the_tokenizer(tmp_path):
    bare = chat_of(FIRST_SYSTEM).tokenizer
    assert TemplateChat(bare, "it").read(bare("x").input_ids).calls == ()
    path = saved(tmp_path, with_format(bare, "phi4"))
    chat = TemplateChat(path, "it")
    said = chat.encode('<|tool_call|>[{"name": "add", "arguments": {"a": 2}}]<|/tool_call|>')
    assert [(c.name, c.arguments) for c in chat.read(said).calls] == [("add", {"a": 2})]
    with pytest.raises(ModelError, match="no tool_format 'phi5'"):
        with_format(bare, "phi5")


def test_a_template_whose_calls_are_in_no_known_form_says_what_to_set():
    odd = QWEN.replace("<tool_call>", "<odd>").replace("</tool_call>", "</odd>")
    line = chat_of(odd).tool_problem([ADD])
    assert "is not known" in line and "model.tool_format = one of hermes, qwen_xml" in line
    assert "\n" not in line


def test_settings_name_the_forms_that_there_are():
    assert [*get_args(ToolFormat)] == ["", *FORMATS]
