"""Valid records of every format that a command reads: what `fuzz` changes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from foreign_rows import (
    TOOLS,
    answer,
    asked,
    events,
    rllm_episode,
    spans,
    talk,
    verifiers_episode,
    verifiers_result,
)

CALL = {"tool": "calculator", "arguments": {"expression": "2*3"}, "result": "6", "reward": 0.25}
TREE = {
    "version": 1,
    "task": {"id": "pens", "question": "Two boxes of 3 pens?", "answer": "6", "data": {"level": 1}},
    "seed": 11,
    "nodes": [
        {"parent": -1, "finish": "ready", "messages": [{"role": "user", "content": "pens?"}]},
        {"parent": 0, "agent": "planner", "prompt": [1, 20], "tokens": [30, 2],
         "logprobs": [-0.25, -0.5], "text": "multiply", "version": 4, "finish": "stop",
         "seed": 901, "ask": "5c1f0e6a3b7d2948"},
        {"parent": 1, "agent": "solver", "prefix": 0, "keep": 0, "prompt": [1, 22],
         "tokens": [31, 32], "logprobs": [-1.5, -0.125], "text": "CALC[2*3]", "calls": [CALL],
         "version": 4, "finish": "stop", "step": 1, "turn": 1, "seed": 902,
         "rewards": [{"value": 0.5, "name": "tidy", "calls": 1}]},
        {"parent": 2, "agent": "solver", "prompt": [23], "tokens": [33, 2],
         "logprobs": [-0.75, -0.0625], "text": "6", "finish": "stop", "step": 2, "turn": 2,
         "done": True, "answer": "6"},
        {"parent": 1, "agent": "solver", "tokens": [34], "logprobs": [-2.0], "text": "7",
         "finish": "length", "episode": 1, "turn": 1, "step": 1, "done": True, "answer": "7"},
    ],
    "columns": {"reward": [None, None, None, 1.0, 0.0], "q": [None, 0.5, 1.0, 1.0, -1.0]},
}  # fmt: skip
BARE = {
    "task": {"id": "q1"},
    "nodes": [{"parent": -1}, {"parent": 0}, {"parent": 1}, {"parent": 1}],
    "columns": {"reward": [None, None, 1, 0], "q": [None, 0.5, 1, 0]},
}
STEP = {"completions": [{"text": "So 6.", "rating": 1}, {"text": "7.", "rating": -1}],
        "chosen_completion": 0, "human_completion": None}  # fmt: skip
SEEDS: dict[str, list[Any]] = {
    "trees": [TREE, BARE],
    "trl": [
        {"prompt": "2 + 2?", "completions": ["2 and 2.", "4."], "labels": [True, False]},
        {"prompt": [asked()], "completions": [[answer("4")]], "labels": [1]},
    ],
    "shepherd": [
        {"input": "2 + 2? Step 1: add ки\nStep 2: 4 ки", "task": "GSM8K",
         "label": "2 + 2? Step 1: add +\nStep 2: 4 -"},
    ],
    "prm800k": [
        {"question": {"problem": "2 * 3?", "ground_truth_answer": "6"},
         "label": {"steps": [STEP, STEP], "finish_reason": "solution"}},
    ],
    "prm800k_short": [
        {"id": "a", "question": "2 * 3?", "answer": "6", "steps": ["2.", "6."], "ratings": [1, -1]},
    ],
    "chats": [
        {"task_id": "a", "messages": talk(), "tools": TOOLS, "reward": 1.0, "answer": "4"},
        {"prompt": [asked()], "completion": [answer("5")], "score": 0, "metrics": {"len": 3}},
    ],
    "verifiers": [verifiers_result(1), verifiers_result(2, reward=0.0)],
    "traces": [verifiers_episode(1, branch=True), verifiers_episode(2)],
    "lightning": spans(1, 1.0) + events(2, 0.5),
    "rllm": [rllm_episode(0), rllm_episode(1, 0.0, ids=False)],
    "tasks": [
        {"id": "a", "question": "2 + 2?", "answer": "4", "level": 1},
        {"question": "3 + 3?", "answers": ["6", "six"], "tags": ["sum"]},
        {"question": "1 + 1?", "answer": 2},
    ],
    "sft": [
        {"messages": [asked()], "text": "4"},
        {"messages": [{"role": "system", "content": "Add."}, asked(), answer("4")]},
        {"prompt": [asked()], "completion": [answer("4")], "agent": "solver"},
        {"prompt": "2 + 2?", "completion": "4"},
    ],
    "processbench": [
        {"id": "gsm8k-0", "problem": "2 + 2?", "steps": ["2.", "4."], "label": -1,
         "final_answer_correct": True},
        {"id": "gsm8k-1", "problem": "2 + 3?", "steps": ["2.", "4."], "label": 1},
    ],
    "predictions": [
        {"id": "a", "split": "gsm8k", "label": -1, "prediction": -1, "final_answer_correct": True},
        {"id": "b", "split": "math", "label": 1, "prediction": None},
    ],
    "prmbench": [
        {"id": "a", "classification": "redundency", "question": "2 + 2?", "steps": ["2.", "4."],
         "error_steps": [1], "original_question": "2 + 2?", "original_steps": ["4."]},
    ],
}  # fmt: skip

_TINY = """
[run]
steps = 1
[model]
name = "tiny"
[agents.solver]
max_tokens = 4
[program]
name = "single"
[[tasks.train]]
TASKS
[reward]
rule = "numeric"
[grow]
strategy = "independent"
n = 2
[credit]
method = "grpo"
"""
_LOOKUP = _TINY.replace("TASKS", 'source = "lookup"\ncount = 4').replace("numeric", "exact")
RECIPE = {
    "tasks": _TINY.replace("TASKS", 'source = "jsonl"\npath = "FILE"'),
    "sft": _LOOKUP + '[sft]\ndata = "FILE"\n',
}
