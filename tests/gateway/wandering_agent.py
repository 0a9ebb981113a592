"""An agent whose prompt holds something that varies: `python wandering_agent.py KIND {task}`."""

import os
import random
import sys
import time
import uuid
from pathlib import Path

from outside_agents import ADD, post

SAID = {
    "steady": lambda: "nothing",
    "clock": lambda: f"it is {time.strftime('%Y-%m-%d %H:%M:%S')}.{time.time_ns() % 10**6:06}",
    "epoch": lambda: f"at {time.time()}",
    "id": lambda: f"session {uuid.uuid4()}",
    "folder": os.getcwd,
    "number": lambda: f"your seed is {random.randint(0, 10**9)} today",
    "order": lambda: " ".join({"apple", "pear", "plum", "fig", "lime", "kiwi"}),
    "text": lambda: "".join(random.choice("abcdefgh") for _ in range(30)),
    "object": lambda: repr(object()),
    "both": lambda: f"run {uuid.uuid4()} in {os.getcwd()}",
}


def talk(kind, question):
    """Calls what it is told to call, and answers."""
    messages = [{"role": "system", "content": SAID[kind]()}, {"role": "user", "content": question}]
    for _ in range(4):
        message = post({"messages": messages, "tools": [ADD]})["choices"][0]["message"]
        messages.append(message)
        calls = message.get("tool_calls") or []
        if not calls:
            break
        messages += [{"role": "tool", "tool_call_id": c["id"], "content": "4"} for c in calls]
    return message["content"]


if __name__ == "__main__":
    kind = sys.argv[1]
    if kind == "mute":
        print("I ask nobody")
    elif kind == "fails":
        sys.exit("a word of its own")
    elif kind == "course":
        file = Path(sys.argv[2])  # which grows with every run
        with file.open("a") as stream:
            stream.write("x")
        for _ in range(len(file.read_text())):
            text = talk("steady", "?")
        print(text)
    else:
        print(talk(kind, sys.argv[2]))
