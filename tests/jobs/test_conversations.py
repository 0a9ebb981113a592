"""`sft.data` of whole conversations: what is trained, in the ids of the model's own template."""

import json
from collections import Counter

import pytest

from foreign_rows import SYSTEM, TOOLS, answer, asked, call, result, talk
from hornbeam.assembly.examples import examples
from hornbeam.assembly.sft_set import exact_line, read_set
from hornbeam.chat import ByteChat, TemplateChat
from hornbeam.errors import DataError, ModelError
from little_chats import (
    CALLS,
    CHATML,
    EMPTY_THOUGHT,
    FIRST_SYSTEM,
    JOINED_CALLS,
    THINKING,
    chat_of,
    saved,
    words,
)

END = "<|im_end|>"


def rows(tmp_path, *records, odd=None):
    path = tmp_path / "set.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    return read_set(path, odd)


def result_of(example, chat):
    """(text, whether it is trained) of each span of an example."""
    spans = [(example.prompt, False), *example.spans]
    return [(chat.words.decode(list(ids), skip=False), trained) for ids, trained in spans]


def test_what_the_assistant_says_is_trained_and_nothing_else(tmp_path):
    chat = chat_of(CALLS)
    (row,) = rows(tmp_path, {"messages": talk(), "tools": TOOLS})
    (example,) = examples(row, chat)
    arguments = '{"name": "add", "arguments": {"a": 2}}'
    prompt, said, between, last = result_of(example, chat)
    assert prompt[0].endswith("2 + 2?<|im_end|>\n<|im_start|>assistant\n")
    assert "Add two to a." in prompt[0] and not prompt[1] and not between[1]
    assert said == (f"\n<tool_call>{arguments}</tool_call>{END}", True)
    assert "<tool_response>4</tool_response>" in between[0]
    assert last == (f"4{END}", True)
    # all of it is what the tokenizer itself makes of the conversation
    whole = chat.tokenizer.apply_chat_template(
        [SYSTEM, asked(), {**call(2, arguments={"a": 2}), "content": ""}, result("4"), answer("4")],
        tools=TOOLS,
        tokenize=False,
    )
    assert "".join(text for text, _ in result_of(example, chat)) == whole.removesuffix("\n")


