"""Text stays text: control tokens are the template's own; blanks; tags in replies."""

import pytest

from hornbeam.chat import Answers, TemplateChat, assistant, system, user
from hornbeam.errors import ModelError
from little_chats import CHATML, GEMMA, HARMONY, LLAMA2, PHI3, THINKING, chat_of, lower, words

TAGS = ("<think>", "</think>", "<tool_call>", "\n\n", "<b>")
PAGE = "turns are written <|im_start|>user ... <|im_end|>, thoughts <think>so</think>"


def control(chat, tokens):
    """The names of the control tokens among ids."""
    return [chat.words.name_of[n] for n in tokens if n in chat.words.name_of]


def plain_ids(chat, messages):
    tokenizer = chat.tokenizer
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


BLANKS = ("", "first", "always", "normal", "byte level")
KINDS = {
    "eos in the vocabulary": {},
    "words of the vocabulary": {"pieces": ("<think>", "<|im_start|>"), "special": ()},
    "added, not special": {"added": (*TAGS, "<|im_start|>"), "special": ()},
    "special": {"special": ("<|im_start|>", *TAGS[:3])},
    "normalised": {"added": TAGS, "normal": lower()},
}


@pytest.mark.parametrize("blank", BLANKS)
@pytest.mark.parametrize("kind", KINDS)
def test_text_from_outside_names_control_tokens_and_makes_none(kind, blank):
    chat = chat_of(THINKING, blank=blank, **KINDS[kind])
    for message in (user(PAGE), system(PAGE), {"role": "tool", "content": PAGE}):
        quiet = {**message, "content": "turns are written so"}
        result, calm = (chat.render([user("a"), m, user("b")]) for m in (message, quiet))
        assert control(chat, result) == control(chat, calm)
        assert PAGE in chat.words.decode(list(result), skip=False).replace("user\n ", "user\n")


@pytest.mark.parametrize("blank", BLANKS)
@pytest.mark.parametrize("template", [CHATML, GEMMA, PHI3, LLAMA2, HARMONY])
def test_ordinary_text_has_the_ids_of_the_library(template, blank):
    names = ("<|im_start|>", "<start_of_turn>", "<end_of_turn>", "<|user|>", "<|end|>", "<|start|>")
    chat = chat_of(template, special=names, added=("\n\n", "<b>", "  "), blank=blank)
    for text in (
        "2 < 3 and [INST] is <b>not</b>\n\n  a token",
        " blanks ",
        "Ünïcode 你好 😀",
        "x" * 99,
    ):
        for talk in ([user(text)], [user("a"), assistant(text), user(f"{text}\n")]):
            assert list(chat.render(talk)) == plain_ids(chat, talk)


@pytest.mark.parametrize("blank", BLANKS)
@pytest.mark.parametrize("end", [True, False])
@pytest.mark.parametrize(
    "behind", ["<|im_end|>\n", "\n<|im_end|>\n", "\n### Question: "], ids=["end", "blank", "text"]
)
def test_no_blank_is_put_in_behind_an_answer(behind, blank, end):
    """What was said in the library's own ids gives the library's own conversation."""
    template = (
        "{% for m in messages %}{{ m['role'] + ':<|im_start|>' + m['content'] + '"
        + behind.replace("\n", "\\n")
        + "' }}{% endfor %}{% if add_generation_prompt %}{{ 'assistant:<|im_start|>' }}{% endif %}"
    )
    chat = chat_of(template, blank=blank)
    talk = [user("2+2?"), assistant("It is four"), user("Sure?")]
    before, whole = plain_ids(chat, talk[:1]), plain_ids(chat, talk)
    said = whole[len(before) :]
    closes = end and behind == "<|im_end|>\n"
    stop = len(chat.words.ids("It is four", "<|im_start|>"))
    said = said[: stop + closes]
    assert list(chat.render(talk, {1: said})) == whole
    if end and "<|im_end|>" in behind and not closes:  # the blank before the end goes with it
        result = chat.words.decode(list(chat.render(talk, {1: [*said, *chat.ends]})), skip=False)
        assert "four<|im_end|>\nuser" in result.replace(" \n", "\n")


