"""A judge as a guide: asked as the program asks, its verdicts as values, what they cost."""

import asyncio
import math

import pytest

from hornbeam.chat import ByteChat, TemplateChat
from hornbeam.engine.request import Completion
from hornbeam.engine.scripted import Scripted
from hornbeam.errors import ScoreError
from hornbeam.grow.effects import Speaker
from hornbeam.grow.grower import Grower
from hornbeam.models import tiny_model
from hornbeam.programs import make_program
from hornbeam.protocols import Opinions
from hornbeam.score.judge_guide import JudgeGuide, VerdictSettings, first_wrong, majority, value
from hornbeam.search.independent import Independent
from hornbeam.store.database import TreeKey
from hornbeam.tasks.judge_tasks import JudgeOptions, judge_tasks
from hornbeam.tree.jsonl import write_trees
from hornbeam.tree.nodes import Node, Origin, Tree, floats, ids

CHAT = ByteChat()
YES, NO = r"\boxed{Positive}", r"\boxed{Negative}"
ONE = ids([1])


def solution(*steps: str) -> Tree:
    """Steps that follow one another; labelled right, then wrong, in turn."""
    tree = Tree({"id": "q", "question": "2 + 2?"})
    for n, text in enumerate(steps):
        tree.append(
            Node(
                n, "solver", prompt=ONE, tokens=ONE, text=text, origin=Origin(step=n), finish="stop"
            )
        )
    tree.columns["label"] = [None, *(1 - 2 * (n % 2) for n in range(len(steps)))]
    return tree


def guide_of(say, **settings) -> JudgeGuide:
    engine = say if isinstance(say, Scripted) else Scripted(say)
    return JudgeGuide(engine, VerdictSettings(**settings))


def judged(guide, tree, nodes=None) -> Opinions:
    return asyncio.run(guide.judge(tree, nodes or range(1, len(tree))))


def test_program_and_guide_see_the_same_ids(tmp_path) -> None:
    tree = solution("First, two.", "So <chunk>five.</chunk>", "Five.")
    write_trees([tree], tmp_path / "t.jsonl")
    for settings in ({}, {"cot": False, "system": "Judge."}, {"preset": "tiny"}):
        chat = TemplateChat(tiny_model.tokenizer()) if "preset" in settings else CHAT
        guide = guide_of(Scripted(YES, chat), **settings)
        program, _ = make_program("judge", settings)
        options = JudgeOptions(balance=False)
        for task in judge_tasks(tmp_path / "t.jsonl", options, "all")[0]:
            grower = Grower(program, {"judge": Speaker(Scripted(YES, chat))}, Independent(n=1))
            grown = asyncio.run(grower.grow(TreeKey("a", 0, 0), Tree(task.to_json())))
            i = int(task.id.split("/")[1])
            assert guide.prompt(tree, i) == grown.context(1)


def test_a_verdict_is_one_or_minus_one_and_costs_what_ran() -> None:
    tree = solution("two", "five")
    guide = guide_of({"Next step:\ntwo": YES, "Next step:\nfive": f"No. {NO}"})
    said = judged(guide, tree)
    assert said.values == [1.0, -1.0]
    prompts = [len(guide.prompt(tree, i)) for i in (1, 2)]
    sampled = len(YES) + 1 + len(f"No. {NO}") + 1  # bytes, and an end each
    assert said.tokens == sum(prompts) + sampled
    assert guide.most(tree, [1, 2]) == sum(prompts) + 2 * 512
    assert guide.counts == {"verdicts": 2, "unparseable": 0}


def test_the_majority_by_hand() -> None:
    tree = solution("two")
    said = judged(guide_of([YES, NO, "?", YES, YES], votes=5), tree)
    assert said.values == [pytest.approx((3 - 1) / 5)]
    guide = guide_of(["?", "??"], votes=2)
    assert judged(guide, tree).values == [None]
    assert guide.counts == {"verdicts": 2, "unparseable": 2}
    assert majority([1.0, -1.0]) == 0.0 and majority([None]) is None


def test_votes_are_drawn_apart_and_alike_each_time() -> None:
    tree = solution("two", "five")

    def draw(prompt, rng):
        return rng.choice([YES, NO])

    guide = guide_of(draw, votes=25)
    first = judged(guide, tree).values
    assert all(abs(v) < 1 for v in first) and first[0] != first[1]
    assert judged(guide, tree, [2]).values == first[1:]
    assert guide.settings.sampling.temperature == 1.0
    assert guide_of(draw).settings.sampling.temperature == 0.0


