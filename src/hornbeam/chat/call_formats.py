"""The families of tool calls, and an answer's text read by one of them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from hornbeam.chat import json_calls, tagged_calls
from hornbeam.chat.call_scan import CallFormat, Found, schemas_of
from hornbeam.chat.tool_calls import Spoken, ToolCall, numbered_id

HERMES = json_calls.HERMES

# In the order in which they are tried on what a template writes.
FORMATS: dict[str, CallFormat] = {
    each.name: each
    for each in (
        HERMES,
        tagged_calls.QWEN_XML,
        tagged_calls.GLM,
        json_calls.LLAMA3,
        json_calls.MISTRAL_LIST,
        json_calls.MISTRAL,
        json_calls.DEEPSEEK_FENCED,
        json_calls.DEEPSEEK,
        json_calls.KIMI,
        json_calls.HARMONY,
        tagged_calls.GEMMA4,
        tagged_calls.FUNCTION_GEMMA,
        tagged_calls.INVOKE,
        tagged_calls.LFM2,
        json_calls.PHI4,
        json_calls.COHERE,
        json_calls.APERTUS,
        json_calls.TAGGED_LIST,
        json_calls.FUNCTION_TAG,
        tagged_calls.OLMO,
    )
}

# Their names, for settings; "" is the one that the template shows.
# fmt: off
ToolFormat = Literal[
    "", "hermes", "qwen_xml", "glm", "llama3", "mistral_list", "mistral", "deepseek_fenced",
    "deepseek", "kimi", "harmony", "gemma4", "function_gemma", "invoke", "lfm2", "phi4", "cohere",
    "apertus", "tagged_list", "function_tag", "olmo",
]
# fmt: on

# What stands around reasoning, by the tag that closes it.
THOUGHTS = {
    "</think>": "<think>",
    "[/THINK]": "[THINK]",
    "<channel|>": "<|channel>thought",
    "<|END_THINKING|>": "<|START_THINKING|>",
    "</seed:think>": "<seed:think>",
}
THINK = "<think>", "</think>"
CHANNEL = re.compile(
    r"(?:<\|start\|>assistant)?\s*<\|channel\|>(?P<name>\w+)[^<]*(?:<\|constrain\|>\w*)?<\|message\|>"
    r"(?P<body>.*?)(?:<\|end\|>|<\|return\|>|(?=<\|start\|>)|\Z)",
    re.DOTALL,
)


def thought_of(
    text: str, tags: tuple[str, str] | None = THINK, begun: bool = False
) -> tuple[str, str]:
    """(reasoning, the rest) of an answer that begins with a thought; `begun`: in the prompt.

    Exactly the text where there is no thought.
    """
    if tags is None:
        return "", text
    opens, closes = tags
    opened = text.lstrip().startswith(opens)
    if not opened and not begun:
        return "", text
    before, _, rest = text.partition(closes)
    thought = before.lstrip().removeprefix(opens) if opened else before
    return thought.strip("\n"), rest.lstrip("\n")


def channels_of(text: str) -> tuple[str, str]:
    """(reasoning, text) of an answer in channels, as GPT-OSS has them; calls are out already."""
    found = list(CHANNEL.finditer(text))
    if not found:
        return "", text
    thoughts = [m["body"] for m in found if m["name"] == "analysis"]
    said = [m["body"] for m in found if m["name"] != "analysis"]
    return "\n".join(thoughts), "\n".join(each for each in said if each.strip())


def read(
    text: str,
    tokens: Sequence[int],
    tools: Sequence[Any] = (),
    how: CallFormat | None = HERMES,
    tags: tuple[str, str] | None = THINK,
    begun: bool = False,
) -> Spoken:
    """An answer's text as its family has it; its ids name its calls.

    `how` is None where the family has no calls, `tags` where it has no thoughts. Without reasoning
    and calls the text is just the answer's.
    """
    reasoning, rest = thought_of(text, tags, begun)
    found = how.find(rest, schemas_of(tools)) if how else []
    kept, at = "", 0
    for call in found:
        kept, at = kept + rest[at : call.start], call.stop
    kept += rest[at:]
    if how is not None and how.name == "harmony":
        thought, kept = channels_of(kept)
        reasoning = thought or reasoning
    if found:
        kept = kept.strip()
    return Spoken(kept, reasoning, tuple(_call(call, tokens, n) for n, call in enumerate(found)))


def _call(found: Found, tokens: Sequence[int], number: int) -> ToolCall:
    own = found.id or numbered_id(tokens, number)
    return ToolCall(own, found.name, found.arguments, found.raw, found.problem)


def written(message: Mapping[str, Any]) -> str:
    """A message's text with its calls behind it, as Hermes has them."""
    reasoning, text = message.get("reasoning_content") or "", message["content"] or ""
    out = f"<think>\n{reasoning}\n</think>\n\n{text}" if reasoning else text
    for call in message.get("tool_calls") or ():
        held = call.get("function", call)
        arguments = held.get("arguments")
        if not isinstance(arguments, str):
            arguments = json.dumps(arguments, ensure_ascii=False)
        name = json.dumps(held.get("name", ""), ensure_ascii=False)
        out += f'\n<tool_call>\n{{"name": {name}, "arguments": {arguments}}}\n</tool_call>'
    return out.removeprefix("\n")