def test_text_that_a_normaliser_makes_a_control_token_is_text():
    chat = chat_of(CHATML, special=(), added=("<|im_start|>",), normal=lower())
    result = chat.render([user("＜|IM_START|＞ and <|Im_Start|>")])
    assert control(chat, result) == control(chat, chat.render([user("calm")]))


def test_a_control_token_of_one_character_is_refused_where_it_cannot_be_text():
    chat = chat_of(CHATML, special=("<|im_start|>", "§"), pieces=("§",))
    with pytest.raises(ModelError, match="the tokenizer turns into §"):
        chat.render([user("see § 4")])


def test_text_that_holds_our_own_marks():
    chat = chat_of(CHATML)
    odd = "\ue000:1\ue001 \ue0000:1\ue001 \ue002:0\ue003 <|im_end|>"
    talk = [user(odd), assistant("4"), user(odd)]
    said = {1: [*chat.encode("4"), *chat.ends]}
    assert chat.words.decode(list(chat.render(talk, said)), skip=False).count(odd) == 2


def test_an_assistant_writes_tags_but_no_turns():
    chat = chat_of(CHATML, added=TAGS)
    result = chat.render([user("a"), assistant("<think>b</think><|im_end|>"), user("c")])
    calm = chat.render([user("a"), assistant("b"), user("c")])
    assert [n for n in control(chat, result) if n not in TAGS] == control(chat, calm)
    assert control(chat, result).count("<think>") == 1
    assert control(chat, chat.quote("<think>x<|im_end|>")) == ["<think>"]
    assert control(chat, chat.encode("<think>x<|im_end|>")) == ["<think>", "<|im_end|>"]


def test_a_prompt_that_would_be_read_otherwise_as_text_is_not_spelled():
    chat = chat_of(CHATML)
    text = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert chat.spell(chat.render([user("hi")])) == text
    with pytest.raises(ModelError, match="a server that takes text would read it as one"):
        chat.spell(chat.render([user("<|im_end|>")]))


def test_a_reply_shows_tags_and_not_what_ends_it():
    chat = chat_of(CHATML, special=("<|im_start|>", "[TOOL_CALLS]"), added=("<think>",))
    said = [*chat.encode('<think>[TOOL_CALLS]{"a": 1}'), *chat.ends]
    assert chat.text(said) == '<think>[TOOL_CALLS]{"a": 1}'
    assert chat.decode(said) == '<think>{"a": 1}'


def test_answers_are_found_by_their_place():
    a, b, c = [user("a")], [user("b")], [system("s"), user("a")]
    said: Answers[str] = Answers()
    said.add(a, "4", "first")
    said.add([*a, assistant("4"), user("?")], "4", "second")
    said.add(c, "5", "other")
    talk = [*a, assistant("4"), user("?"), assistant("4"), user("!"), assistant("6")]
    assert said.find(talk) == {1: "first", 3: "second"}
    assert said.find(talk[2:]) == {1: "second"}  # the beginning was let go
    assert said.find([*b, assistant("4")]) == {1: "second"}  # the latest
    assert said.find([*b, assistant("4"), *b, assistant("4")]) == {1: "first", 3: "second"}
    assert said.find([*a, assistant("5"), user("4")]) == {1: "other"}
    again = [*b, assistant("4"), *b, assistant("4"), *b, assistant("4")]
    assert said.find(again) == {3: "first", 5: "second"}  # two were said, not three


def test_a_worked_example_is_no_answer():
    shown = [user("a"), assistant("4"), user("b")]
    said: Answers[str] = Answers()
    said.add(shown, "4", "first")
    talk = [*shown, assistant("4"), user("c")]
    assert said.find(talk) == {3: "first"}
    said.add(talk, "4", "second")
    assert said.find([*talk, assistant("4"), user("d")]) == {3: "first", 5: "second"}
    assert said.find([user("4")]) == {}


def test_thousands_of_names_make_a_pattern():
    names = tuple(f"<unused{n}>" for n in range(3000))
    chat = TemplateChat(words(CHATML, special=("<|im_start|>", *names)), "it")
    assert chat.words.names.findall("<unused2999> <unused12> <unused> <unused3000>") == [
        "<unused2999>",
        "<unused12>",
    ]
