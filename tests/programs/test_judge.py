"""The judge as a program: what it is asked, how its verdict is read, what a demonstration says."""

import pytest

from hornbeam.chat import ByteChat, TemplateChat
from hornbeam.errors import DataError, RecipeError
from hornbeam.models import tiny_model
from hornbeam.programs import make_program
from hornbeam.programs.judge_program import Judge, JudgeTexts, judge_messages, verdict
from hornbeam.tree.task import Task

CHAT = ByteChat()
DATA = {"history": "2 + 2 = 4", "chunk": "So 4 * 3 = 11."}
TASK = Task("t/2", "What is (2 + 2) * 3?", "Negative", DATA)


def ends(tree) -> list[tuple]:
    return [(tree.nodes[i].answer, tree.nodes[i].error) for i in tree.leaves()]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (r"It holds. \boxed{Positive}", True),
        (r"It fails. \boxed{Negative}", False),
        (r"Not \boxed{Positive}. The sum is wrong: \boxed{Negative}.", False),
        (r"\boxed{Positive} as it is \boxed{12}", True),  # the last verdict, not the last box
        (r"\boxed{ positive }", True),
        (r"\boxed{\text{Negative}}", False),
        (r"\boxed{Positively}", None),
        (r"\boxed{Posi", None),
        ("Positive", None),
        ("", None),
    ],
)
def test_the_last_boxed_verdict_counts(text, said) -> None:
    assert verdict(text) is said


def test_other_words_and_marks() -> None:
    words = JudgeTexts(positive="valid", negative="invalid", mark="{}")
    assert verdict("it is valid", words) is True
    assert verdict("it is invalid", words) is False
    assert verdict("invalidated", words) is None
    signs = JudgeTexts(preset="tiny")
    assert [verdict(s, signs) for s in ("oak left +", "oak left -", "-", "+ -", "oak")] == [
        True, False, False, False, None,
    ]  # fmt: skip
    tags = JudgeTexts(positive="yes", negative="no", mark="<verdict>{}</verdict>")
    assert verdict("<verdict> No </verdict>", tags) is False


def test_what_a_judge_is_told() -> None:
    texts = JudgeTexts(prompt="{problem}|{history}|{chunk}|{ask}", reason="{positive} or not?")
    (result,) = judge_messages(texts, " P ", "", "<chunk>a {problem}\n</chunk>")
    assert result == {
        "role": "user",
        "content": "P|(nothing yet)|a {problem}|\\boxed{Positive} or not?",
    }
    short = texts.model_copy(update={"cot": False, "at_once": "{negative}!", "system": "Judge."})
    system, result = judge_messages(short, "P", "h\n", "c")
    assert (system["content"], result["content"]) == ("Judge.", "P|h|c|\\boxed{Negative}!")
    for cot in (True, False):
        (result,) = judge_messages(JudgeTexts(cot=cot), "P", "h", "c")
        assert "\\boxed{Positive}" in result["content"] and "{" not in result["content"].replace(
            "\\boxed{", ""
        )


def test_the_verdict_is_the_answer(grow) -> None:
    program, _ = make_program("judge")
    names = ("judge",)
    tree = grow(program, TASK, r"4 * 3 is 12. \boxed{Negative}", names)
    assert ends(tree) == [("Negative", "")]
    wanted = CHAT.render(judge_messages(Judge(), TASK.question, *DATA.values()))
    assert tree.context(1) == wanted
    assert ends(grow(program, TASK, r"\boxed{Positive}", names)) == [("Positive", "")]
    assert ends(grow(program, TASK, "I cannot tell.", names)) == [(None, "")]
    ((answer, error),) = ends(grow(program, Task("u", "?"), "", names))
    assert answer is None and "task u has no data.chunk" in error


def test_what_is_shown() -> None:
    _, show = make_program("judge", {"cot": False})
    ((messages, said, _),) = show(TASK)
    assert said == r"\boxed{Negative}"
    assert messages == judge_messages(Judge(cot=False), TASK.question, *DATA.values())
    _, show = make_program("judge", {"analysis": "I check {chunk}"})
    assert show(TASK)[0][1] == "I check So 4 * 3 = 11.\n\\boxed{Negative}"
    given = Task("t", "?", "Positive", {**DATA, "analysis": "4 * 3 is 12."})
    assert show(given)[0][1] == "4 * 3 is 12.\n\\boxed{Positive}"
    _, show = make_program("judge")
    with pytest.raises(DataError, match=r"task t/2 has no data.analysis .* program.cot = false"):
        show(TASK)
    with pytest.raises(DataError, match="neither 'Positive' nor"):
        show(Task("t", "?", "11", DATA))


def test_the_tiny_model_can_spell_it_all() -> None:
    """Every word of the prompt, the analysis and the verdict is one id, the signs two."""
    words = tiny_model.tokenizer()
    chat = TemplateChat(words)
    note = "left k05 middle k11 right k40 oak"
    task = Task("w", "start : left k01 middle k02 right k05 ash", "Positive",
                {"history": f"right\n{note}", "chunk": "middle"})  # fmt: skip
    _, show = make_program("judge", {"preset": "tiny"})
    ((messages, said, _),) = show(task)
    assert said == "oak middle +"
    assert words.convert_ids_to_tokens(list(chat.encode(said))) == [
        "▁oak",
        "▁middle",
        "▁",
        "<0x2B>",
    ]
    prompt = words.convert_ids_to_tokens(list(chat.render(messages)))
    assert not [piece for piece in prompt if piece.startswith("<0x")]
    assert messages[0]["content"].endswith(f"ash right {note} : middle")
    assert chat.decode(chat.encode(said)) == said
    first = Task("w", task.question, "Negative", {"history": "", "chunk": "left"})
    ((messages, said, _),) = show(first)
    assert (messages[0]["content"], said) == (f"{task.question} : left", "ash left -")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"prompt": "{chnuk}"}, "prompt asks for {chnuk}: did you mean 'chunk'?"),
        ({"prompt": "{problem}"}, "{chunk} is missing"),
        ({"mark": "box"}, "needs one {}"),
        ({"positive": "ok", "negative": " OK"}, "two different words"),
        ({"preset": "small"}, "preset"),
        ({"ctos": True}, "'ctos'"),
    ],
)
def test_settings_that_cannot_be(settings, message) -> None:
    with pytest.raises(RecipeError) as result:
        make_program("judge", settings)
    assert message in str(result.value) and "\n" not in str(result.value)