@pytest.mark.parametrize(("word", "sign"), [("Positive", 1), ("Negative", -1)])
def test_a_soft_verdict_is_its_words_probability(word, sign) -> None:
    """log p = -0.1 a byte of the last verdict's word, -9 elsewhere: p = exp(-0.8)."""

    def logprobs(prompt, tokens):
        start = bytes(list(tokens)).rindex(word.encode())
        return [-0.1 if start <= n < start + 8 else -9.0 for n in range(len(tokens))]

    engine = Scripted(rf"Not \boxed{{Negative}} but é: \boxed{{{word}}}", logprob=logprobs)
    said = judged(guide_of(engine, soft=True), solution("two"))
    assert said.values == [pytest.approx(sign * (2 * math.exp(-0.8) - 1), abs=1e-6)]


def test_soft_votes_are_averaged() -> None:
    engine = Scripted([YES, NO, YES], logprob=-0.01)
    p = math.exp(-0.08)
    said = judged(guide_of(engine, soft=True, votes=3), solution("two"))
    assert said.values == [pytest.approx((2 * p - 1) / 3, abs=1e-6)]


def test_soft_verdicts_want_log_probs() -> None:
    said = Completion(CHAT.encode(YES), floats([]), YES, "stop")
    settings = VerdictSettings(soft=True)
    with pytest.raises(ScoreError, match="need log-probs"):
        value(said, CHAT, settings)
    assert value(said, CHAT, VerdictSettings()) == 1.0


def test_the_tiny_judge_has_a_soft_verdict() -> None:
    chat = TemplateChat(tiny_model.tokenizer())

    def logprobs(prompt, tokens):  # ▁ash ▁left ▁ + <end>
        assert len(tokens) == 5
        return [-5.0, -5.0, -5.0, math.log(0.75), -5.0]

    guide = guide_of(Scripted("ash left +", chat, logprob=logprobs), preset="tiny", soft=True)
    tree = Tree({"id": "w", "question": "start : left k01 middle k02 right k05 ash"})
    tree.append(Node(0, "seeker", prompt=ONE, tokens=ONE, text="left"))
    assert judged(guide, tree).values == [pytest.approx(0.5, abs=1e-6)]


def test_who_has_no_verdict() -> None:
    tree = solution("two", " ", "four")
    tree.append(Node(3, text="it fell", error="it fell", done=True))
    guide = guide_of(YES)
    assert judged(guide, tree).values == [1.0, None, 1.0, None]
    assert guide.counts["verdicts"] == 2
    long = guide_of(Scripted(YES, context=50))
    assert judged(long, tree, [1]) == Opinions([None], 0)
    assert long.counts == {"too_long": 1}


def test_too_many_verdicts_that_cannot_be_read() -> None:
    guide = guide_of([YES, "?", "hm, who knows"], stop_above=0.5, at_least=3)
    tree = solution("a", "b", "c")
    with pytest.raises(
        ScoreError, match=r"'judge': 2 of 3 verdicts .*0\.5\), one ends on 'hm, who knows'"
    ):
        judged(guide, tree)
    patient = guide_of("?", stop_above=0.0, at_least=4)
    assert judged(patient, tree).values == [None] * 3


def test_a_judge_steers_growth_and_is_paid() -> None:
    program, _ = make_program("single")
    guide = guide_of({"Next step:\n36": YES, "": NO})
    grower = Grower(program, {"solver": Speaker(Scripted("36"))}, Independent(n=2), guides=[guide])
    tree = asyncio.run(
        grower.grow(TreeKey("a", 0, 0), Tree({"id": "q", "question": "12 * 3?"}, seed=1))
    )
    assert tree.columns["judge"][1:] == [1.0, 1.0]
    each = len(guide.prompt(tree, 1)) + len(YES) + 1
    assert grower.ledger.totals["scorer_tokens"] == 2 * each


def test_the_first_wrong_step_and_no_further() -> None:
    tree = solution("a", "b", "c")
    guide = guide_of({"Next step:\na": YES, "Next step:\nb": NO, "Next step:\nc": NO})
    said, tokens = asyncio.run(first_wrong(guide, tree))
    assert said == 1 and guide.counts["verdicts"] == 2
    assert tokens == judged(guide, tree, [1, 2]).tokens
    assert asyncio.run(first_wrong(guide_of(YES), tree))[0] == -1
    assert asyncio.run(first_wrong(guide_of("?"), tree))[0] is None
    late = guide_of({"Next step:\na": NO, "": "?"})
    assert asyncio.run(first_wrong(late, tree))[0] == 0
    draw = Scripted([YES, NO], logprob=-0.01)  # a tie is not below 0
    assert asyncio.run(first_wrong(guide_of(draw, votes=2), solution("a")))[0] == -1


def test_settings_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="greedy verdicts are all the same"):
        VerdictSettings(votes=3, temperature=0)
