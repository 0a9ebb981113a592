"""Text in pieces: nothing is lost, messages stay apart, and a count is near one of tokens."""

from hypothesis import given
from hypothesis import strategies as st

from hornbeam.chat import PieceChat, assistant, user
from hornbeam.tree.nodes import common_prefix

CHAT = PieceChat()
TEXTS = st.text(st.characters(exclude_categories=["Cs"]))


@given(TEXTS)
def test_a_text_comes_back_and_holds_no_end(text):
    tokens = CHAT.encode(text)
    assert CHAT.text(tokens) == CHAT.decode([*tokens, 0]) == text and 0 not in tokens
    assert all(0 < token < 2**31 for token in tokens)


@given(st.lists(st.tuples(st.sampled_from(["user", "assistant"]), TEXTS), min_size=1))
def test_a_conversation_that_goes_on_begins_as_it_was(turns):
    messages = [{"role": role, "content": text} for role, text in turns]
    prompt = CHAT.render(messages)
    answer = [*CHAT.encode("an oak"), 0]
    longer = CHAT.render([*messages, assistant("an oak"), user("?")], {len(messages): answer})
    assert longer == CHAT.render([*messages, assistant("an oak"), user("?")])
    assert list(longer[: len(prompt) + len(answer)]) == [*prompt, *answer]


def test_what_else_a_message_has_makes_another_prompt():
    plain, named = CHAT.render([user("hi")]), CHAT.render([{**user("hi"), "name": "kim"}])
    assert common_prefix(plain, named) < len(plain) and CHAT.decode(named).startswith("user {")


def test_four_characters_are_one_id():
    assert [len(CHAT.encode(text)) for text in ("", "a", "abcd", "abcde", "äöü", "木木")] == [
        *(0, 1, 1, 2, 3, 2)
    ]
