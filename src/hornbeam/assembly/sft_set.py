"""SFT sets, JSON lines: answers, whole conversations, or ids.

An answer is {"messages": [{"role", "content"}, ...], "text": what the agent says}; a conversation
{"messages": [...]} or {"prompt": [...], "completion": [...]}, with "tools" where there are some, as
TRL's SFTTrainer takes it: what the assistant says is trained, all else is not. Ids are
{"input_ids", "assistant_masks", "vocabulary"}, the last the fingerprint of the chat they are of.
Where several policies learn, "agent" says whose answer it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from hornbeam.chat import Chat, Message
from hornbeam.chat.tool_text import uses_tools
from hornbeam.episode.reply import Reply
from hornbeam.errors import DataError
from hornbeam.formats.chats import CHATS
from hornbeam.formats.recorded_run import ImportedRun, Options
from hornbeam.programs.talk import MessageTurn, Turn
from hornbeam.tasks.records import read_records
from hornbeam.train.sft import Example
from hornbeam.tree.jsonl import json_line

ROLES = ("system", "user", "assistant", "tool")
EXACT = ("input_ids", "assistant_masks", "vocabulary")
TAKEN = ("messages", "prompt", "completion", "tools", "agent")  # of a conversation


class Exact(NamedTuple):
    """A conversation as ids. `trained` says which of them are; `vocabulary` whose they are."""

    ids: Sequence[int]
    trained: Sequence[int]
    vocabulary: str
    agent: str = ""

    def example(self, chat: Chat) -> Example:
        """As an example for a policy. Raises `DataError` where the ids are another chat's."""
        if self.vocabulary != chat.fingerprint():
            raise DataError(
                "[sft]: sft.data holds ids of another vocabulary or chat template"
                f" ({self.vocabulary}, this policy's is {chat.fingerprint()}): make it again with"
                " --model"
            )
        spans, at = [], 0
        for trained, many in groupby(self.trained):
            end = at + len(list(many))
            spans.append((self.ids[at:end], bool(trained)))
            at = end
        return Example(spans[0][0], spans[1:])


Shown = Sequence[Turn | MessageTurn] | Exact
Numbered = tuple[int, Shown]  # with the number of its line


def set_line(messages: Sequence[Message], reply: Reply, text: str | None = None) -> str:
    """One answer as a line of a set; `text` stands for what was said, where it was changed.

    One that was asked with tools is a conversation with them, of which it alone is learned.
    """
    if reply.tools:
        before = [{**m, "weight": 0} if m["role"] == "assistant" else m for m in messages]
        row = {"messages": [*before, reply.message], "tools": reply.tools, "agent": reply.agent}
        return json_line(row)
    said = reply.text if text is None else text
    return json_line({"messages": list(messages), "text": said, "agent": reply.agent})


def exact_line(example: Example, vocabulary: str, agent: str = "") -> str:
    """One example as a line of ids."""
    spans = [(example.prompt, False), *example.spans]
    ids = [token for span, _ in spans for token in span]
    mask = [int(trained) for span, trained in spans for _ in span]
    row = {"input_ids": ids, "assistant_masks": mask, "vocabulary": vocabulary}
    return json_line({**row, **({"agent": agent} if agent else {})})


def turns_of(run: ImportedRun) -> list[MessageTurn]:
    """What an agent says in a run, answer by answer."""
    return [
        MessageTurn(run.messages[:place], run.messages[place], run.agent, run.tools)
        for place in run.said
    ]


def read_set(path: Path, odd: Counter[str] | None = None) -> list[Shown]:
    """The rows of a set: answers and conversations as turns, ids as they are.

    `odd` counts columns that are not read. Raises `DataError` with file, line and what is wrong.
    """
    return [row for _, row in numbered_set(path, odd)]


def numbered_set(path: Path, odd: Counter[str] | None = None) -> Iterator[Numbered]:
    """The same rows with the numbers of their lines. Raises as `read_set` does."""
    for number, record in read_records(path):
        try:
            yield number, _row(record, Counter() if odd is None else odd)
        except DataError as error:
            raise DataError(f"{path}, line {number}: {error}") from error


def mentions_tools(shown: Shown) -> bool:
    """Whether a row has tools, calls of them or what they gave back."""
    for turn in () if isinstance(shown, Exact) else shown:
        if uses_tools(turn.messages):
            return True
        if isinstance(turn, MessageTurn) and uses_tools([turn.message], turn.tools):
            return True
    return False


def _row(record: dict[str, Any], odd: Counter[str]) -> Shown:
    if "input_ids" in record:
        return _exact(record)
    if ("messages" in record and "text" not in record) or "completion" in record:
        odd.update(key for key in record if key not in TAKEN)
        if record.get("chat_template_kwargs"):
            raise DataError("'chat_template_kwargs' is not taken: the template has its defaults")
        (run,) = CHATS.read(record, Options())
        empty = next((n for n in run.said if not _says(run.messages[n])), None)
        if empty is not None:
            raise DataError(f"message {empty + 1} of the assistant says nothing")
        return turns_of(run)
    wrong = _wrong(record)
    if wrong:
        raise DataError(wrong)
    return [Turn(record["messages"], record["text"], record.get("agent", ""))]


def _says(message: Message) -> bool:
    return bool(message["content"] or message.get("tool_calls"))


def _exact(record: Mapping[str, Any]) -> Exact:
    if {*record, "agent"} != {*EXACT, "agent"}:
        raise DataError(f"keys {', '.join(map(repr, EXACT))} (and 'agent') are expected of ids")
    ids, mask = record["input_ids"], record["assistant_masks"]
    for name, values in (("input_ids", ids), ("assistant_masks", mask)):
        good = isinstance(values, list) and all(type(v) is int and v >= 0 for v in values)
        if not good:
            raise DataError(f"{name!r} must be a list of integers of 0 and more")
    if len(ids) != len(mask) or not any(mask) or mask[0]:
        raise DataError(
            "'assistant_masks' has a 1 for every id that is trained, some and not the first, and a"
            f" 0 for all others: {len(ids)} ids, {len(mask)} of these"
        )
    if not isinstance(record["vocabulary"], str) or not isinstance(record.get("agent", ""), str):
        raise DataError("'vocabulary' and 'agent' must be texts")
    return Exact(ids, mask, record["vocabulary"], record.get("agent", ""))


def _wrong(record: dict[str, Any]) -> str:
    """What is wrong with an answer; "" where nothing is."""
    if {*record, "agent"} != {"messages", "text", "agent"}:
        return f"keys 'messages' and 'text' (and 'agent') are expected, not {sorted(record)}"
    if not isinstance(record.get("agent", ""), str):
        return "'agent' must be the name of an agent"
    messages, text = record["messages"], record["text"]
    if not isinstance(text, str) or not text:
        return "'text' must be what the agent says, a text that is not empty"
    if not isinstance(messages, list) or not messages:
        return "'messages' must be a list of at least one message"
    for place, message in enumerate(messages):
        expected = f"message {place} must be an object of 'role' and 'content', both texts"
        if not isinstance(message, dict) or set(message) != {"role", "content"}:
            return expected
        if not isinstance(message["content"], str) or not isinstance(message["role"], str):
            return expected
        if message["role"] not in ROLES:
            return f"message {place} has role {message['role']!r}: one of {', '.join(ROLES)}"
    return ""
