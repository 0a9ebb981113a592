"""Rewards of delegations by hand: weights, format, several leaves below, experts."""

from dataclasses import replace

import pytest

from hornbeam.errors import DataError, RecipeError
from hornbeam.score.delegation import contains, delegation_figures, last_result, scope_rewards
from hornbeam.score.rules import DelegationReward
from hornbeam.settings import build
from hornbeam.tree.nodes import Call, Node, Tree

PAPER = DelegationReward(answer=r"Answer\[(.*?)\]", gold="towns")


def said(parent: int, scope: str, text: str, **more) -> Node:
    return Node(parent, "sub" if scope else "main", scope, text=text, finish="stop", **more)


def tree() -> Tree:
    """The main agent asks; sub.1 finds Ely; then two answers, one of them right."""
    search = Call("search", {"query": "Ann"}, "Ann was born in Ely", scope="sub.1")
    nodes = [
        Node(-1),
        said(0, "", "ASK[Where?]"),
        said(1, "sub.1", "SEARCH[Ann]", calls=(search,)),
        said(2, "sub.1", "Answer[In Ely.]"),
        said(3, "", "Answer[yes]", done=True, answer="yes"),
        said(3, "", "Answer[no]", done=True, answer="no"),
    ]
    task = {"id": "t", "answer": "no", "data": {"towns": ["Rye", "Ely"]}}
    return Tree(task, nodes, {"reward": [None] * 4 + [0.0, 1.0]})


def rewards(t: Tree, how: DelegationReward = PAPER) -> list:
    return scope_rewards(t, how)["reward"]


def changed(i: int, **values) -> Tree:
    t = tree()
    t.nodes[i] = replace(t.nodes[i], **values)
    return t


def test_the_weights_of_the_paper_by_hand() -> None:
    # half of the leaves below are right; the town stands in the reply
    assert rewards(tree()) == pytest.approx([None] * 3 + [0.1 + 0.4 * 0.5 + 0.5, 0.1, 1.0])


def test_figures_count_formats_and_delegations() -> None:
    result = delegation_figures([tree()], PAPER)
    assert result == {
        "format": 1.0,
        "delegation_format": 1.0,  # one, though both leaves share it
        "delegations": 1.0,
        "delegations_99": 1.0,
    }
    cut = changed(3, finish="length")
    none = Tree(cut.task, [Node(-1), said(0, "", "hm", done=True)], {"reward": [None, 0.0]})
    result = delegation_figures([tree(), cut, none], PAPER)
    assert result["format"] == pytest.approx(4 / 5) and result["delegation_format"] == 0.5
    assert result["delegations"] == pytest.approx(4 / 5) and result["delegations_99"] == 1
    assert delegation_figures([], PAPER) == {}
    assert delegation_figures([none], PAPER)["delegation_format"] == 0.0


def test_outcomes_are_kept_and_twice_is_once() -> None:
    t = tree()
    t.columns.update(scope_rewards(t, PAPER))
    assert t.columns["outcome"] == [None] * 4 + [0.0, 1.0]
    once = dict(t.columns)
    t.columns.update(scope_rewards(t, PAPER))
    assert t.columns == once


@pytest.mark.parametrize(
    "bad", [{"finish": "length"}, {"text": "In Ely."}, {"finish": "too long", "text": ""}]
)
def test_a_bad_format_is_worth_nothing(bad: dict) -> None:
    assert rewards(changed(3, **bad))[3] == 0.0


def test_a_main_agent_that_is_cut_off_or_has_no_answer_gets_nothing() -> None:
    assert rewards(changed(5, finish="length"))[3:] == pytest.approx([0.8, 0.1, 0.0])
    assert rewards(changed(5, answer=None))[5] == 0.0


def test_leaves_without_an_outcome_count_nowhere() -> None:
    t = tree()
    t.columns["reward"][4] = None
    assert rewards(t) == pytest.approx([None, None, None, 1.0, None, 1.0])
    t.columns["reward"][5] = None
    assert rewards(t) == [None] * 6


def test_experts() -> None:
    only = {"format": 0, "correct": 0, "expert": 1}

    def found(**more) -> float | None:
        return rewards(tree(), DelegationReward(**{**only, "gold": "towns", **more}))[3]

    assert found() == 1.0
    assert found(gold="") == 0.0
    assert found(rule="em", answer=r"In (\w+)") == 1.0 and found(rule="em") == 0.0
    assert found(rule="f1", answer=r"\[(.*)\]") == pytest.approx(2 / 3)
    assert found(reads="result", rule="exact") == 0.0 and found(reads="result") == 1.0
    t = tree()
    t.columns["value"] = [None, None, None, 0.5, None, None]
    judged = DelegationReward(**only, column="value")
    assert rewards(t, judged)[3] == 0.75
    t.columns["value"][3] = None
    assert rewards(t, judged)[3] is None


def test_chunks_of_a_reply_are_read_as_one_and_results_as_they_were() -> None:
    t = changed(2, text="Answer[In", finish="chunk")
    t.nodes[3] = replace(t.nodes[3], text=" Ely.]")
    assert rewards(t)[3] == pytest.approx(0.8)
    assert last_result(t, 3) == "Ann was born in Ely"
    assert last_result(t, 1) == ""
    assert contains("the river Ely runs", "ely") == 1.0
    assert contains("Elysium", "Ely") == 0.0 and contains("a", "the") == 0.0


@pytest.mark.parametrize(
    ("how", "text"),
    [({"gold": "town"}, r"task 't': no data\.town"), ({"column": "v"}, "no column 'v'")],
)
def test_what_is_missing_is_named(how: dict, text: str) -> None:
    with pytest.raises(DataError, match=text):
        rewards(tree(), DelegationReward(**how))


def test_who_ends_the_episode_is_the_main_agent() -> None:
    t = tree()
    nodes = [*t.nodes[:3], replace(t.nodes[3], done=True, answer="no")]
    ends = Tree(t.task, nodes, {"reward": [None, None, None, 1.0]})
    assert rewards(ends) == [None, None, None, 1.0]


def test_wrong_weights_are_told() -> None:
    with pytest.raises(RecipeError, match="expert = -1"):
        build("reward", {"delegation": DelegationReward}, "delegation", {"expert": -1})
