import pytest

from hornbeam.chat import assistant, system, user
from hornbeam.errors import RecipeError
from hornbeam.programs import make_program
from hornbeam.programs.talk import opening, read_answer


def test_opening_puts_examples_between_system_and_question() -> None:
    assert opening("", (), "q") == [user("q")]
    assert opening("be brief", (("1+1?", "2"), ("a", "b", "c", "d")), "q") == [
        system("be brief"),
        *(user("1+1?"), assistant("2")),
        *(user("a"), assistant("b"), user("c"), assistant("d")),
        user("q"),
    ]


@pytest.mark.parametrize(
    ("answer", "text", "read"),
    [
        ("", " four \n", "four"),
        ("number", "It is 3, no, $1,200.50.", "1200.50"),
        ("number", "5-3 = -2", "-2"),
        ("number", "5-3", None),  # a calculation, or a range
        ("number", "He is at -$18. That is 3/4 below.", "3/4"),
        ("number", "x is 7.", "7"),
        ("number", "none", None),
        (r"####\s*(.*)", "#### 1\n####  2 ", "2"),
        (r"####\s*(.*)", "2", None),
    ],
)
def test_answers_are_read_off_a_reply(answer: str, text: str, read: str | None) -> None:
    assert read_answer(answer, text) == read


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("single", {"answer": "(a)(b)"}, "needs one group, it has 2"),
        ("single", {"answer": "("}, "'number' or a regular expression"),
        ("single", {"examples": [["a", "b", "c"]]}, "end with the assistant"),
        ("single", {"agnet": "x"}, "has no setting 'agnet': did you mean 'agent'?"),
        ("react", {"max_turns": 0}, "max_turns = 0"),
        ("react", {"answer": "ANSWER"}, "answer = 'ANSWER' needs one {}"),
        ("react", {"tools": {"ANSWER": {"tool": "a", "argument": "b"}}}, "'ANSWER' cannot be"),
        ("raect", {}, "unknown program 'raect': did you mean 'react'?"),
    ],
)
def test_wrong_settings_are_told_in_one_line(name: str, settings: dict, message: str) -> None:
    with pytest.raises(RecipeError) as result:
        make_program(name, settings)
    assert message in str(result.value)
    assert "\n" not in str(result.value)
