"""Main agent and sub-agents with a scripted engine: at once, in forks, in demonstrations."""

import random

import pytest

from grow.worlds import OneMore
from hornbeam.chat import ByteChat
from hornbeam.credit import credit
from hornbeam.credit.scoped import rollouts
from hornbeam.engine.scripted import Scripted
from hornbeam.errors import DataError, RecipeError
from hornbeam.programs import make_program
from hornbeam.programs.delegate import Delegate, asks
from hornbeam.programs.errand import Errand
from hornbeam.search.branch import Branch
from hornbeam.tasks.lookup_world import doors, lookup_tasks
from hornbeam.tasks.lookup_world import lookup as look_up
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task
from hornbeam.workers.local_workers import inline

CHAT = ByteChat()
NAMES = ("main", "sub")
SUB = {
    "agent": "sub",
    "system": "",
    "answer": "Answer[{}]",
    "tools": {"SEARCH": {"tool": "search", "argument": "query"}},
}
BORN = {"Ann born": "Ann was born in Ely", "Bob born": "Bob was born in Rye"}
PLAN = [
    [
        {"question": "Where was Ann born?", "query": "Ann born", "answer": "Ely"},
        {"question": "Where was Bob born?", "query": "Bob born", "answer": "Rye"},
    ]
]
for step in PLAN[0]:
    step["found"] = BORN[step["query"]]
TASK = Task("born", "In one town?", "no", {"plan": PLAN})
SAYS = {
    "In one town?assistant: ": "ASK[Where was Ann born?] and ASK[Where was Bob born?]",
    "Ann born?assistant: ": "SEARCH[Ann born]",
    "Bob born?assistant: ": "SEARCH[Bob born]",
    "in Elyassistant: ": "Answer[Ely]",
    "in Ryeassistant: ": "Answer[Rye]",
    "Result: Ryeassistant: ": "Answer[no]",
}


def find(query: str) -> str:
    return BORN.get(query, "nothing")


def steps(tree: Tree) -> list[tuple[str, str, str]]:
    return [(node.scope, node.agent, node.text) for node in tree.nodes[1:]]


def grown(grow, say, strategy=None, **settings) -> Tree:
    program, _ = make_program("delegate", {"system": "", "sub": SUB, **settings})
    more = {} if strategy is None else {"strategy": strategy}
    return grow(program, TASK, say, names=NAMES, tools={"search": find}, **more)


def test_two_sub_agents_at_once_by_hand(grow) -> None:
    tree = grown(grow, SAYS)
    assert steps(tree) == [
        ("", "main", "ASK[Where was Ann born?] and ASK[Where was Bob born?]"),
        ("sub.1", "sub", "SEARCH[Ann born]"),
        ("sub.2", "sub", "SEARCH[Bob born]"),
        ("sub.1", "sub", "Answer[Ely]"),
        ("sub.2", "sub", "Answer[Rye]"),
        ("", "main", "Answer[no]"),
    ]
    assert [c.scope for node in tree.nodes for c in node.calls] == ["sub.1", "sub.2"]
    assert (tree.nodes[6].answer, tree.nodes[6].error) == ("no", "")
    heard = CHAT.decode(tree.context(6)).rpartition("user: ")[2]
    assert heard == "Result: Ely\nResult: Ryeassistant: "
    tree.columns["reward"] = [None, None, None, None, 1.0, 0.2, 0.0]
    credit([tree], "m_grpo", std="population")
    assert tree.columns["advantage"] == pytest.approx([None, None, None, None, 1, -1, 0])


@pytest.mark.parametrize("node", range(6))
def test_every_step_can_be_forked_inside_delegations_too(grow, node: int) -> None:
    whole = grown(grow, SAYS)
    strategy = OneMore(node, 9)
    paid = []

    def search(query: str) -> str:
        paid.append(query)
        return find(query)

    program, _ = make_program("delegate", {"system": "", "sub": SUB})
    again = grow(
        program, TASK, SAYS, names=NAMES, tools={"search": search}, strategy=strategy, start=whole
    )
    new = again.nodes[7:]
    assert new and new[-1].done and not new[-1].error
    leaf = len(again) - 1
    assert [again.nodes[i].text for i in again.path(leaf)] == [n.text for n in whole.nodes[1:7]]
    assert len(paid) == (2 if node < 3 else 0)  # both calls came after node 3 had spoken


def test_branches_of_random_talk_are_conversations_of_the_program(grow) -> None:
    """Growth and credit go together: every delegation of every path has its own advantage."""

    def say(prompt: str, rng: random.Random) -> str:
        if "In one town?" in prompt:
            done = "Result" in prompt and rng.random() < 0.6
            return "Answer[no]" if done else "ASK[Ann?] ASK[Bob?]"[: rng.choice([9, 19])]
        return f"Answer[{rng.randrange(9)}]" if rng.random() < 0.6 else f"SEARCH[{rng.random()}]"

    strategy = Branch(trunks=2, nodes=3, rounds=2)
    tree = grown(grow, Scripted(say), strategy)
    assert len(tree.leaves()) == 14 and not any(node.error for node in tree.nodes)
    reward = tree.column("reward")
    for i in range(1, len(tree)):
        reward[i] = random.Random(i).random()
    credit([tree], "m_grpo")
    found = dict(rollouts(tree, [r if tree.is_leaf(i) else None for i, r in enumerate(reward)]))
    assert len({len(ends) for ends in found.values()}) > 1
    for leaf, ends in found.items():
        scopes = {tree.nodes[i].scope for i in tree.path(leaf)} - {""}
        assert {tree.nodes[i].scope for i in ends} == scopes
        assert all(tree.columns["advantage"][i] is not None for i in [*ends, leaf])
    total = sum(m for m in tree.columns["mass"] if m is not None)
    assert total == pytest.approx(8 * sum(bool(ends) for ends in found.values()))


