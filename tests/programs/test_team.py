"""Teams: who speaks when and hears whom; conditions, cycles, tools; wrong tables; presets."""

import asyncio
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hornbeam.chat import ByteChat, TemplateChat
from hornbeam.engine.scripted import Scripted
from hornbeam.errors import DataError, RecipeError
from hornbeam.grow.effects import Speaker
from hornbeam.grow.grower import Grower
from hornbeam.models.tiny_model import tokenizer
from hornbeam.programs import make_program
from hornbeam.programs.presets import PRESETS, worked
from hornbeam.search.branch import Branch
from hornbeam.store.database import TreeKey
from hornbeam.tasks.word_problems import word_problems
from hornbeam.tools.calculator import calculate
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task
from hornbeam.workers.local_workers import LocalWorkers

CHAT = ByteChat()
TASK = Task("boxes", "3 boxes of 12?", "36", {"expression": "12 * 3"})
RPSV = ("reader", "planner", "solver", "verifier")


def agents(*pairs: tuple[str, str]) -> list[dict]:
    return [{"name": name, "prompt": prompt} for name, prompt in pairs]


def edge(way: str, **more) -> dict:
    source, to = way.split(" > ")
    return {"from": source, "to": to, **more}


def spoken(tree: Tree) -> list[tuple[str, str]]:
    """(agent, what it was asked) of every node."""
    found = [(tree.nodes[i].agent, CHAT.decode(tree.context(i))) for i in range(1, len(tree))]
    return [(name, text.removesuffix("assistant: ").removeprefix("user: ")) for name, text in found]


def answer(tree: Tree) -> tuple:
    (leaf,) = tree.leaves()
    return tree.nodes[leaf].answer, tree.nodes[leaf].error


def test_without_edges_each_hears_all_before_it(grow) -> None:
    table = [
        {"name": "reader", "prompt": "{question} Facts?", "role": "Read."},
        {"name": "solver", "prompt": "{question} {reader} Solve {{it}}."},
        {"name": "verifier", "prompt": "{reader} {solver} Check."},
    ]
    program, show = make_program("team", {"agents": table})
    tree = grow(program, TASK, ["3 and {12}", "#### 35", "No:\n#### 36"], RPSV)
    assert show is None
    assert spoken(tree) == [
        ("reader", "system: Read.user: 3 boxes of 12? Facts?"),
        ("solver", "3 boxes of 12? 3 and {12} Solve {it}."),
        ("verifier", "3 and {12} #### 35 Check."),
    ]
    assert answer(tree) == ("36", "")


def test_agents_of_one_level_are_asked_together(grow) -> None:
    """The second is asked while the first has not answered yet, or this would never end."""

    class Both(Scripted):
        waiting = 0

        async def generate(self, request):
            if "side" in CHAT.decode(request.prompt):
                self.waiting += 1
                while self.waiting < 2:
                    await asyncio.sleep(0)
            return await super().generate(request)

    table = {
        "agents": agents(("a", "side a"), ("b", "side b"), ("judge", "{a} or {b}?")),
        "edges": [edge("a > judge"), edge("b > judge")],
    }
    program, _ = make_program("team", table)
    engine = Both({"side a": "yes", "side b": "no", "or": "#### yes"})
    tree = grow(program, TASK, engine, ("a", "b", "judge"))
    assert spoken(tree) == [("a", "side a"), ("b", "side b"), ("judge", "yes or no?")]
    assert answer(tree) == ("yes", "")


CHECKED = {
    "agents": agents(("solver", "Solve."), ("verifier", "Is {solver} right?")),
    "edges": [edge("solver > verifier", regex=r"\?$")],
}


def test_an_agent_that_is_handed_nothing_is_passed_over(grow) -> None:
    program, _ = make_program("team", CHECKED)
    sure = grow(program, TASK, "#### 36", RPSV)
    assert (spoken(sure), answer(sure)) == ([("solver", "Solve.")], ("36", ""))
    doubt = grow(program, TASK, ["#### 35?", "#### 36"], RPSV)
    assert spoken(doubt) == [("solver", "Solve."), ("verifier", "Is #### 35? right?")]
    assert answer(doubt) == ("36", "")
    only, _ = make_program("team", CHECKED | {"final": "verifier"})
    assert answer(grow(only, TASK, "#### 36", RPSV)) == (None, "")


def test_what_was_not_handed_on_is_empty(grow) -> None:
    table = {
        "agents": agents(("a", "A"), ("b", "B"), ("c", "[{a}] [{b}]")),
        "edges": [edge("a > c", contains="yes"), edge("b > c")],
    }
    program, _ = make_program("team", table)
    said = {"A": "no", "B": "here", "]": "#### 1"}
    assert spoken(grow(program, TASK, said, ("a", "b", "c")))[-1] == ("c", "[] [here]")


LOOP = {
    "agents": agents(
        ("reader", "Read."), ("solver", "{reader}; {verifier}; solve."), ("verifier", "{solver}?")
    ),
    "edges": [
        edge("reader > solver"),
        edge("solver > verifier"),
        edge("verifier > solver", contains="wrong", times=2),
    ],
}


