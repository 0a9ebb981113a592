"""Trees of text in a model's ids: what is rendered is what the model would have seen."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hornbeam.chat import ByteChat, assistant, end_of_answer, user
from hornbeam.chat.rendered import conversation, foreign, goes_on, has_ids, with_ids
from hornbeam.errors import ModelError
from hornbeam.tasks.steplabels import from_rows
from hornbeam.tree.nodes import Call, Node, Tree, ids
from little_chats import CHATML, GEMMA, chat_of

BYTES = ByteChat()
WORDS = st.text("ab c\n", min_size=1, max_size=6).map(str.strip).filter(bool)


def spell(tree: Tree, i: int) -> str:
    """The whole sequence of a node of bytes, ends of turns as bars."""
    return BYTES.spell(tree.sequence(i)).replace("\0", "|")


def test_a_conversation_with_tools_is_the_question_what_was_said_and_what_came_back():
    tree = Tree({"id": "q", "question": "2 + 2?"})
    tree.append(Node(0, text="CALC[2+2]", calls=(Call("calc", {}, "4"),), finish="stop"))
    tree.append(Node(1, text="ANSWER[4]", finish="stop", done=True))
    tree.append(Node(1, text="cut", finish="length", done=True))
    tree.append(Node(0, text="", error="gone"))
    out = with_ids(tree, BYTES)
    assert spell(out, 1) == "user: 2 + 2?|assistant: CALC[2+2]|"
    assert spell(out, 2) == spell(out, 1) + "user: 4|assistant: ANSWER[4]|"
    assert spell(out, 3) == spell(out, 1) + "user: 4|assistant: cut"  # no end was said
    assert not out.nodes[4].tokens
    assert [n.text for n in out.nodes] == [n.text for n in tree.nodes] and not has_ids(tree)
    assert sum(len(node.prompt) for node in out.nodes) < len(out.context(2)) + len(out.context(3))


def test_steps_of_one_answer_go_on_in_its_ids():
    tree = Tree({"id": "q", "question": "?"})
    tree.append(Node(0, text="one"))
    tree.append(Node(1, text="two\n"))
    tree.append(Node(2, text="three"))
    tree.append(Node(1, text="else", agent="other"))
    assert [goes_on(tree, i) for i in (1, 2, 3, 4)] == [False, True, True, False]
    out = with_ids(tree, BYTES)
    assert spell(out, 3) == "user: ?|assistant: one\ntwo\nthree|"
    assert BYTES.spell(out.nodes[2].tokens) == "two\n"  # a value is read at its last token
    assert spell(out, 4) == "user: ?\none|assistant: else|"
    tree.columns["q"] = [None, 0.5, None, 1.0, None]
    assert with_ids(tree, BYTES).columns == tree.columns


def test_messages_that_a_tree_keeps_are_what_is_rendered():
    root = Node(-1, messages=({"role": "system", "content": "Short."}, user("2 + 2?")))
    tree = Tree({"id": "q", "question": "2 + 2?"}, [root])
    tree.append(Node(0, text="4", finish="stop"))
    tree.append(Node(1, text="Yes.", messages=(user("Sure?"),), finish="stop", done=True))
    out = with_ids(tree, BYTES)
    said = "system: Short.|user: 2 + 2?|assistant: 4|user: Sure?|assistant: Yes.|"
    assert spell(out, 2) == said
    assert conversation(tree, 2)[0][2] == assistant("4")


def test_others_words_stand_behind_their_names():
    tree = Tree({"id": "q", "question": "?"})
    tree.append(Node(0, text="plan", agent="planner", finish="stop"))
    tree.append(Node(1, text="solve", agent="solver", finish="stop"))
    tree.append(Node(2, text="judge", agent="planner", finish="stop"))
    out = with_ids(tree, BYTES)
    assert spell(out, 2) == "user: ?\nplanner: plan|assistant: solve|"
    assert spell(out, 3) == "user: ?|assistant: plan|user: solver: solve|assistant: judge|"


@given(st.lists(st.tuples(st.lists(WORDS, min_size=1, max_size=3), st.booleans()), min_size=1))
def test_steps_of_labels_get_the_ids_that_their_reader_writes(rows):
    result = [
        {"prompt": "2 + 2?", "completions": steps, "labels": [good] * len(steps)}
        for steps, good in rows
    ]
    (bare,), (exact,) = from_rows(result, "trl"), from_rows(result, "trl", chat=BYTES)
    out = with_ids(bare, BYTES)
    assert [out.sequence(i) for i in range(len(out))] == [
        exact.sequence(i) for i in range(len(exact))
    ]
    assert [n.tokens for n in out.nodes] == [n.tokens for n in exact.nodes]
    assert with_ids(exact, BYTES).nodes == out.nodes  # ids that were there count for nothing


def test_a_real_template_and_one_that_refuses():
    words = chat_of(CHATML)
    tree = Tree({"id": "q", "question": "two"})
    tree.append(Node(0, text="one <|im_end|> two", finish="stop", done=True))
    out = with_ids(tree, words)
    assert out.context(1) == words.render([user("two")])
    assert list(out.nodes[1].tokens).count(end_of_answer(words)) == 1  # what was said ends nothing
    root = Node(-1, messages=({"role": "system", "content": "s"}, user("two")))
    with pytest.raises(ModelError, match="System role not supported"):
        with_ids(
            Tree({"id": "q"}, [root, Node(0, text="one")]),
            chat_of(GEMMA, eos="<end_of_turn>", special=("<start_of_turn>",)),
        )


def test_ids_of_another_model_are_told_by_what_they_spell():
    tree = Tree({"id": "q"})
    for text in ("a", "b", "c"):
        tree.append(Node(0, text=text, tokens=ids(BYTES.encode(text))))
    assert not foreign(tree, BYTES)
    for text in ("x", "y", "z", "w"):
        tree.append(Node(0, text=text, tokens=ids([70])))
    assert foreign(tree, BYTES)
    assert foreign(Tree({"id": "q"}, [Node(-1), Node(0, text="a", tokens=ids([99999]))]), BYTES)
