"""Records in the shapes in which other libraries write them; what they say is invented."""

from __future__ import annotations

import json
import struct
import zipfile
import zlib

import pyarrow

SYSTEM = {"role": "system", "content": "You add."}


def asked(text="2 + 2?"):
    return {"role": "user", "content": text}


def call(a, number=0, arguments=None, content=None):
    """An assistant message that calls a tool, as OpenAI's API returns it."""
    given = json.dumps({"a": a}) if arguments is None else arguments
    function = {"name": "add", "arguments": given}
    one = {"id": f"call_x{number}", "type": "function", "function": function}
    return {"role": "assistant", "content": content, "tool_calls": [one]}


def result(text, number=0):
    return {"role": "tool", "tool_call_id": f"call_x{number}", "content": text}


def answer(text):
    return {"role": "assistant", "content": text}


def talk(text="4", number=0, a=2):
    """A whole conversation with a tool."""
    return [SYSTEM, asked(), call(a, number), result(str(a + 2), number), answer(text)]


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "add",
            "description": "Add two to a.",
            "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
        },
    }
]


# --- verifiers -----------------------------------------------------------------------------------


def verifiers_result(number, example=0, reward=1.0, **more):
    """A line of results.jsonl as verifiers 0.1.14 writes it: calls are JSON texts."""
    one = json.dumps({"id": f"x{number}", "name": "add", "arguments": '{"a": 2}'})
    return {
        "example_id": example,
        "prompt": [SYSTEM, asked(f"{example} + 2?")],
        "completion": [
            {"role": "assistant", "content": "", "tool_calls": [one], "reasoning_content": "easy"},
            {"role": "tool", "tool_call_id": f"x{number}", "content": "4"},
            answer(f"It is {number}."),
        ],
        "answer": "4",
        "info": {"level": number},
        "reward": reward,
        "error": None,
        "timing": {"start_time": 1796011846.5, "generation": {"start": 0.0, "end": 0.0}},
        "is_completed": True,
        "is_truncated": False,
        "stop_condition": None,
        "metrics": {"right": reward, "turns": 2.0},
        "tool_defs": [{"name": "add", "description": "Add.", "parameters": {}}],
        "right": reward,
        **more,
    }


def verifiers_episode(number, task=0, said=6, branch=False):
    """A line of traces.jsonl as verifiers 0.4.0 writes it, with the ids that each node adds."""
    data = {"idx": task, "prompt": f"{task} + 1?", "skills": [], "answer": str(task + 1)}
    row = {"type": "Sums", "data": data, "hash": f"h{task}"}
    one = {"id": f"x{number}", "type": "function", "name": "add", "arguments": '{"a": 1}'}
    nodes = [
        {"message": SYSTEM, "sampled": False, "token_ids": [1, 2], "mask": [False, False]},
        {"parent": 0, "message": asked(f"{task} + 1?"), "token_ids": [3], "mask": [False]},
        {
            "parent": 1,
            "message": {"role": "assistant", "reasoning_content": "easy", "tool_calls": [one]},
            "sampled": True,
            "token_ids": [4, 5, said],
            "mask": [False, True, True],
            "logprobs": [-0.5, -0.25],
        },
        {
            "parent": 2,
            "message": {"role": "tool", "tool_call_id": f"x{number}", "content": "1"},
            "token_ids": [8, 9],
            "mask": [False, False],
        },
        {
            "parent": 3,
            "message": answer(f"{number}"),
            "sampled": True,
            "token_ids": [10],
            "mask": [True],
            "logprobs": [-0.125],
        },
    ]
    if branch:
        nodes.append({"parent": 1, "message": answer("Or 7."), "sampled": True, "token_ids": []})
    trace = {
        "version": 1,
        "id": f"t{number}",
        "task": row,
        "agent": {"config": {"timeout": {}}, "name": "agent", "trainable": True},
        "tools": [{"type": "function", "name": "add", "description": "", "parameters": {}}],
        "nodes": nodes,
        "rewards": {
            "right": {"score": float(number % 2), "weight": 1.0},
            "form": {"score": 0.5, "weight": 0.2},
        },
        "metrics": {"turns": 2.0},
        "info": {},
        "errors": [],
    }
    return {
        "id": f"e{number}",
        "env": {"id": "sums"},
        "task": row,
        "ok": True,
        "errors": [],
        "traces": [trace],
    }


