"""Rules and what the scorer makes of leaves: rewards, penalties, and no entry where none is due."""

import asyncio

import pytest

from hornbeam.errors import ScoreError
from hornbeam.score import RewardSettings, check_task, make_scorer, rules
from hornbeam.score.rules import accepted_answers, answer_text, said
from hornbeam.score.spelling import decided, readings
from hornbeam.tasks import Task
from hornbeam.tasks.families import family_tasks
from hornbeam.tasks.generated import reasoning_gym_tasks
from hornbeam.tree.nodes import Node, Tree
from score import sleeper


def tree_of(task, *answers, **fields):
    """A tree of one-step episodes, one an answer."""
    tree = Tree(task.to_json())
    for answer in answers:
        tree.append(Node(0, text=f"I say {answer}", done=True, answer=answer, **fields))
    return tree


def judge(task, *answers, settings=None, nodes=None, tree=None, **values):
    """(rewards, counts) of the answers."""
    tree = tree or tree_of(task, *answers)

    async def run():
        scorer = make_scorer(settings or RewardSettings(**values))
        try:
            return await scorer.score(tree, nodes or tree.leaves()), scorer.counts
        finally:
            await scorer.aclose()

    return asyncio.run(run())


SUM = Task("t", "6 times 7?", "42")
WHO = Task("w", "Who?", ["The Beatles", "Fab Four"])


@pytest.mark.parametrize(
    ("rule", "answer", "accepted", "outcome"),
    [
        ("exact", " 42 ", "42", 1.0),
        ("exact", "42.0", "42", 0.0),
        ("numeric", "It is $42.00.", "42", 1.0),
        ("numeric", "41 or 43", "42", 0.0),
        ("numeric", "forty-two", "42", 0.0),
        ("numeric", "1000", "1,000", 1.0),
        ("numeric", "no number", "none either", 0.0),
        ("numeric", "42", "It is six times seven.\n#### 42", 1.0),
        ("numeric", "42", r"That is $\boxed{42}$.", 1.0),
        ("numeric", "16,386.17", "16386.16", 0.0),
        ("em", "beatles", "The Beatles!", 1.0),
        ("f1", "the fab beatles", "The Beatles", 2 / 3),
    ],
)
def test_rules_by_hand(rule, answer, accepted, outcome):
    assert rules[rule](answer, accepted) == pytest.approx(outcome)


@pytest.mark.parametrize(
    ("answer", "accepted", "squad", "hotpot"),
    [
        ("yes", "Yes.", 1.0, 1.0),
        ("yes it is", "yes", 0.5, 0.0),
        ("no", "no one", 2 / 3, 0.0),
        ("noanswer", "a noanswer here", 2 / 3, 0.0),
        ("yes and no", "no or yes", 2 / 3, 2 / 3),
        ("the fab beatles", "The Beatles", 2 / 3, 2 / 3),
        ("dog", "cat", 0.0, 0.0),
    ],
)
def test_f1_is_that_of_the_set(answer, accepted, squad, hotpot):
    def walk(data):
        return judge(Task("t", "?", [accepted], data), answer, rule="f1")[0][0]

    assert walk({}) == walk({"scoring": {"f1": "squad"}}) == pytest.approx(squad)
    assert walk({"scoring": {"f1": "hotpotqa"}}) == pytest.approx(hotpot)
    with pytest.raises(ScoreError, match=r"data\.scoring\.f1 = 'kilt': 'squad' and 'hotpotqa' are"):
        walk({"scoring": {"f1": "kilt"}})


@pytest.mark.parametrize("name", ["hotpotqa", "2wikimultihopqa", "musique", "nq"])
def test_sets_say_how_they_are_scored(name):
    rows = [(1, {"question": "?", "answers": ["yes"]})]
    (task,) = family_tasks(name, "test", rows, "here")
    result = judge(task, "yes it is", rule="f1")[0]
    assert result == [0.0 if name in ("hotpotqa", "2wikimultihopqa") else 0.5]


def test_strings_numbers_and_mappings_are_answers():
    answers = ("so 42", 42, 42.0, {"answer": 42, "why": 7}, "41")
    assert judge(SUM, *answers) == ([1.0, 1.0, 1.0, 1.0, 0.0], {"judged": 5})
    assert answer_text({"answer": None}) is answer_text({}) is answer_text(None) is None


def test_the_best_of_the_accepted_answers_counts():
    assert judge(WHO, "fab four", "beatles", "four", rule="em")[0] == [1.0, 1.0, 0.0]
    # four / fab four: 2 * 1 / 3; four / beatles: 0
    assert judge(WHO, "four", rule="f1")[0] == [pytest.approx(2 / 3)]


