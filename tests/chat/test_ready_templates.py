"""Chat templates that ship, and a recipe's own: tools through models whose template has none."""

import json

import pytest

from hornbeam.chat import Spoken, TemplateChat, ToolCall, assistant, result_of, system, user
from hornbeam.chat.ready_templates import READY, template_text, with_template
from hornbeam.errors import ModelError
from hornbeam.models import tiny_model
from hornbeam.tools import calculate
from hornbeam.tools.schema import schema_of

TOOLS = [schema_of("calculator", calculate)]


def call(expression):
    raw = json.dumps({"expression": expression})
    return ToolCall("call00000", "calculator", {"expression": expression}, raw)


@pytest.fixture(scope="module")
def tiny():
    return TemplateChat(with_template(tiny_model.tokenizer(), "tiny"), "tiny")


@pytest.fixture(scope="module")
def chatml():
    """The tiny tokenizer with ChatML's control tokens."""
    tokenizer = tiny_model.tokenizer()
    marks = ["<|im_start|>", "<|im_end|>"]
    tokenizer.add_special_tokens({"additional_special_tokens": marks})
    tokenizer.eos_token = "<|im_end|>"
    return TemplateChat(with_template(tokenizer, "hermes"), "chatml")


def test_hermes_writes_tools_calls_and_results(chatml) -> None:
    said = Spoken("Well.", "Hm.", (call("1 + 2"), call('"x"'))).message()
    messages = [system("Be brief."), user("How many?"), said]
    messages += [result_of(c, text) for c, text in zip([call("1 + 2"), call("x")], ["3", "error"])]
    text = chatml.with_tools(TOOLS).shown(messages, True)
    schema = json.dumps(TOOLS[0]["function"], ensure_ascii=False)
    assert text == (
        "<|im_start|>system\nBe brief.\n\nYou may call these tools:\n<tools>\n"
        f"{schema}\n</tools>\nWrite a call as JSON between tags:\n<tool_call>\n"
        '{"name": "...", "arguments": {...}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\nHow many?<|im_end|>\n"
        "<|im_start|>assistant\n<think>\nHm.\n</think>\n\nWell.\n<tool_call>\n"
        '{"name": "calculator", "arguments": {"expression": "1 + 2"}}\n</tool_call>\n<tool_call>\n'
        '{"name": "calculator", "arguments": {"expression": "\\"x\\""}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\n3\n</tool_response>\n<tool_response>\nerror\n"
        "</tool_response><|im_end|>\n<|im_start|>assistant\n"
    )
    plain = chatml.shown([user("Hi"), assistant("Hello"), user("?")], True)
    assert plain == (
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\nHello<|im_end|>\n"
        "<|im_start|>user\n?<|im_end|>\n<|im_start|>assistant\n"
    )


@pytest.mark.parametrize("name", ["tiny", "chatml"])
def test_what_is_demonstrated_is_read_again_and_stands_in_the_next_prompt(name, request) -> None:
    chat = request.getfixturevalue(name)
    told = chat.with_tools(TOOLS)
    before = [user("How many?")]
    said = Spoken("", calls=(call("(1 + 2) * 3"),)).message()
    spoken = told.spoken(before, said)
    history = [*before, said, result_of(call(""), "9")]
    assert told.shown(history, True).startswith(told.shown(before, True) + spoken)
    answer, prompt = chat.encode(spoken), chat.render(before, {}, TOOLS)
    read = chat.read(answer, TOOLS)
    assert [(c.name, c.arguments, c.raw, c.problem) for c in read.calls] == [
        ("calculator", {"expression": "(1 + 2) * 3"}, '{"expression": "(1 + 2) * 3"}', "")
    ]
    odd = chat.encode(spoken.replace(": {", ":  {"))  # sampled with two blanks
    quoted = chat.read(odd, TOOLS).message()
    later = chat.render([*before, quoted, result_of(call(""), "9")], {1: odd}, TOOLS)
    assert later[: len(prompt) + len(odd)] == prompt + odd


@pytest.mark.parametrize("name", READY)
def test_a_ready_template_wants_its_control_tokens(name) -> None:
    tokenizer = tiny_model.tokenizer()
    if name == "tiny":
        assert with_template(tokenizer, name).chat_template == template_text("tiny")
        return
    with pytest.raises(ModelError, match=r"writes <\|im_start\|> and <\|im_end\|>, no control"):
        with_template(tokenizer, name)


def test_a_template_is_a_file_or_a_known_name(tmp_path) -> None:
    (tmp_path / "own.jinja").write_text("{{ messages }}", "utf-8")
    assert template_text("own.jinja", tmp_path) == "{{ messages }}"
    with pytest.raises(ModelError, match="no chat template 'herms': did you mean 'hermes'"):
        template_text("herms", tmp_path)
    with pytest.raises(ModelError, match="no such file in"):
        template_text("other.jinja", tmp_path)


def test_the_tiny_models_own_template_has_no_place_for_tools() -> None:
    chat = TemplateChat(tiny_model.tokenizer(), "tiny")
    assert "leaves out the tools (calculator)" in chat.tool_problem(TOOLS)