# --- inspect_ai ----------------------------------------------------------------------------------


def inspect_sample(name="a", epoch=1, value="C", said="It is 4.", **more):
    """A sample of a log as inspect_ai 0.3.285 writes it."""
    one = {"id": f"tc{epoch}", "function": "add", "arguments": {"a": 2}, "type": "function"}
    message = {"id": f"m{epoch}", "source": "generate", "role": "assistant", "model": "mock/model"}
    return {
        "id": name,
        "epoch": epoch,
        "input": "2 + 2?",
        "target": ["4", "four"],
        "messages": [
            {"id": "s", "content": "You add.", "role": "system"},
            {"id": "u", "content": "2 + 2?", "source": "input", "role": "user"},
            {**message, "content": "I add.", "tool_calls": [one]},
            {
                "id": "t",
                "content": "4",
                "role": "tool",
                "tool_call_id": f"tc{epoch}",
                "function": "add",
            },
            {**message, "content": said},
        ],
        "output": {"model": "mock/model", "choices": [{"stop_reason": "stop"}]},
        "scores": {
            "includes": {"value": value, "answer": said, "history": []},
            "graded": {"value": {"form": 0.5, "why": "x"}},
        },
        "metadata": {"level": 1},
        "events": [{"event": "model", "tools": [dict(TOOLS[0]["function"])], "input": []}],
        "attachments": {},
        "uuid": f"u{epoch}",
        **more,
    }


def inspect_log(samples):
    """A whole log as JSON data."""
    row = {"task": "sums", "task_id": "T1", "model": "mock/model", "dataset": {"samples": 2}}
    return {"version": 2, "status": "success", "eval": row, "plan": {}, "samples": samples}


def eval_file(path, log, zstandard=True):
    """The log as an .eval file, its members packed by Zstandard as since 2026."""
    members = {
        "header.json": {k: v for k, v in log.items() if k != "samples"},
        **{f"samples/{s['id']}_epoch_{s['epoch']}.json": s for s in log["samples"]},
    }
    raw = {name: json.dumps(results).encode() for name, results in members.items()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED if zstandard else 8) as archive:
        for name, text in raw.items():
            packed = pyarrow.Codec("zstd").compress(text, asbytes=True) if zstandard else text
            archive.writestr(name, packed)
    if zstandard:  # the module of this Python cannot: put method, sum and size in by hand
        data = bytearray(path.read_bytes())
        with zipfile.ZipFile(path) as archive:
            found = {info.filename: info.header_offset for info in archive.infolist()}
        at = data.index(b"PK\1\2")
        for name, offset in found.items():
            crc, size = zlib.crc32(raw[name]), len(raw[name])
            struct.pack_into("<H", data, offset + 8, 93)
            struct.pack_into("<I", data, offset + 14, crc)
            struct.pack_into("<I", data, offset + 22, size)
            struct.pack_into("<H", data, at + 10, 93)
            struct.pack_into("<I", data, at + 16, crc)
            struct.pack_into("<I", data, at + 24, size)
            at += 46 + len(name)
        path.write_bytes(bytes(data))
    return path


# --- agent-lightning -----------------------------------------------------------------------------