def test_failed_and_unfinished_episodes_have_no_entry():
    tree = tree_of(SUM, "42")
    tree.append(Node(0, text="42", error="the tool hung", done=True, answer="42"))
    tree.append(Node(0, text="on my way"))
    tree.append(Node(0, text="nothing", done=True))
    rewards, counts = judge(SUM, tree=tree)
    assert rewards == [1.0, None, None, 0.0]
    assert counts == {"judged": 2, "unanswered": 1}


def test_the_column_is_in_the_order_asked():
    tree = tree_of(SUM, "42", "41", "42")
    assert judge(SUM, tree=tree, nodes=[2, 3, 1])[0] == [0.0, 1.0, 1.0]


def test_a_failed_format_check_takes_the_penalty_off():
    tree = Tree(SUM.to_json())
    first = tree.append(Node(0, text="Thought: multiply\nCALC[6*7]"))
    tree.append(Node(first, text="ANSWER[42]", done=True, answer="42"))
    tree.append(Node(first, text="42!", done=True, answer="42"))
    tree.append(Node(0, text="ANSWER[41]", done=True, answer="41"))
    pattern = r"\AThought: .*\nANSWER\[[^\]]*\]\Z"
    rewards, counts = judge(SUM, tree=tree, format=pattern)
    assert rewards == [1.0, 0.8, -0.2]
    assert counts == {"judged": 3, "unformatted": 2}
    assert judge(SUM, tree=tree, format=pattern, format_penalty=0.5)[0] == [1.0, 0.5, -0.5]


def test_what_was_said_is_the_way_down_with_chunks_as_one():
    tree = Tree(SUM.to_json())
    a = tree.append(Node(0, text="one, ", finish="chunk"))
    b = tree.append(Node(a, text="two", finish="stop"))
    c = tree.append(Node(b, text="three", finish="stop", done=True))
    assert said(tree, c) == "one, two\nthree"


def test_a_task_without_an_answer_is_told():
    for answer in (None, [], "", [None]):
        with pytest.raises(ScoreError, match="task t: no answer to compare with"):
            judge(Task("t", "?", answer), "42")
    assert accepted_answers(Task("t", "?", [1, None, "b"])) == ["1", "b"]


def test_a_rule_that_could_never_hold_is_told():
    with pytest.raises(ScoreError, match="'The Beatles' is not one number; take the rule"):
        judge(WHO, "42")
    for answer in ("3, 5, 7", "5 or 6", r"2\sqrt{2}", "3:1", r"1 \pm \sqrt{19}", "6*7"):
        with pytest.raises(ScoreError, match=r"^sets/own\.jsonl, line 7: task t: the answer"):
            check_task("numeric", Task("t", "?", answer, origin="sets/own.jsonl, line 7"))
    with pytest.raises(ScoreError, match="not of source 'reasoning_gym'"):
        judge(SUM, "42", rule="reasoning_gym")
    assert check_task("em", WHO) == ["The Beatles", "Fab Four"]


