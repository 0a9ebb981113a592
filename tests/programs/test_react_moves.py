import pytest

from hornbeam.chat import assistant, user
from hornbeam.errors import DataError
from hornbeam.programs.calls import React, ToolName, observe, read_move
from hornbeam.programs.react import react_demonstration
from hornbeam.tree.task import Task

SEARCH = React(
    tools={
        "CALC": ToolName(tool="calculator", argument="expression"),
        "SEARCH": ToolName(tool="search", argument="query"),
    },
    answer="#### {}",
)


@pytest.mark.parametrize(
    ("text", "move"),
    [
        ("CALC[12 * 3]", ("CALC", "12 * 3")),
        ("First I need\nCALC[ (1+2)\n*3 ] and", ("CALC", "(1+2)\n*3")),
        ("ANSWER[36]", ("answer", "36")),
        ("CALC[1] ANSWER[2]", ("CALC", "1")),
        ("ANSWER[2] CALC[1]", ("answer", "2")),
        ("ANSWER[]", ("answer", "")),
        ("CALC[12 * 3", ("", "")),
        ("XCALC[1]", ("", "")),
        ("calc[1]", ("", "")),
        ("36", ("", "")),
        ("", ("", "")),
    ],
)
def test_the_first_move_counts(text: str, move: tuple[str, str]) -> None:
    assert read_move(React(), text) == move


def test_other_tools_and_another_answer() -> None:
    assert read_move(SEARCH, "SEARCH[who wrote it]") == ("SEARCH", "who wrote it")
    assert read_move(SEARCH, "so\n#### 12 cm \nbye") == ("answer", "12 cm")
    assert read_move(React(tools={}), "CALC[1]") == ("", "")


@pytest.mark.timeout(60)  # quadratic reading would take minutes
def test_a_long_reply_is_read_at_once() -> None:
    assert read_move(React(), "CALC[ANSWER[" * 100_000) == ("", "")
    assert read_move(React(), "ANSWER[" * 100_000 + "]")[0] == "answer"
    assert read_move(SEARCH, "#### " * 100_000)[0] == "answer"


def test_what_the_agent_is_told() -> None:
    assert observe(React(), "36") == "= 36"
    assert observe(React(), "error: division by zero") == "error: division by zero"
    assert observe(SEARCH, [{"é": 1}]) == '= [{"é": 1}]'
    assert observe(React(observation="{{}}"), "a") == "{a}"


def test_a_demonstration_by_hand() -> None:
    settings = React(system="", examples=(("1+1?", "ANSWER[2]"),))
    show = react_demonstration(settings)
    assert show is not None
    before = [user("1+1?"), assistant("ANSWER[2]"), user("3 boxes of 12?")]
    assert show(Task("t", "3 boxes of 12?", "36", {"expression": "12 * 3"})) == [
        (before, "CALC[12 * 3]", "solver"),
        ([*before, assistant("CALC[12 * 3]"), user("= 36")], "ANSWER[36]", "solver"),
    ]


def test_what_cannot_be_demonstrated_is_told() -> None:
    show = react_demonstration(React())
    assert show is not None
    with pytest.raises(DataError, match=r"task t has no data\.expression"):
        show(Task("t", "?"))
    with pytest.raises(
        DataError, match=r"task t, data\.expression = '1/0': error: division by zero"
    ):
        show(Task("t", "?", None, {"expression": "1/0"}))
    search = react_demonstration(React(tools={"SEARCH": ToolName(tool="search", argument="query")}))
    assert search is not None
    with pytest.raises(DataError, match=r"task t has no data\.plan"):
        search(Task("t", "?", None, {"expression": "1 + 1"}))
    assert react_demonstration(React(tools={})) is None
