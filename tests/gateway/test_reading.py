"""What of a request is not read again is what it would be read as."""

import json

from hypothesis import given
from hypothesis import strategies as st

from hornbeam.gateway import chat_endpoint
from hornbeam.gateway.asked import ReadRequest
from hornbeam.gateway.session import Keys, key_of

LEAF = st.sampled_from([None, 1, True, 1.0, 0, False, "x", "y", ""])
ARGUMENTS = st.dictionaries(st.sampled_from(["a", "b"]), LEAF) | st.sampled_from(['{"a": 1}', None])
CALLS = st.builds(
    lambda ident, held: [{"id": ident, "function": {"name": "f", "arguments": held}}],
    *(st.sampled_from(["c", "d"]), ARGUMENTS),
)
PARTS = st.lists(st.builds(lambda t: {"type": "text", "text": t}, st.sampled_from(["x", "y"])))
MESSAGES = st.one_of(
    st.builds(lambda t: {"role": "user", "content": t}, st.sampled_from(["x", "y", None]) | PARTS),
    st.builds(lambda c: {"role": "assistant", "content": None, "tool_calls": c}, CALLS),
    st.builds(lambda t: {"role": "tool", "content": t, "tool_call_id": "c"}, st.just("x")),
)
TOOLS = st.lists(
    st.builds(
        lambda name, leaf: {
            "type": "function",
            "function": {"name": name, "parameters": {"a": leaf}},
        },
        *(st.sampled_from(["f", "g"]), LEAF),
    ),
    max_size=2,
)
BODIES = st.fixed_dictionaries(
    {"messages": st.lists(MESSAGES, min_size=1, max_size=4), "tools": TOOLS},
    optional={"max_tokens": st.integers(1, 2), "n": st.integers(1, 2)},
)


def written(value):
    return json.dumps(value, sort_keys=True)


@given(st.lists(BODIES, max_size=5), st.lists(st.sampled_from(["one", "two"]), min_size=5))
def test_requests_that_go_on_are_read_as_each_alone(bodies, agents):
    before, keys = ReadRequest(), Keys()
    for body, agent in zip(bodies, agents):
        asked, alone = chat_endpoint.read(body, before), chat_endpoint.read(body)
        assert asked == alone
        assert written([asked.messages, asked.tools]) == written([alone.messages, alone.tools])
        assert keys.of(agent, asked) == key_of(agent, alone)


def test_what_did_not_change_is_one_object():
    before, tool = ReadRequest(), {"type": "function", "function": {"name": "f"}}
    messages = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    first = chat_endpoint.read({"messages": messages[:1], "tools": [tool]}, before)
    again = json.loads(json.dumps({"messages": messages, "tools": [tool]}))
    second = chat_endpoint.read(again, before)
    assert second.messages[0] is first.messages[0] and second.tools is first.tools