def test_settings_refuse_what_cannot_be():
    for wrong in ({"rule": "fuzzy"}, {"format": "("}, {"seconds": 0}, {"penalty": 1}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            RewardSettings(**wrong)


def test_symbolic_equality():
    half = Task("h", "?", r"\frac{1}{2}")
    answers = ("0.5", r"so it is $\boxed{\frac12}$", "1/3", r"\frac{1}{2}", "x")
    rewards, counts = judge(half, *answers, rule="symbolic", workers=1)
    assert rewards == [1.0, 1.0, 0.0, 1.0, 0.0]
    assert counts == {"judged": 5}


SYMBOLIC = [  # (accepted, said, outcome): what numbers and words decide, and what the checker
    (r"40,\!320", "40320", 1.0),
    ("3.5", "3 1/2", 1.0),
    (r"3\frac{1}{2}", "3.5", 1.0),
    ("5000000", r"5 \text{ million}", 1.0),
    ("5", "101_2", 1.0),
    ("101", "101_2", 0.0),
    (r"12\,500", "12500", 1.0),
    ("1/3", r"0.\overline{3}", 1.0),
    (r"\frac{x}{3}", r"0.\overline{3}x", 1.0),
    ("5", r"\boxed{5.}", 1.0),
    (r"25\%", r"\boxed{25}", 1.0),
    (r"25\%", "The answer is 25%.", 1.0),
    (r"25\%", "0.25", 1.0),
    ("0.25", "25", 0.0),
    ("1.6e-19", "9.1e-31", 0.0),
    ("10", "2x=10", 0.0),
    ("10", "We get $2x=10$.", 0.0),
    ("3", "x+y=3", 0.0),
    ("5", "x=5", 1.0),
    ("x=5", "5", 1.0),
    ("x=5", "y=5", 0.0),
    (r"\{1, 2\}", r"first \boxed{1}, then \boxed{\{2, 1\}}", 1.0),
    ("6", "5 or 6", 0.0),
    (r"\text{Evelyn}", "The answer is Evelyn.", 1.0),
    ("yes", r"\text{yes}", 1.0),
    (r"\text{east}", "seat", 0.0),
    (r"\text{(C)}", "C", 1.0),
    (r"\text{(C)}", r"\boxed{\text{(D)}}", 0.0),
    (r"8\!:\!34 \text{ p.m.}", "8:34 PM", 1.0),
    (r"8\!:\!34 \text{ p.m.}", "8:34 a.m.", 0.0),
    ("1 : 2", "1:2", 1.0),
    ("3:4", "4:3", 0.0),
    ("3", "3:1", 0.0),
    ("3:1", "3", 0.0),
    (r"8\sqrt{3} \text{ square inches}", r"\sqrt{192}", 1.0),
    (r"12\text{ and }13", r"\boxed{13, 12}", 1.0),
    (r"28\%", "$28$ %", 1.0),
    ("6", "xy=6", 0.0),
    ("$(p,q)=(3,2)$", r"\boxed{(3,2)}", 1.0),
    (r"\frac{NO}{BO}=\frac{1}{\sqrt{6}}", r"\boxed{\frac{1}{\sqrt{6}}}", 1.0),
    ("2x+4y-3=0", r"y=-\frac{1}{2}x+\frac{3}{4}", 1.0),
    ("a + b + c", "$c+a+b$", 1.0),  # to math-verify a " b" is a unit
    ("1", "$1 + d$", 0.0),
    ("2d", r"\boxed{2 d}", 1.0),
    (r"\text{e}", "e", 1.0),
    ("abc", "bca", 1.0),
    (r"\{1, 2\}", r"$\boxed{1}$ and $\boxed{2}$", 1.0),
    (r"\{1, 2\}", r"First \boxed{1} comes, and in the end \boxed{2}.", 0.0),
    ("10455", r"So \boxed{255}. Final Answer: The final answer is $10,455$.", 1.0),
    ("$(0,0),(1,2)$", r"\boxed{(1,2), (0,0)}", 1.0),
]


def test_symbolic_equality_of_forms():
    async def run():
        scorer = make_scorer(RewardSettings(rule="symbolic", seconds=20))
        trees = [tree_of(Task("t", "?", accepted), answer) for accepted, answer, _ in SYMBOLIC]
        try:
            return [(await scorer.score(tree, [1]))[0] for tree in trees]
        finally:
            await scorer.aclose()

    found = asyncio.run(run())
    assert [(*row[:2], got) for row, got in zip(SYMBOLIC, found)] == SYMBOLIC


@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "flood", ["\n", " ", "1", "$ ", "{", "x=1, ", "\\boxed{1} ", "a:", "\\text{"]
)
def test_no_answer_holds_the_symbolic_rule_up(flood):
    text = flood * (60_000 // len(flood))
    for answer, accepted in ((text, "5"), ("5", text), (text, "\\text{no}"), (text, "x+1")):
        assert decided(answer, accepted) is not True
        readings(answer)


def test_a_time_out_is_no_entry_and_is_counted(monkeypatch):
    monkeypatch.setattr("hornbeam.score.checker_pool.COMMAND", sleeper.COMMAND)
    answers = ("3", sleeper.FOREVER, r"\sqrt{16}")
    rewards, counts = judge(
        Task("t", "?", "3.0"), *answers, rule="symbolic", seconds=3.0, workers=1
    )
    assert rewards == [1.0, None, 0.0]
    assert counts == {"judged": 2, "timeouts": 1}


def test_reasoning_gym_scores_by_its_own_rule():
    (task,) = reasoning_gym_tasks("train", 1, seed=4, dataset="countdown")
    numbers = task.data["metadata"]["numbers"]
    rewards, _ = judge(
        task, f"0 + {task.answer}", task.answer, str(numbers[0]), "", rule="reasoning_gym"
    )
    assert rewards[1] == 1.0  # the stored answer
    assert rewards[2] < 0.1 and rewards[3] < 0.1


def test_a_scorer_that_raises_over_an_answer_gives_nothing():
    data = {"dataset": "prime_factorization", "metadata": None}
    task = Task("p", "?", "2 × 3", data)
    rewards, counts = judge(task, "2 x 3", task.answer, rule="reasoning_gym")
    assert rewards == [0.0, 1.0] and counts == {"judged": 2}
    broken = Task("b", "?", "two", data)  # its own answer makes the scorer raise too
    assert judge(broken, "2 x 3", rule="reasoning_gym") == ([None], {"crashes": 1})
