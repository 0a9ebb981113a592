"""What a process that failed said last, in a line, and what to do where a package is missing."""

from __future__ import annotations

import re

MOST = 300  # characters
MISSING = re.compile(r"ModuleNotFoundError: No module named '(\w+)[\w.]*'")

# Packages whose names are not those of their modules; with what they need to ask here.
PACKAGES = {
    "agents": "openai-agents",
    "autogen_agentchat": "autogen-agentchat 'autogen-ext[openai]'",
    "autogen_ext": "'autogen-ext[openai]'",
    "haystack": "haystack-ai",
    "langchain": "langchain langchain-openai",
    "llama_index": "llama-index-core llama-index-llms-openai-like",
    "pydantic_ai": "'pydantic-ai-slim[openai]'",
    "smolagents": "'smolagents[openai]'",
}


def last_words(text: str, folder: str = "", interpreter: str = "") -> str:
    """The last lines of an output that fit; `folder` has another name in each run and is left out.

    A traceback's marks are left out too; a long line loses its middle.
    """
    text = text.replace(f"{folder}/", "") if folder else text
    lines = [" ".join(line.split()) for line in text.splitlines()]
    lines = [line for line in lines if line.strip("^~ ")]
    if not lines:
        return ""
    out, left = list[str](), MOST
    for line in reversed(lines):
        if out and len(line) > left:
            break
        out.append(line if len(line) <= left else f"{line[: left - 100]} ... {line[-95:]}")
        left -= len(line) + 3
    return " | ".join(reversed(out)) + _what_to_do(lines[-1], interpreter)


def _what_to_do(line: str, interpreter: str) -> str:
    found = MISSING.search(line)
    if found is None or not interpreter:
        return ""
    package = PACKAGES.get(found[1], found[1].replace("_", "-"))
    return f" ({interpreter} -m pip install {package}, or set program.python)"
