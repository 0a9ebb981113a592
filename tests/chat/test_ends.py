"""Where a turn ends: generation_config, the template, the tokenizer; one end token an answer."""

import pytest

from hornbeam.assembly.examples import examples
from hornbeam.chat import TemplateChat, assistant, end_of_answer, user
from hornbeam.errors import DataError, ModelError
from hornbeam.programs.talk import Turn
from little_chats import (
    CHATML,
    FIRST_SYSTEM,
    GEMMA,
    GLM,
    HARMONY,
    LLAMA2,
    LLAMA3,
    PHI3,
    THINKING,
    chat_of,
    saved,
    words,
)

HEADS = ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>")
ROLES = ("<|user|>", "<|assistant|>", "<|observation|>", "[gMASK]", "<sop>")
TURNS = ("<start_of_turn>", "<end_of_turn>")
MARKS = ("<|im_start|>", "<|im_end|>")
PIPES = ("<|start|>", "<|message|>", "<|channel|>", "<|end|>", "<|call|>")
FAMILIES = {  # template, eos, special tokens, what generation_config lists: ends, the taught one
    "gemma": (GEMMA, "<eos>", TURNS, ["<eos>", "<end_of_turn>"], set(), "<end_of_turn>"),
    "gemma without": (GEMMA, "<eos>", TURNS, None, {"<eos>", "<end_of_turn>"}, "<end_of_turn>"),
    "phi": (PHI3, "<eos>", (*ROLES, "<|end|>"), ["<eos>", "<|end|>"], set(), "<|end|>"),
    "phi without": (PHI3, "<eos>", (*ROLES, "<|end|>"), None, {"<eos>", "<|end|>"}, "<|end|>"),
    "llama 2": (LLAMA2, "</s>", (), "</s>", {"</s>"}, "</s>"),
    "llama 3": (LLAMA3, "<eos>", HEADS, ["<eos>", "<|eom_id|>", "<|eot_id|>"], set(), "<|eot_id|>"),
    "glm": (GLM, "<eos>", ROLES, ["<eos>", "<|user|>", "<|observation|>"], set(), "<eos>"),
    "harmony": (HARMONY, "<|return|>", PIPES, ["<|return|>", "<|call|>"], set(), "<|return|>"),
    "harmony without": (HARMONY, "<|return|>", PIPES, None, {"<|return|>"}, "<|return|>"),
    "another": (CHATML, "<eos>", MARKS, "<eos>", {"<eos>", "<|im_end|>"}, "<|im_end|>"),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_ends_of_a_turn(tmp_path, family):
    template, eos, special, listed, ends, taught = FAMILIES[family]
    tokenizer = saved(tmp_path, words(template, eos, special), listed)
    chat = TemplateChat(tokenizer)
    assert set(tokenizer.convert_ids_to_tokens(list(chat.ends))) == (ends or set(listed))
    assert tokenizer.convert_ids_to_tokens(end_of_answer(chat)) == taught
    assert f"a turn ends with {taught}" in chat.about()


def test_config_speaks_where_there_is_no_generation_config(tmp_path):
    chat = TemplateChat(saved(tmp_path, words(CHATML, "<eos>", ("<x>",)), None, ["<eos>", "<x>"]))
    assert chat.ends == set(chat.tokenizer.convert_tokens_to_ids(["<eos>", "<x>"]))


@pytest.mark.parametrize("how", ["added", "pieces"])
def test_an_end_that_is_no_special_token(how):
    chat = chat_of(GEMMA, "<eos>", ("<start_of_turn>",), **{how: ("<end_of_turn>",)})
    end = chat.tokenizer.convert_tokens_to_ids("<end_of_turn>")
    assert end in chat.ends and end_of_answer(chat) == end
    assert chat.text([*chat.encode("7"), end]) == "7"


def test_nothing_that_ends_an_answer_is_one_line():
    tokenizer = words("{% for m in messages %}{{ m['content'] }}\n{% endfor %}")
    tokenizer.eos_token = None
    with pytest.raises(ModelError, match=r"it: nothing ends an answer.*set one"):
        TemplateChat(tokenizer, "it")


TALK = [user("2+2?"), assistant("4"), user("Sure?")]
SAID = {  # family: what the answer ended with, what stands behind its text in the next prompt
    ("llama 2", "</s>"): "4</s><bos>[INST] Sure?",
    ("llama 2", ""): "4 </s><bos>[INST] Sure?",
    ("gemma", "<end_of_turn>"): "4<end_of_turn>\n<start_of_turn>user",
    ("gemma", "<eos>"): "4<eos>\n<start_of_turn>user",
    ("gemma", ""): "4<end_of_turn>\n<start_of_turn>user",
    ("phi", "<eos>"): "4<eos>\n<|user|>\nSure?",
    ("llama 3", "<|eom_id|>"): "4<|eom_id|><|start_header_id|>user",
    ("harmony", "<|return|>"): "4<|return|><|start|>user",
    ("harmony", ""): "4<|end|><|start|>user",
    ("glm", "<|user|>"): "4<|user|>\nSure?",
    ("glm", "<eos>"): "4<eos><|user|>\nSure?",
}


@pytest.mark.parametrize("family, end", SAID)
def test_one_end_token_an_answer(tmp_path, family, end):
    template, eos, special, listed, *_ = FAMILIES[family]
    chat = TemplateChat(saved(tmp_path, words(template, eos, special), listed))
    before = chat.render(TALK[:1])
    said = [*chat.encode("4"), *([chat.tokenizer.convert_tokens_to_ids(end)] if end else [])]
    prompt = chat.render(TALK, {1: said})
    assert prompt[: len(before)] == before and list(prompt[len(before) :][: len(said)]) == said
    assert chat.spell(prompt[len(before) :]).startswith(SAID[family, end])


def test_a_warm_start_teaches_one_end_token():
    chat = chat_of(GEMMA, "<eos>", TURNS)
    end = chat.tokenizer.convert_tokens_to_ids("<end_of_turn>")
    for text in ("7", "7<end_of_turn>", "7<end_of_turn>\n"):
        (example,) = examples([Turn([user("3+4?")], text)], chat)
        assert list(example.spans[0][0]) == [*chat.encode("7"), end]
    for text in ("7<end_of_turn>and more", "<start_of_turn>user\n7"):
        with pytest.raises(DataError, match="with which turns end or begin"):
            examples([Turn([user("3+4?")], text)], chat)


def test_two_demonstrated_turns_are_one_row_where_the_prompt_opens_a_thought():
    chat = chat_of(THINKING)
    first = [user("2+2?")]
    turns = [
        Turn(first, "Two.\n</think>\n\n4"),
        Turn([*first, assistant("Two.\n</think>\n\n4"), user("Sure?")], "Yes.\n</think>\n\n4"),
    ]
    assert len(examples(turns, chat)) == 1
    assert len(examples(turns, chat_of(FIRST_SYSTEM))) == 1