def test_a_cycle_ends_when_its_condition_fails(grow) -> None:
    program, _ = make_program("team", LOOP | {"final": "solver"})
    script = ["12, 3", "#### 35", "wrong", "#### 36", "fine"]
    tree = grow(program, TASK, script, RPSV)
    assert spoken(tree) == [
        ("reader", "Read."),
        ("solver", "12, 3; ; solve."),
        ("verifier", "#### 35?"),
        ("solver", "12, 3; wrong; solve."),
        ("verifier", "#### 36?"),
    ]
    assert answer(tree) == ("36", "")


def test_a_cycle_ends_when_its_times_are_used_up(grow) -> None:
    program, _ = make_program("team", LOOP)
    tree = grow(program, TASK, {"Read.": "12", "solve.": "#### 35", "?": "wrong"}, RPSV)
    names = [name for name, _ in spoken(tree)]
    assert names == ["reader", *["solver", "verifier"] * 3]
    assert answer(tree) == (None, "")  # the last reply is the verifier's


def test_an_agent_may_go_back_to_itself(grow) -> None:
    table = {"agents": agents(("a", "{a}+")), "edges": [edge("a > a", times=2)]}
    program, _ = make_program("team", table | {"answer": ""})
    tree = grow(program, TASK, lambda prompt, rng: str(prompt.count("+")), ("a",))
    assert [text for _, text in spoken(tree)] == ["+", "1+", "1+"]


def test_an_agent_with_a_calculator(grow) -> None:
    tools = {"CALC": {"tool": "calculator", "argument": "expression"}}
    table = agents(("planner", "Plan."), ("solver", "{planner}"), ("verifier", "{solver}"))
    table[1] |= {"tools": tools, "max_tokens": 14}
    program, _ = make_program("team", {"agents": table})
    script = ["12 * 3", "CALC[12 * 3]no", "It is 36, as I found", "#### 36"]
    tree = grow(program, TASK, script, RPSV)
    assert [node.text for node in tree.nodes[1:]] == [
        "12 * 3", "CALC[12 * 3]", "It is 36, as I", "#### 36"
    ]  # fmt: skip
    assert spoken(tree)[2] == ("solver", "12 * 3assistant: CALC[12 * 3]user: = 36")
    assert spoken(tree)[3] == ("verifier", "It is 36, as I")
    assert answer(tree) == ("36", "")


def test_teams_branch_by_replay() -> None:
    """Concurrent agents, tools, conditions and a cycle: no branch diverges from its own path."""
    tools = {"CALC": {"tool": "calculator", "argument": "expression"}}
    both = agents(("a", "A {judge}"), ("b", "B"), ("judge", "{a} {b} J"))
    both[0] |= {"tools": tools}
    both[1] |= {"tools": tools}
    back = edge("judge > a", contains="no", times=2)
    table = {"agents": both, "edges": [edge("a > judge"), edge("b > judge"), back]}
    program, _ = make_program("team", table)

    def say(prompt: str, rng: random.Random) -> str:
        return rng.choice(["CALC[1 + 1]", f"#### {rng.randrange(9)}", "no"])

    strategy = Branch(trunks=3, nodes=3, rounds=3)
    engine = Scripted(say)
    speakers = {name: Speaker(engine) for name in ("a", "b", "judge")}
    workers = LocalWorkers({"calculator": calculate})
    grower = Grower(program, speakers, strategy, tools=workers)
    tree = asyncio.run(grower.grow(TreeKey("train", 0, 0), Tree(TASK.to_json(), seed=4)))
    assert len(tree.leaves()) == strategy.leaves()
    assert not [node.error for node in tree.nodes if node.error]
    turns = {len(tree.path(i)) for i in tree.leaves()}
    assert min(turns) < max(turns)  # not all went the same way


TWO = agents(("solver", "1"), ("verifier", "2"))


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"agents": []}, "agents is empty: name one, or a preset: single, math"),
        ({"preset": "maths"}, "no preset 'maths': did you mean 'math'?"),
        ({"agents": [*TWO, *TWO]}, "'solver' must be a name of its own"),
        ({"agents": agents(("a b", "1"))}, "'a b' must be a name of its own"),
        ({"agents": agents(("a", "{b}"), ("b", "1"))}, "of 'a' asks for {b}: give it an edge from"),
        ({"agents": agents(("a", "{quesiton}"))}, "{quesiton}: did you mean 'question'?"),
        ({"agents": agents(("a", "{question.__class__}"))}, "asks for {question.__class__}"),
        ({"agents": agents(("a", "{"))}, "team"),
        (
            {"agents": TWO, "edges": [edge("solver > verifer")]},
            "edge solver > verifer: no agent 'verifer': did you mean 'verifier'?",
        ),
        (
            {"agents": TWO, "edges": [edge("solver > verifier"), edge("verifier > solver")]},
            "the cycle solver > verifier > solver has no bound: give `times`",
        ),
        (
            {
                "agents": agents(("a", "1"), ("b", "2"), ("c", "3")),
                "edges": [edge("a > b"), edge("b > c"), edge("c > a")],
            },
            "a > b > c",
        ),
        ({"agents": TWO, "edges": [edge("solver > solver")]}, "the cycle solver > solver has no"),
        (
            {"agents": TWO, "edges": [edge("solver > verifier", times=2)]},
            "edge solver > verifier closes no cycle: leave `times` out",
        ),
        ({"agents": TWO, "edges": [edge("solver > verifier", times=0)]}, "edges.0.times = 0"),
        ({"agents": TWO, "edges": [edge("solver > verifier", regex="(")]}, "regex = '('"),
        (
            {"agents": TWO, "edges": [edge("solver > verifier", regex="a", contains="a")]},
            "give contains or regex, not both",
        ),
        (
            {"agents": TWO, "edges": [{"from": "solver", "too": "verifier"}]},
            "edges.0 has no setting 'too': did you mean 'to'?",
        ),
        ({"agents": TWO, "final": "veri"}, "final: no agent 'veri': did you mean 'verifier'?"),
    ],
)
def test_wrong_tables_are_told_in_one_line(table: dict, message: str) -> None:
    with pytest.raises(RecipeError) as result:
        make_program("team", table)
    assert message in str(result.value)
    assert "\n" not in str(result.value)


