"""Two agents by name: the main one asks, a sub-agent is sent on errands; nothing of Hornbeam."""

import json
import os
import sys
import urllib.request


def ask(name, messages):
    body = json.dumps({"model": name, "messages": messages}).encode()
    headers = {"Authorization": f"Bearer {os.environ['OPENAI_API_KEY']}"}
    url = f"{os.environ['OPENAI_BASE_URL']}/chat/completions"
    with urllib.request.urlopen(urllib.request.Request(url, body, headers)) as answer:
        return json.load(answer)["choices"][0]["message"]["content"]


def seek(note):
    messages = [{"role": "system", "content": "seek"}, {"role": "user", "content": note}]
    for _ in range(2):
        said = ask("seeker", messages)
        messages += [{"role": "assistant", "content": said}, {"role": "user", "content": "and?"}]
    return said


def run(question):
    messages = [{"role": "user", "content": question}]
    for _ in range(2):
        said = ask("guide", messages)
        found = seek(f"{said}?")
        messages += [{"role": "assistant", "content": said}, {"role": "user", "content": found}]
    return ask("guide", messages)


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1])))
