"""Clients of searches that are served: are their answers those of `hornbeam search`?

    python bench/search_clients.py --out DIR [--questions 8] [--max-batch 16] [--clients PYTHON]
        [--set KEY=VALUE ...] [--json FILE]

`hornbeam search` answers the first SVAMP questions by four methods; then `hornbeam gateway` serves
them, on an empty folder, and each client asks for all answers at once: the standard library (chat
completions and lists of prompts), curl, and where PYTHON has them OpenAI's client (plain, streamed,
responses) and lm-eval (`local-chat-completions`, `local-completions`). Prints how many answers
are equal, and the seconds of the first client, which pays for all searches; what is known is told
to the others from the store. In batches of several the last bit of a log-prob depends on who shares
a batch: max_batch = 1 is exact.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

RECIPE = """
[model]
name = "smollm2-135m"
[agents.solver]
max_tokens = 48
segment = {by = "tokens", tokens = 16}
[program]
name = "single"
system = "Answer with a number."
answer = "number"
[[tasks.eval]]
source = "svamp"
split = "test"
count = COUNT
[reward]
rule = "numeric"
[engine]
max_batch = BATCH
[guides.value]
kind = "likelihood"
"""
METHODS = {
    "majority-4": 'choose = "majority"\nn = 4',
    "best-of-4": 'choose = "best"\nn = 4',
    "beam-2x2": 'strategy = "beam"\nchoose = "kept"\nbeams = 2\nwidth = 2',
    "mcts-4": 'strategy = "mcts"\nchoose = "q"\nsimulations = 4\nchildren = 2',
}
OPENAI = """
import asyncio, json, sys
from openai import AsyncOpenAI

async def main(url, pairs):
    client = AsyncOpenAI(base_url=url + "/v1", api_key="none", timeout=600)
    async def plain(n, q):
        told = await client.chat.completions.create(
            model=f"hornbeam/{n}", messages=[{"role": "user", "content": q}])
        return told.choices[0].message.content
    async def streamed(n, q):
        told = await client.chat.completions.create(
            model=f"hornbeam/{n}", messages=[{"role": "user", "content": q}], stream=True)
        return "".join([c.choices[0].delta.content or "" async for c in told])
    async def responses(n, q):
        return (await client.responses.create(model=f"hornbeam/{n}", input=q)).output_text
    return {way.__name__: await asyncio.gather(*(way(n, q) for n, q in pairs))
            for way in (plain, streamed, responses)}

