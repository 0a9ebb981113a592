"""The agent of the tiny world as a process of its own: it knows nothing of Hornbeam's episodes."""

import json
import os
import sys
import urllib.request
from pathlib import Path

from hornbeam.tasks.lookup_world import doors, lookup
from hornbeam.tree.task import Task


def ask(messages):
    body = json.dumps({"model": "any", "messages": messages}).encode()
    headers = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
    url = f"{os.environ['OPENAI_BASE_URL']}/chat/completions"
    with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as answer:
        return json.load(answer)["choices"][0]["message"]["content"]


def walk(question, data):
    messages = [{"role": "user", "content": question}]
    task, note = Task("t", question, data=data), question
    while behind := doors(note):
        said = ask(messages)
        key = behind.get(said.strip())
        if key is None:
            return ""
        note = str(lookup(task, key))
        messages += [{"role": "assistant", "content": said}, {"role": "user", "content": note}]
    return note


def function(task, session):
    """The same as a function of a file."""
    answer = walk(task.question, task.data)
    session.reward(float(answer == task.answer))
    return answer


if __name__ == "__main__":
    told = json.loads(Path(sys.argv[1]).read_text())
    print(walk(told["question"], told["data"]))