def test_it_is_what_a_trainer_masks_that_goes_by_generation_marks(tmp_path):
    """TRL trains what the template marks; transformers gives ids and mask of it."""
    said = "{% generation %}{{ m['content'] + '<|im_end|>' }}{% endgeneration %}{{ '\n' }}"
    template = (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['role'] =="
        " 'assistant' %}" + said + "{% else %}{{ m['content'] + '<|im_end|>\n' }}{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    talked = [SYSTEM, asked(), answer("It is 4."), asked("Sure?"), answer("Yes.")]
    chat = chat_of(template, blank="byte level")  # whose offsets are of each byte
    (row,) = rows(tmp_path, {"messages": talked})
    (example,) = examples(row, chat)
    wanted = chat.tokenizer.apply_chat_template(
        talked, return_dict=True, return_assistant_tokens_mask=True
    )
    found = json.loads(exact_line(example, "x"))
    many = len(found["input_ids"])  # the line feed behind the last turn is left out
    assert found["input_ids"] == wanted["input_ids"][:many]
    assert found["assistant_masks"] == wanted["assistant_masks"][:many]
    assert not any(wanted["assistant_masks"][many:]) and sum(found["assistant_masks"]) > 10


def test_only_the_completion_and_what_has_weight_is_trained(tmp_path):
    chat = chat_of(CHATML)
    shown, row = rows(
        tmp_path,
        {"prompt": [asked("a"), answer("b"), asked("c")], "completion": [answer("d")]},
        {"messages": [asked("a"), {**answer("b"), "weight": 0}, asked("c"), answer("d")]},
    )
    assert examples(shown, chat) == examples(row, chat)
    (example,) = examples(row, chat)
    assert [text for text, trained in result_of(example, chat) if trained] == [f"d{END}"]
    assert "assistant\nb" in result_of(example, chat)[0][0]


def test_answers_in_a_row_and_columns_that_are_not_read(tmp_path):
    odd = Counter()
    several = {"messages": [asked("a"), answer("b"), answer("c")], "source": "x", "id": 3}
    row, _ = rows(tmp_path, several, {"messages": [asked("a")], "text": "b"}, odd=odd)
    chat = chat_of(CHATML)
    (example,) = examples(row, chat)
    assert [text for text, trained in result_of(example, chat) if trained] == [f"b{END}", f"c{END}"]
    assert odd == {"source": 1, "id": 1}


def test_templates_that_join_arguments_or_look_at_ids(tmp_path):
    chat = chat_of(JOINED_CALLS)
    (row,) = rows(tmp_path, {"messages": talk()})
    (example,) = examples(row, chat)
    assert result_of(example, chat)[1] == ('[CALL]add{"a": 2}' + END, True)


def test_a_prompt_that_opens_the_thought_is_not_opened_twice(tmp_path):
    thinking = {**answer("4"), "reasoning_content": "easy"}
    (row,) = rows(tmp_path, {"messages": [asked(), thinking, asked("And?"), answer("5")]})
    chat = chat_of(THINKING)
    (example,) = examples(row, chat)  # earlier thoughts stand as they were said
    prompt, said, between, last = result_of(example, chat)
    assert prompt[0].endswith("assistant\n<think>\n") and between[0].endswith("<think>\n")
    assert said == (f"easy\n</think>\n\n4{END}", True) and last == (f"5{END}", True)


def test_conversations_that_a_template_tells_anew_become_several_examples(tmp_path):
    chat = chat_of(EMPTY_THOUGHT)
    (row,) = rows(tmp_path, {"messages": [asked("a"), answer("b"), asked("c"), answer("d")]})
    found = examples(row, chat)
    trained = [text for each in found for text, trained in result_of(each, chat) if trained]
    assert trained == [f"b{END}", f"d{END}"]


def test_developers_speak_as_the_system_where_a_template_has_none(tmp_path):
    chat = chat_of(FIRST_SYSTEM)
    developer = {"role": "developer", "content": "Be brief."}
    (row,) = rows(tmp_path, {"messages": [developer, asked("a"), answer("b")]})
    (example,) = examples(row, chat)
    assert result_of(example, chat)[0][0].startswith("<|im_start|>system\nBe brief.")


@pytest.mark.parametrize(
    ("template", "record", "why"),
    [
        (CHATML, {"messages": talk(), "tools": TOOLS}, r"leaves out the tools \(add\)"),
        (CHATML, {"messages": talk()}, "leaves out the tool calls of message 3"),
        (FIRST_SYSTEM, {"messages": talk()}, "leaves out"),
        (CALLS, {"messages": talk(), "tools": [{"name": "<|im_end|>"}]}, "names the control token"),
    ],
)
def test_what_a_template_would_lose_is_refused(tmp_path, template, record, why):
    (row,) = rows(tmp_path, record)
    with pytest.raises(ModelError, match=why):
        examples(row, chat_of(template))


def test_turns_that_end_inside_an_answer_are_refused(tmp_path):
    (row,) = rows(tmp_path, {"messages": [asked(), answer(f"4{END}5")]})
    with pytest.raises(DataError, match="writes a control token"):
        examples(row, chat_of(CHATML))
    with pytest.raises(DataError, match="this chat has none"):
        examples(row, ByteChat())


def test_ids_are_written_read_and_held_to_their_vocabulary(tmp_path):
    chat = chat_of(CALLS)
    (row,) = rows(tmp_path, {"messages": talk(), "tools": TOOLS})
    (example,) = examples(row, chat)
    path = tmp_path / "ids.jsonl"
    path.write_text(exact_line(example, chat.fingerprint(), "solver"), "utf-8")
    (exact,) = read_set(path)
    (back,) = examples(exact, chat)
    assert exact.agent == "solver" and list(back.prompt) == list(example.prompt)
    assert [(list(ids), trained) for ids, trained in back.spans] == [
        (list(ids), trained) for ids, trained in example.spans
    ]
    other = TemplateChat(words(CHATML, special=("<|im_start|>",)))
    with pytest.raises(DataError, match="ids of another vocabulary or chat template"):
        examples(exact, other)


GOOD = {"input_ids": [1, 2], "assistant_masks": [0, 1], "vocabulary": "x"}


@pytest.mark.parametrize(
    ("record", "why"),
    [
        ({"messages": [asked(), answer("")]}, "message 2 of the assistant says nothing"),
        ({"messages": [asked()]}, "nothing is said"),
        ({"messages": talk(), "chat_template_kwargs": {"a": 1}}, "'chat_template_kwargs'"),
        ({**GOOD, "labels": []}, "keys 'input_ids'"),
        ({**GOOD, "input_ids": [1, -2]}, "'input_ids' must be a list of integers"),
        ({**GOOD, "assistant_masks": [0]}, "2 ids, 1 of these"),
        ({**GOOD, "assistant_masks": [1, 1]}, "some and not the first"),
        ({**GOOD, "assistant_masks": [0, 0]}, "some and not the first"),
        ({**GOOD, "vocabulary": 3}, "must be texts"),
    ],
)
def test_rows_that_teach_nothing_or_are_wrong_are_named(tmp_path, record, why):
    with pytest.raises(DataError, match=f"set.jsonl, line 2: .*{why}"):
        rows(tmp_path, {"messages": [asked(), answer("4")]}, record)


GOOD_ROW, BAD_ROW = {"messages": [asked(), answer("4")]}, {"messages": talk(), "tools": TOOLS}


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_row_that_cannot_be_taught_is_named_before_anything_is_made(
    tmp_path, hornbeam, world, more
):
    """What the template of the tiny model has no place for: tools."""
    path, run = tmp_path / "set.jsonl", tmp_path / "run"
    lines = [GOOD_ROW, {"messages": talk()}, BAD_ROW]
    path.write_text("\n\n".join(json.dumps(row) for row in lines), "utf-8")
    given = ["--set", f"sft.data={path}", "--out", run, *more]
    code, results, said = hornbeam("train", world.recipe, *given)
    assert (code, results.count("\n")) == (2, 0) and not run.exists()
    assert f"{path}, line 3: " in results and "leaves out the tool calls of message 3" in results
    assert results.count("--tools-as-text") == 1 and "(2 of 3 rows cannot be taught)" in results
    assert "Held-out accuracy" not in said


def test_rows_that_are_not_shown_need_not_fit(tmp_path, hornbeam, world):
    path = tmp_path / "set.jsonl"
    path.write_text(json.dumps(GOOD_ROW) + "\n" + json.dumps(BAD_ROW), "utf-8")
    sets = ["--set", f"sft.data={path}", "--set", "sft.count=1"]
    assert hornbeam("train", world.recipe, *sets, "--dry-run")[:2] == (0, "")


def test_demonstrations_are_held_against_the_template_too(tmp_path, hornbeam, world):
    """A program of one's own that shows what the template has no place for."""
    (tmp_path / "own.py").write_text(
        "import hornbeam as hb\n\n@hb.program\nasync def solver(task, ep):\n"
        "    return (await ep.ask('seeker', [hb.user(task.question)])).text\n\n"
        "def demonstration(task):\n"
        "    return [([hb.user(task.question), {'role': 'critic', 'content': 'No.'}], 'Yes.')]\n"
    )
    changes = [f"program.name={tmp_path / 'own.py'}:solver", "sft.count=3", "tools={}"]
    sets = [word for each in changes for word in ("--set", each)]
    template = tmp_path / "model"
    saved(template, words(FIRST_SYSTEM, special=("<|im_start|>",)))
    (template / "config.json").write_text('{"model_type": "llama"}')
    sets += ["--set", f"model.name={template}"]
    code, results, _ = hornbeam("train", world.recipe, *sets, "--dry-run")
    assert code == 2 and "[sft], demonstration 1: " in results and "leaves out" in results
    assert "tools-as-text" not in results


def test_a_model_that_is_not_here_leaves_rows_unread_and_says_so(tmp_path, hornbeam, world):
    path = tmp_path / "set.jsonl"
    path.write_text(json.dumps(BAD_ROW), "utf-8")
    sets = ["--set", f"sft.data={path}", "--set", "model.name=somebody/nothing"]
    code, results, said = hornbeam("train", world.recipe, *sets, "--dry-run")
    assert (code, results) == (0, "")
    assert "# [sft]: 1 row not held against the chat template of somebody/nothing" in said


def test_rows_that_can_be_taught_are(tmp_path, hornbeam, world):
    path = tmp_path / "set.jsonl"
    path.write_text(json.dumps(GOOD_ROW) + "\n", "utf-8")
    sets = [f"sft.data={path}", "run.steps=0", "run.eval_start=false"]
    more = ["--out", tmp_path / "run", *(word for each in sets for word in ("--set", each))]
    code, _, said = hornbeam("train", world.recipe, *more)
    assert code == 0 and f"Warm start on 1 answers of {path}" in said