@given(st.data())
@settings(max_examples=60)
def test_every_graph_ends_or_is_refused(data) -> None:
    names = "abcd"
    ways = [f"{a} > {b}" for a in names for b in names]
    drawn = data.draw(st.lists(st.tuples(st.sampled_from(ways), st.sampled_from([None, 1, 2]))))
    table = {
        "agents": agents(*((name, name) for name in names)),
        "edges": [edge(way, times=times) for way, times in drawn],
    }
    try:
        program, _ = make_program("team", table)
    except RecipeError as error:
        assert "cycle" in str(error)
        return

    class Quiet:
        count = 0

        async def ask(self, name, messages, **sampling):
            self.count += 1
            return type("Reply", (), {"text": "#### 1"})

    ep = Quiet()
    assert asyncio.run(program(TASK, ep)) == "1"
    # each time an edge goes back at most all four speak anew
    assert 4 <= ep.count <= 4 * (1 + sum(times or 0 for _, times in drawn))


# --- presets -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("preset", "names"),
    [
        ("single", ["solver"]),
        ("math", [*RPSV]),
        ("debate", ["angel", "devil", "judge"]),
        ("logic", ["constraint", "world", "query"]),
        ("arithmetic", [*RPSV]),
    ],
)
def test_presets_run(grow, preset: str, names: list[str]) -> None:
    program, _ = make_program("team", {"preset": preset})
    said = "so #### (B) 7" if preset in ("debate", "logic") else "so #### 36"
    tree = grow(program, TASK, said, tuple(names))
    assert [name for name, _ in spoken(tree)] == names
    assert answer(tree) == ("B" if preset in ("debate", "logic") else "36", "")


def test_every_preset_is_tested() -> None:
    assert set(PRESETS) == {"single", "math", "debate", "logic", "arithmetic"}


def test_parts_of_a_preset_can_be_replaced(grow) -> None:
    program, _ = make_program("team", {"preset": "math", "answer": "number"})
    assert answer(grow(program, TASK, "so 36", RPSV)) == ("36", "")


def test_what_is_said_for_an_expression() -> None:
    assert worked("48 + (48 / 2)") == {
        "reader": "48, 2",
        "planner": "48 + (48 / 2)",
        "solver": "48 / 2 = 24\n48 + 24 = 72",
        "verifier": "#### 72",
    }
    assert worked("5-((3-4)*2)")["solver"] == "3 - 4 = -1\n-1 * 2 = -2\n5 - -2 = 7"
    assert worked("20% * 50")["solver"] == "20% * 50 = 10"


@pytest.mark.parametrize("task", [TASK, *word_problems(count=12, seed=3, operations=(1, 3))])
def test_gold_messages_lead_to_the_right_answer(grow, task: Task) -> None:
    """With a real tokenizer: what a warm start trains on is what the program will ask later."""
    chat = TemplateChat(tokenizer(), "tiny")
    program, show = make_program("team", {"preset": "arithmetic"})
    turns = show(task)
    tree = grow(program, task, Scripted([gold for _, gold, _ in turns], chat), RPSV)
    assert [tree.context(i) for i in range(1, 5)] == [chat.render(before) for before, _, _ in turns]
    assert answer(tree) == (task.answer, "")


def test_what_cannot_be_shown() -> None:
    _, show = make_program("team", {"preset": "arithmetic"})
    with pytest.raises(DataError, match=r"task t has no data\.expression"):
        show(Task("t", "?"))
    with pytest.raises(DataError, match="cannot be written exactly"):
        show(Task("t", "?", data={"expression": "(1 / 3) * 3"}))
    assert make_program("team", {"preset": "math"})[1] is None
    assert make_program("team", {"preset": "arithmetic", "agents": TWO})[1] is None
    edges = [edge("reader > planner"), edge("planner > solver"), edge("planner > verifier")]
    edges += [edge("reader > verifier"), edge("solver > verifier", contains="=")]
    assert make_program("team", {"preset": "arithmetic", "edges": edges})[1] is None
