"""The agent of bench/gateway_kills.py: four turns of a talk, by the standard library alone.

While it runs, a file with its number lies in the folder PIDS, for who ends it.
"""

import http.client
import json
import os
import sys
import time
from urllib.parse import urlsplit

TURNS = 4


def post(address, path, body, key="", patient=False):
    """The answer to a request; a `patient` sender asks again where nobody is there."""
    while True:
        link = http.client.HTTPConnection(address.hostname, address.port, timeout=60)
        try:
            headers = {"authorization": f"Bearer {key}"} if key else {}
            link.request("POST", path, json.dumps(body), headers)
            answer = link.getresponse()
            told = json.loads(answer.read())
            if answer.status == 200 or (answer.status < 500 and not patient):
                return told
            if answer.status < 500:
                raise SystemExit(f"{answer.status}: {told}")
        except (OSError, http.client.HTTPException, ValueError):
            if not patient:
                raise
        finally:
            link.close()
        time.sleep(0.02)


def talk(root, key, question, patient=False):
    """What it says last."""
    address = urlsplit(root)
    messages, said = [{"role": "user", "content": question}], ""
    for turn in range(TURNS):
        body = {"model": "walker", "messages": messages}
        answer = post(address, f"{address.path}/v1/chat/completions", body, key, patient)
        said = answer["choices"][0]["message"]["content"]
        messages += [{"role": "assistant", "content": said}, {"role": "user", "content": f"{turn}"}]
    return said


if __name__ == "__main__":
    mine = os.path.join(os.environ["PIDS"], str(os.getpid()))
    with open(mine, "w"):
        pass
    with open(sys.argv[1]) as file:
        task = json.load(file)
    print(talk(os.environ["HORNBEAM_SESSION"], os.environ["OPENAI_API_KEY"], task["question"]))
    os.unlink(mine)