def spans(number, reward):
    """The spans of one rollout as agent-lightning 0.3.0 keeps them."""
    asks = {"gen_ai.prompt.0.role": "user", "gen_ai.prompt.0.content": "2 + 1?"}
    one = {"id": f"c{number}", "name": "add", "arguments": '{"a": 2}'}
    rows = [
        ("agent", {"agent.name": "solver"}),
        (
            "openai.chat.completion",
            asks
            | {"gen_ai.completion.0.role": "assistant", "gen_ai.response.id": f"r{number}a"}
            | {f"gen_ai.completion.0.tool_calls.0.{k}": v for k, v in one.items()}
            | {"prompt_token_ids": [1, 2], "response_token_ids": [3, 4]},
        ),
        (
            "openai.chat.completion",
            asks
            | {"gen_ai.prompt.1.role": "assistant"}
            | {f"gen_ai.prompt.1.tool_calls.0.{k}": v for k, v in one.items()}
            | {"gen_ai.prompt.2.role": "tool", "gen_ai.prompt.2.tool_call_id": f"c{number}"}
            | {"gen_ai.prompt.2.content": "3", "gen_ai.completion.0.role": "assistant"}
            | {"gen_ai.completion.0.content": f"3 ({number})", "gen_ai.response.id": f"r{number}b"}
            | {"gen_ai.completion.0.finish_reason": "length"},
        ),
        (
            "agentlightning.annotation",
            {"agentlightning.reward.0.name": "primary", "agentlightning.reward.0.value": reward}
            | {"agentlightning.reward.1.name": "brief", "agentlightning.reward.1.value": 0.5},
        ),
    ]
    return [
        {
            "rollout_id": f"ro-{number}",
            "attempt_id": "at-0",
            "sequence_id": n,
            "span_id": f"s{number}{n}",
            "parent_id": None,
            "name": name,
            "attributes": attributes,
            "start_time": float(n),
        }
        for n, (name, attributes) in enumerate(rows)
    ]


def events(number, reward):
    """The events of one rollout as agent-lightning 1.0.2 records them."""
    first, second = call(2, number), answer(f"It is 4 ({number}).")
    asks = [SYSTEM, asked()]
    later = [*asks, first, result("4", number)]
    results = [
        (asks, first, [1, 2], [3, 4], [-0.5, -0.25]),
        (later, second, [1, 2, 3, 4, 5], [6], [-0.125]),
    ]
    rows = [
        {
            "event_type": "model_request",
            "data": {
                "model": "m",
                "request": {"messages": messages, "tools": TOOLS},
                "response": {
                    "prompt_token_ids": prompt,
                    "choices": [
                        {
                            "message": said,
                            "finish_reason": "stop",
                            "token_ids": ids,
                            "logprobs": {"content": [{"logprob": v} for v in logprobs]},
                        }
                    ],
                },
                "status": "ok",
            },
        }
        for messages, said, prompt, ids, logprobs in results
    ]
    rows.append({"event_type": "reward", "data": {"value": reward, "source": "agent"}})
    named = {"rollout_id": f"ro-{number}", "attempt_id": "0"}
    return [{**named, "timestamp": float(n), **row} for n, row in enumerate(rows)]


# --- rLLM ----------------------------------------------------------------------------------------


def rllm_episode(number, reward=1.0, ids=True):
    """An episode as its `to_dict` gives it: every step with all messages so far."""
    shared = {"observation": "", "thought": "", "action": None, "done": False, "info": {}}
    first = {**call(2, number), "reasoning": "easy"}
    before = [SYSTEM, asked()]
    later = [*before, call(2, number), result("4", number)]
    exact = [([1, 2], [3, 4], [-0.5, -0.25]), ([1, 2, 3, 4, 5], [6], [-0.125])]
    steps = []
    for n, messages in enumerate(([*before, first], [*later, answer("4")])):
        prompt, said, logprobs = exact[n] if ids else ([], [], [])
        kept = {"prompt_ids": prompt, "response_ids": said, "logprobs": logprobs}
        said = str(messages[-1]["content"] or "")
        steps.append({**shared, **kept, "chat_completions": messages, "model_response": said})
        steps[-1]["reward"] = float(n)
    trajectory = {"uid": f"t{number}", "name": "solver", "task": None, "steps": steps}
    return {
        "id": f"q7:{number}",
        "task": {"question": "2 + 2?", "ground_truth": "4"},
        "termination_reason": "env_done",
        "is_correct": bool(reward),
        "trajectories": [{**trajectory, "reward": reward, "info": {}}],
        "metrics": {"acc": reward},
        "info": {},
    }