url, pairs = json.load(sys.stdin)
print(json.dumps(asyncio.run(main(url, pairs))))
"""
TASK = """
task: served
dataset_path: json
dataset_kwargs: {data_files: {test: FILE}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n\\n\\n"], max_gen_toks: 64}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""
Pairs = list[tuple[str, str]]  # (method, question)


def hornbeam(*words: str) -> list[str]:
    """A command line of ours."""
    return [sys.executable, "-m", "hornbeam", *words]


def searched(
    recipe: Path, folder: Path, sets: list[str]
) -> tuple[dict[tuple[str, str], str], float]:
    """(answers of `hornbeam search`, seconds)."""
    began = time.perf_counter()
    subprocess.run(hornbeam("search", str(recipe), "--out", str(folder), *sets), check=True)
    result = json.loads((folder / "search.json").read_text())
    answers = {
        (search["method"], question["question"]): search["answer"]
        for question in reversed(result["questions"])
        for search in question["searches"]
    }
    return answers, time.perf_counter() - began


def post(url: str, body: Any) -> Any:
    """The answer to a request."""
    head = {"Content-Type": "application/json"}
    sent = urllib.request.Request(url, json.dumps(body).encode(), head)
    with urllib.request.urlopen(sent, timeout=3600) as got:
        return json.load(got)


def chat(name: str, question: str) -> dict[str, Any]:
    """The body of a chat completion."""
    return {"model": f"hornbeam/{name}", "messages": [{"role": "user", "content": question}]}


def library(url: str, pairs: Pairs) -> list[str]:
    """Chat completions by the standard library, all at once."""
    with ThreadPoolExecutor(len(pairs)) as pool:
        told = pool.map(lambda pair: post(f"{url}/v1/chat/completions", chat(*pair)), pairs)
        return [each["choices"][0]["message"]["content"] for each in told]


def prompts(url: str, pairs: Pairs) -> list[str]:
    """Lists of prompts to completions, one a method."""
    out: dict[tuple[str, str], str] = {}
    for name in dict.fromkeys(name for name, _ in pairs):
        asked = [question for other, question in pairs if other == name]
        told = post(f"{url}/v1/completions", {"model": f"hornbeam/{name}", "prompt": asked})
        out |= {(name, q): choice["text"] for q, choice in zip(asked, told["choices"])}
    return [out[pair] for pair in pairs]


def curl(url: str, pairs: Pairs) -> list[str]:
    """One after the other by curl."""
    out = []
    for pair in pairs:
        command = ["curl", "-sf", f"{url}/v1/chat/completions", "-d", json.dumps(chat(*pair))]
        told = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        out.append(told["choices"][0]["message"]["content"])
    return out


def lm_eval(python: str, url: str, pairs: Pairs, folder: Path, kind: str) -> list[str]:
    """By lm-eval, a run a method."""
    questions = list(dict.fromkeys(question for _, question in pairs))
    rows = [json.dumps({"question": q, "answer": ""}) + "\n" for q in questions]
    (folder / "served.jsonl").write_text("".join(rows))
    (folder / "served.yaml").write_text(TASK.replace("FILE", str(folder / "served.jsonl")))
    chats = kind == "local-chat-completions"
    path = "chat/completions" if chats else "completions"
    more = "" if chats else ",tokenizer_backend=None,tokenized_requests=False"
    out: dict[tuple[str, str], str] = {}
    for name in dict.fromkeys(name for name, _ in pairs):
        model = f"model=hornbeam/{name},base_url={url}/v1/{path},num_concurrent=8{more}"
        words = ["run", "--model", kind, "--model_args", model, "--tasks", "served"]
        words += ["--include_path", str(folder), "--log_samples"]
        words += ["--apply_chat_template"] if chats else ["--batch_size", "4"]
        into = folder / f"{kind}-{name}"
        command = [python, "-m", "lm_eval", *words, "--output_path", str(into)]
        subprocess.run(command, check=True, capture_output=True)
        for file in into.rglob("samples*.jsonl"):
            for sample in map(json.loads, file.read_text().splitlines()):
                out[name, sample["doc"]["question"]] = sample["resps"][0][0]
    return [out[pair] for pair in pairs]


def clients(how: argparse.Namespace, url: str, pairs: Pairs) -> dict[str, tuple[list[str], float]]:
    """(answers, seconds) of each client; the first one's searches are known to the others."""
    found: dict[str, tuple[list[str], float]] = {}
    ways: dict[str, Any] = {"standard library, chat completions": library}
    ways |= {"standard library, lists of prompts": prompts, "curl": curl}
    for name, way in ways.items():
        began = time.perf_counter()
        found[name] = way(url, pairs), time.perf_counter() - began
    if how.clients:
        command = [how.clients, "-c", OPENAI]
        sent = json.dumps([url, pairs])
        done = subprocess.run(command, input=sent, text=True, capture_output=True, check=True)
        for name, answers in json.loads(done.stdout).items():
            found[f"OpenAI's client, {name}"] = answers, 0.0
        for kind in ("local-chat-completions", "local-completions"):
            found[f"lm-eval, {kind}"] = lm_eval(how.clients, url, pairs, how.out, kind), 0.0
    return found


def main() -> None:
    """Search, serve, ask, compare."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--questions", type=int, default=8)
    parser.add_argument("--max-batch", type=int, default=16)
    parser.add_argument("--clients", default="")
    parser.add_argument("--set", action="append", default=[], dest="sets")
    parser.add_argument("--json", type=Path)
    how = parser.parse_args()
    how.out = how.out.resolve()
    how.out.mkdir(parents=True)
    recipe = how.out / "recipe.toml"
    tables = [f'[[search.methods]]\nname = "{n}"\n{text}\n' for n, text in METHODS.items()]
    text = RECIPE.replace("COUNT", str(how.questions)).replace("BATCH", str(how.max_batch))
    recipe.write_text(text + "".join(tables))
    sets = [word for each in how.sets for word in ("--set", each)]
    answers, seconds = searched(recipe, how.out / "search", sets)
    words = ("gateway", str(recipe), "--out", str(how.out / "served"), *sets)
    with subprocess.Popen(hornbeam(*words), stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            line = next(each for each in server.stdout if each.startswith("Gateway: "))
            found = clients(how, line.split()[1].removesuffix("/v1"), list(answers))
        finally:
            server.send_signal(signal.SIGTERM)
    rows = [
        {
            "client": name,
            "equal": sum(a == (b or "") for a, b in zip(said, answers.values())),
            "of": len(said),
            "seconds": round(spent, 1),
        }
        for name, (said, spent) in found.items()
    ]
    print(f"hornbeam search: {len(answers)} answers in {seconds:.1f} s, start included")
    for row in rows:
        print(f"{row['client']:40} {row['equal']:3} of {row['of']} equal  {row['seconds']:6.1f} s")
    if how.json:
        told = {"questions": how.questions, "max_batch": how.max_batch, "search_s": seconds}
        told |= {"threads": os.environ.get("OMP_NUM_THREADS", ""), "clients": rows}
        how.json.write_text(json.dumps(told, indent=1) + "\n")


if __name__ == "__main__":
    main()
