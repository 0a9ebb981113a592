"""Native tool calls through a server that chats: tools go out, calls come back, in its own form."""

import asyncio
import json

import pytest

from hornbeam.chat import PieceChat, TemplateChat
from hornbeam.chat.ready_templates import with_template
from hornbeam.engine.remote.chat_completions import ChatEngine, ChatSettings
from hornbeam.engine.scripted import Scripted
from hornbeam.grow.effects import Speaker
from hornbeam.grow.grower import Grower
from hornbeam.models import tiny_model
from hornbeam.programs import make_program
from hornbeam.search import Independent
from hornbeam.store.database import TreeKey
from hornbeam.tools import calculate
from hornbeam.tools.schema import schema_of
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task
from hornbeam.workers.local_workers import LocalWorkers
from little_server import LittleServer, Manners

CALL = '<tool_call>\n{"name": "calculator", "arguments": {"expression":  "12 * 3"}}\n</tool_call>'
BROKEN = '<tool_call>\n{"name": "calculator", "arguments": {"expression": 12}}\n</tool_call>'
PROBED = {"strange sentence": "an oak"}
SCRIPT = {"3 boxes": "Well." + CALL, "36": "It is 36."}


def grown(script, chat=None):
    """(the tree, what the server was sent) of one episode of the program "tools"."""
    with LittleServer(Scripted(PROBED | script), manners=Manners(chat_only=True)) as server:
        engine = ChatEngine(ChatSettings(url=server.url), chat)
        program, _ = make_program("tools", {"answer": "number"})
        workers = LocalWorkers({"calculator": calculate})
        grower = Grower(program, {"solver": Speaker(engine)}, Independent(n=1), tools=workers)

        async def grow():
            tree = Tree(Task("boxes", "3 boxes of 12?", "36").to_json(), seed=1)
            try:
                return await grower.grow(TreeKey("train", 0, 0), tree)
            finally:
                await engine.aclose()

        tree = asyncio.run(grow())
        return tree, [body for body in server.seen if "tools" in body]


@pytest.mark.parametrize("kept", ["pieces", "ids"])
def test_tools_go_to_the_server_and_its_calls_are_run(kept) -> None:
    own = with_template(tiny_model.tokenizer(), "tiny") if kept == "ids" else None
    tree, sent = grown(SCRIPT, TemplateChat(own, "tiny") if own else PieceChat())
    assert [(tree.nodes[i].answer, tree.nodes[i].error) for i in tree.leaves()] == [("36", "")]
    assert [(c.tool, dict(c.arguments), c.result) for n in tree.nodes for c in n.calls] == [
        ("calculator", {"expression": "12 * 3"}, "36")
    ]
    assert [body["tools"] for body in sent] == [[schema_of("calculator", calculate)]] * 2
    said, heard = sent[1]["messages"][-2:]
    (call,) = said["tool_calls"]
    assert (said["content"], call["type"]) == ("Well.", "function")
    assert json.loads(call["function"]["arguments"]) == {"expression": "12 * 3"}
    if kept == "pieces":
        assert call["function"]["arguments"] == '{"expression":  "12 * 3"}'  # as it was said
    assert heard == {
        "role": "tool",
        "content": "36",
        "tool_call_id": call["id"],
        "name": "calculator",
    }


def test_what_a_server_calls_wrongly_is_told_to_it() -> None:
    script = {"3 boxes": BROKEN, "must be string": CALL, "36": "36"}
    tree, sent = grown(script)
    assert [(tree.nodes[i].answer, tree.nodes[i].error) for i in tree.leaves()] == [("36", "")]
    told = [m["content"] for m in sent[1]["messages"] if m["role"] == "tool"]
    assert told == ["error: the arguments do not fit: expression must be string, not 12"]
