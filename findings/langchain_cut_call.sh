#!/bin/sh
# langchain 1.5.2: a streamed tool call that was cut off is completed and run; the same call in an answer sent whole is not.
#
# A call whose arguments end in the middle (finish_reason "length") is no JSON. In an answer that comes whole LangChain keeps it as an invalid call and
# the agent runs nothing. Streamed, the parts become a call by a parser that closes what is open: the tool runs with the arguments as far as they came,
# here with a path that is not the one that was meant, and nothing in the result tells. Nobody looks at finish_reason in between.
# Exits 0 while that is so, 1 when it has changed. Needs Python 3.11 or later and a package index.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check langchain==1.5.2 langchain-core==1.8.3
"$place/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult

CUT = '{"path": "/data/old", "keep": "/data/old/be'  # the model meant more: it stopped at max_tokens
RAN = []


def delete(path: str, keep: str = "") -> str:
    """Delete a folder but for what is kept."""
    RAN.append((path, keep))
    return "done"


class CutOff(BaseChatModel):
    """A model whose first answer is a call that was cut off, as an OpenAI-compatible server sends it."""

    streamed: bool

    @property
    def _llm_type(self):
        return "cut off"

    def bind_tools(self, tools, **more):
        return self

    def _generate(self, messages, stop=None, run_manager=None, **more):
        if messages[-1].type == "tool":
            return ChatResult(generations=[ChatGeneration(message=AIMessage("end"))])
        call = {"id": "1", "type": "function", "function": {"name": "delete", "arguments": CUT}}
        said = AIMessage("", additional_kwargs={"tool_calls": [call]}, response_metadata={"finish_reason": "length"})
        return ChatResult(generations=[ChatGeneration(message=said)])

    def _stream(self, messages, stop=None, run_manager=None, **more):
        if messages[-1].type == "tool":
            yield ChatGenerationChunk(message=AIMessageChunk("end"))
            return
        for n in range(0, len(CUT), 7):
            part = {"name": "delete" if not n else None, "id": "1" if not n else None}
            part |= {"args": CUT[n : n + 7], "index": 0, "type": "tool_call_chunk"}
            yield ChatGenerationChunk(message=AIMessageChunk("", tool_call_chunks=[part]))
        yield ChatGenerationChunk(message=AIMessageChunk("", response_metadata={"finish_reason": "length"}))


def runs(streamed):
    RAN.clear()
    agent = create_agent(CutOff(streamed=streamed), tools=[delete])
    asked = {"messages": [{"role": "user", "content": "clean up"}]}
    if streamed:
        for _ in agent.stream(asked, stream_mode="messages"):
            pass
    else:
        agent.invoke(asked)
    return list(RAN)


print("langchain", version("langchain"), "langchain-core", version("langchain-core"))
whole, streamed = runs(False), runs(True)
print("the model wrote:", CUT)
print("sent whole, the tool ran with:", whole)
print("streamed, the tool ran with:", streamed)
raise SystemExit(0 if whole == [] and streamed == [("/data/old", "/data/old/be")] else 1)
PYTHON
