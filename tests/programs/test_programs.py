"""The ready programs, grown with a scripted engine."""

import random

import pytest

from hornbeam.chat import ByteChat, TemplateChat, assistant, user
from hornbeam.engine.scripted import Scripted
from hornbeam.errors import DataError, ToolError
from hornbeam.models import tiny_model
from hornbeam.programs import make_program
from hornbeam.programs.calls import React
from hornbeam.programs.talk import opening
from hornbeam.search.branch import Branch
from hornbeam.tasks.lookup_world import lookup as look_up
from hornbeam.tasks.lookup_world import lookup_tasks
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task
from hornbeam.workers.local_workers import inline, pure

CHAT = ByteChat()
TASK = Task("boxes", "3 boxes of 12?", "36", {"expression": "12 * 3"})


def ends(tree: Tree) -> list[tuple]:
    """(answer, error) of every episode."""
    return [(tree.nodes[i].answer, tree.nodes[i].error) for i in tree.leaves()]


def prompts(tree: Tree) -> list[str]:
    """What each node was asked, as text."""
    return [CHAT.decode(tree.context(i)) for i in range(1, len(tree))]


def test_single(grow) -> None:
    program, show = make_program("single", {"system": "Be brief.", "answer": "number"})
    tree = grow(program, TASK, "It is 36.")
    assert ends(tree) == [("36", "")]
    assert prompts(tree) == ["system: Be brief.user: 3 boxes of 12?assistant: "]
    assert ends(grow(program, TASK, "no idea")) == [(None, "")]
    assert show is not None
    ((before, gold, _),) = show(TASK)
    assert (CHAT.decode(CHAT.render(before)), gold) == (prompts(tree)[0], "36")


def test_what_single_can_show() -> None:
    _, show = make_program("single", {"answer": r"#### (.*)"})
    assert show is not None
    task = Task("t", "2+2?", ["4", "four"], {"solution": "2 and 2 is 4\n#### 4"})
    assert show(task) == [([user("2+2?")], "2 and 2 is 4\n#### 4", "solver")]
    with pytest.raises(DataError, match="task t has neither an answer nor"):
        show(Task("t", "2+2?"))
    with pytest.raises(DataError, match="finds none in '4'"):
        show(Task("t", "2+2?", ["4"]))


def test_react_by_hand(grow) -> None:
    program, _ = make_program("react", {"system": ""})
    tree = grow(program, TASK, ["I see. CALC[12 * 3] and more", "ANSWER[36]"])
    assert [node.text for node in tree.nodes] == ["", "I see. CALC[12 * 3]", "ANSWER[36]"]
    (call,) = tree.nodes[1].calls
    assert (call.tool, call.arguments, call.result) == (
        "calculator",
        {"expression": "12 * 3"},
        "36",
    )
    assert prompts(tree)[1] == (
        "user: 3 boxes of 12?assistant: I see. CALC[12 * 3]user: = 36assistant: "
    )
    assert ends(tree) == [("36", "")]


def test_react_shows_what_went_wrong_to_the_agent(grow) -> None:
    program, _ = make_program("react", {"system": "", "max_turns": 5})
    script = ["36", "CALC[12 *", "CALC[1 / 0]", "CALC[2]", "ANSWER[36]"]

    def calculator(expression: str) -> str:
        if expression == "2":
            raise ToolError("the calculator is broken")
        return "error: division by zero"

    tree = grow(program, TASK, script, tools={"calculator": calculator})
    result = prompts(tree)[-1].split("user: ")[2:]
    assert [each.split("assistant: ")[0] for each in result] == [
        "error: write CALC[...] or ANSWER[...]",
        "error: write CALC[...] or ANSWER[...]",
        "error: division by zero",
        "error: the calculator is broken",
    ]
    assert ends(tree) == [("36", "")]


def test_react_gives_up_when_the_turns_are_used_up(grow) -> None:
    program, _ = make_program("react", {"max_turns": 3})
    tree = grow(program, TASK, "CALC[1 + 1]")
    assert ends(tree) == [(None, "")]
    assert len(tree) == 4


