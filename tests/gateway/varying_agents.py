"""Agents that do not repeat themselves: `python varying_agents.py HOW COUNT`, a file of counts."""

import json
import sys
from pathlib import Path

from outside_agents import post, said


def count(file):
    """How many runs there were before this one."""
    path = Path(file)
    before = int(path.read_text()) if path.is_file() else 0
    path.write_text(str(before + 1))
    return before


def talk(words):
    """The last answer of a conversation, of these words and what was said."""
    messages = []
    for word in words:
        messages.append({"role": "user", "content": word})
        text = said(post({"messages": messages}))
        messages.append({"role": "assistant", "content": text})
    return text


def steady(run):
    """Repeats itself."""
    return talk(["a", "b", "c", "d"])


def second(run):
    """Says its run's number in the second message."""
    return talk(["a", f"b of run {run}", "c", "d"])


def first(run):
    """Says its run's number in the first message."""
    return talk([f"a of run {run}", "b", "c"])


def shorter(run):
    """Says one thing less in every run but the first."""
    return talk(["a", "b", "c"][: 3 if not run else 1])


def fails(run):
    """Fails in every run but the first, before it asks what it asked then."""
    text = talk(["a"])
    if run:
        raise SystemExit("it fails now")
    return text + talk(["a", "b", "c"])


def crowd(run):
    """Asks two things at once; in every run but the first one of them is another."""
    import threading

    heard = {}

    def ask(word):
        heard[word] = talk([word])

    left = "left" if not run else f"left of run {run}"
    talk(["a"])
    threads = [threading.Thread(target=ask, args=[word]) for word in (left, "right")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return talk([f"and {sorted(heard.values())}"])


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](count(sys.argv[2]))))
