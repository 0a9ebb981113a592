"""An agent outside: asks twice over HTTP, and prints the second answer."""

import json
import os
import sys
import urllib.request


def ask(messages):
    request = urllib.request.Request(
        os.environ["OPENAI_BASE_URL"] + "/chat/completions",
        json.dumps({"model": "any", "messages": messages}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)["choices"][0]["message"]


question = {"role": "user", "content": sys.argv[1]}
first = ask([question])
second = ask([question, first, {"role": "user", "content": "Again?"}])
print(second["content"])