def test_what_goes_wrong_is_told_to_the_main_agent(grow) -> None:
    def say(prompt: str, rng: random.Random) -> str:
        if "In one town?" not in prompt:
            return "no idea"
        turn = prompt.count("assistant: ")
        return ["so", "ASK[a]ASK[b]ASK[c]", "ASK[long]", "Answer[?]"][turn - 1]

    tree = grown(grow, Scripted(say), at_once=2, sub={**SUB, "max_turns": 1})
    result = CHAT.decode(tree.context(len(tree) - 1)).split("user: ")[2:]
    assert [each.split("assistant: ")[0] for each in result] == [
        "error: write ASK[...] or Answer[...]",
        "error: nothing was found out\nerror: nothing was found out\n"
        "error: at most 2 questions at once",
        "error: nothing was found out",
    ]
    assert tree.nodes[-1].answer == "?"
    assert grown(grow, "hm", max_turns=2).nodes[-1].answer is None


def test_a_sub_agent_whose_window_is_full_does_not_end_the_episode(grow) -> None:
    def say(prompt: str, rng: random.Random) -> str:
        return f"ASK[{'why ' * 40}?]" if prompt.count("assistant: ") == 1 else "Answer[no]"

    program, _ = make_program("delegate", {"system": "", "sub": {**SUB, "system": "x" * 300}})
    engine = Scripted(say, context=460)
    tree = grow(program, TASK, engine, names=NAMES, tools={"search": find})
    assert tree.nodes[-1].answer == "no"
    assert tree.nodes[2].finish == "too long" and tree.nodes[2].scope == "sub.1"


def test_sub_questions_of_a_reply() -> None:
    settings = Delegate()
    assert asks(settings, "ASK[a] TASK[b] ASK[ c ] ASK[d") == ["a", "c"]
    assert asks(settings, "ASK[" * 100_000) == []


def test_a_demonstration_is_what_the_program_would_hear(grow) -> None:
    program, show = make_program("delegate", {"sub": SUB})
    turns = show(TASK)
    says = {CHAT.decode(CHAT.render(before)): said for before, said, _ in turns}
    assert len(says) == 6
    tree = grow(
        program, TASK, lambda prompt, rng: says[prompt], names=NAMES, tools={"search": find}
    )
    assert sorted(node.text for node in tree.nodes[1:]) == sorted(said for _, said, _ in turns)
    assert tree.nodes[-1].answer == "no"
    with pytest.raises(DataError, match=r"task t has no data\.plan"):
        show(Task("t", "?"))


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({"agent": "sub"}, "agent and sub.agent are both 'sub'"),
        ({"answer": "Answer"}, "needs one {}"),
        ({"ask": "a b"}, "'a b' cannot be the name of a tool"),
        ({"sub": {"tool": {}}}, "did you mean"),
    ],
)
def test_wrong_settings_are_one_line(settings: dict, text: str) -> None:
    with pytest.raises(RecipeError) as error:
        make_program("delegate", settings)
    assert text in str(error.value) or text == "did you mean"


# --- the tiny world ------------------------------------------------------------------------------


@pytest.fixture
def walk(grow):
    """`walk(task, say)`: the tree of an errand."""
    program, _ = make_program("errand")

    def once(task: Task, say) -> Tree:
        tools = {"lookup": inline(look_up)}
        return grow(program, task, say, names=("guide", "seeker"), tools=tools)

    return once


def test_an_errand_ends_at_a_crossing_or_the_treasure(walk) -> None:
    counts = set()
    for task in lookup_tasks(count=12, seed=3):
        tree = walk(task, list(task.data["gold"]))
        assert tree.nodes[-1].answer == task.answer
        assert [node.text for node in tree.nodes[1:]] == task.data["gold"]
        for i, node in enumerate(tree.nodes[1:], 1):
            over = i + 1 == len(tree) or tree.nodes[i + 1].scope != node.scope
            note = node.calls[-1].result
            assert not node.scope or over == Errand().reports(note)
        counts.add(len({node.scope for node in tree.nodes[1:]} - {""}))
    assert len(counts) > 1  # rollouts differ in how many delegations they have


def test_a_reply_that_is_no_door_ends_the_episode(walk) -> None:
    (task,) = lookup_tasks(count=1)
    for said in (["nowhere"], ["left", "nowhere"]):
        tree = walk(task, said)
        assert (len(tree) - 1, tree.nodes[-1].answer, tree.nodes[-1].error) == (len(said), "", "")


def test_the_demonstration_of_an_errand_is_what_the_program_would_hear(walk) -> None:
    _, show = make_program("errand")
    for task in lookup_tasks(count=5, seed=8):
        turns = show(task)
        tree = walk(task, [said for _, said, _ in turns])
        heard = [CHAT.decode(tree.context(i)) for i in range(1, len(tree))]
        assert heard == [CHAT.decode(CHAT.render(before)) for before, _, _ in turns]
        assert [said for _, said, _ in turns] == task.data["demonstration"][: len(turns)]
        assert not doors(tree.nodes[-1].answer)