def test_react_with_another_tool_and_answer(grow) -> None:
    settings = {
        "agent": "reader",
        "tools": {"SEARCH": {"tool": "search", "argument": "query"}},
        "answer": "#### {}",
        "observation": "Found: {}",
        "examples": [["Who?", "#### Ann"]],
    }
    program, show = make_program("react", settings)
    tree = grow(
        program,
        Task("who", "Who wrote it?"),
        ["SEARCH[who wrote it]", "So:\n#### Bob"],
        names=("reader",),
        tools={"search": lambda query: [query.upper()]},
    )
    assert show is not None
    with pytest.raises(DataError, match=r"who has no data\.plan"):
        show(Task("who", "Who wrote it?"))
    assert 'Found: ["WHO WROTE IT"]' in prompts(tree)[1]
    assert "user: Who?assistant: #### Annuser: Who wrote it?" in prompts(tree)[0]
    assert ends(tree) == [("Bob", "")]


@pytest.mark.parametrize("answer", ["ANSWER[{}]", "#### {}"])
def test_gold_texts_reproduce_the_messages_of_the_demonstration(grow, answer: str) -> None:
    program, show = make_program("react", {"answer": answer, "examples": [["1+1?", "ANSWER[2]"]]})
    assert show is not None
    turns = show(TASK)
    tree = grow(program, TASK, [gold for _, gold, _ in turns])
    assert prompts(tree) == [CHAT.decode(CHAT.render(before)) for before, _, _ in turns]
    assert [node.text for node in tree.nodes[1:]] == [gold for _, gold, _ in turns]
    assert ends(tree) == [("36", "")]


def test_gold_texts_reproduce_the_ids_of_the_demonstration(grow) -> None:
    """With a real tokenizer: what a warm start trains on is what the program will ask later."""
    chat = TemplateChat(tiny_model.tokenizer(), "tiny")
    program, show = make_program("react")
    assert show is not None
    turns = show(TASK)
    tree = grow(program, TASK, Scripted([gold for _, gold, _ in turns], chat))
    assert [tree.context(i) for i in (1, 2)] == [chat.render(before) for before, _, _ in turns]
    assert ends(tree) == [("36", "")]


def test_the_demonstration_of_the_tiny_world(grow) -> None:
    program, show = make_program("lookup")
    assert show is not None
    for task in lookup_tasks(count=3, seed=5):
        turns = show(task)
        tree = grow(
            program,
            task,
            [gold for _, gold, _ in turns],
            names=("seeker",),
            tools={"lookup": inline(look_up)},
        )
        assert prompts(tree) == [CHAT.decode(CHAT.render(before)) for before, _, _ in turns]
        ((answer, error),) = ends(tree)
        assert (answer == task.answer, error) == (turns_right(task), "")


def turns_right(task: Task) -> bool:
    """Whether the demonstration takes the right door everywhere."""
    return task.data["demonstration"] == task.data["gold"]


def test_react_branches_by_replay(grow) -> None:
    """Branches share the trunk's calls: what a tool gave is not asked for again."""
    paid = []

    @pure  # it counts; it is not to be asked again at forks
    def calculator(expression: str) -> str:
        paid.append(expression)
        return str(len(paid))

    def say(prompt: str, rng: random.Random) -> str:
        if "= " in prompt and rng.random() < 0.5:
            return f"ANSWER[{rng.randrange(100)}]"
        return f"CALC[{rng.randrange(100)}]"

    program, _ = make_program("react", {"max_turns": 6})
    strategy = Branch(trunks=2, nodes=3, rounds=2)
    tree = grow(program, TASK, Scripted(say), strategy=strategy, tools={"calculator": calculator})
    assert len(ends(tree)) == strategy.leaves() == 14
    assert not any(error for _, error in ends(tree))
    assert len(paid) == sum(len(node.calls) for node in tree.nodes)
    for i in tree.leaves():  # every path is a conversation that the program could have had
        messages = opening(React().system, (), TASK.question)
        for k in tree.path(i):
            assert CHAT.decode(tree.context(k)) == CHAT.decode(CHAT.render(messages))
            for call in tree.nodes[k].calls:
                messages += [assistant(tree.nodes[k].text), user(f"= {call.result}")]
