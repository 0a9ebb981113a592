"""Blame on AgentProcessBench (arXiv 2603.14465, its hotpotqa part): the first wrong step of a run.

Its runs are of models and of a search index that are not here, so no fork of ours is one of theirs:
what can be held against its labels is blame by a guide alone, the step with the largest drop of a
guide's values. Guides are read off one pass of a small model over each run: how likely it finds
each step, and heads (ridge regression on its last hidden states, a question's runs held out from
the fit) that predict the outcome, or the step's label. Measured as the benchmark's own script does:
FirstErrAcc (the index of the first step labelled -1, none being one more) and StepAcc (labels of
steps). A method is told the outcome: of a run that succeeded it blames nothing.

    python bench/blame_benchmark.py [--features FILE] [--json FILE]
"""

from __future__ import annotations

import argparse
import gzip
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hornbeam.models import catalogue
from hornbeam.tasks.task_sources import data_directory

MODEL = "smollm2-135m"
FILE = "agentprocessbench/hotpotqa.jsonl.gz"
HEARD = 900  # characters that are read of a tool's result
LONGEST = 4000  # tokens that are read of a run
RIDGE = 30.0
DRAWS = 4000

Array = NDArray[np.float64]


@dataclass(frozen=True)
class LabelledRun:
    """A run: labels [S] of its steps, whether it succeeded, hidden states [S + 1, width] before the
    first step and behind each, mean log-probs [S] of the steps.
    """

    question: str
    labels: list[int]
    success: bool
    hidden: Array
    logprobs: Array

    @property
    def first(self) -> int:
        """The first wrong step; -1 where there is none."""
        return self.labels.index(-1) if -1 in self.labels else -1


# --- one pass of a model -------------------------------------------------------------------------


def pieces(row: dict[str, Any]) -> list[tuple[str, str]]:
    """(role, text) of every message, tool calls written out and results cut."""
    out = []
    for message in row["messages"]:
        text = message.get("content") or ""
        calls = [call["function"] for call in message.get("tool_calls") or ()]
        text += "".join(f"\n{call['name']} {call['arguments']}" for call in calls)
        role = message["role"]
        out.append(("user", text[:HEARD]) if role == "tool" else (role, text.strip()))
    return out


def read_run(row: dict[str, Any], tokenizer: Any, model: Any) -> LabelledRun | None:
    """The run as the model reads it; None where it is too long."""
    import torch

    ids: list[int] = []
    spans: list[tuple[int, int]] = []
    for role, text in pieces(row):
        head = tokenizer(f"<|im_start|>{role}\n", add_special_tokens=False).input_ids
        said = tokenizer(f"{text}<|im_end|>", add_special_tokens=False).input_ids
        if role == "assistant":
            spans.append((len(ids) + len(head), len(ids) + len(head) + len(said)))
        ids += [*head, *said, *tokenizer("\n", add_special_tokens=False).input_ids]
    if len(ids) > LONGEST:
        return None
    with torch.no_grad():
        states = model.model(torch.tensor([ids])).last_hidden_state[0]
        logprobs = []
        for start, end in spans:
            logits = torch.log_softmax(model.lm_head(states[start - 1 : end - 1]).float(), -1)
            picked = logits[torch.arange(end - start), torch.tensor(ids[start:end])]
            logprobs.append(float(picked.mean()))
    places = [spans[0][0] - 1, *(end - 1 for _, end in spans)]
    labels = [row["step_labels"][key] for key in sorted(row["step_labels"], key=int)]
    hidden = states[places].double().numpy()
    return LabelledRun(row["question"], labels, row["final_label"] == 1, hidden, np.array(logprobs))


def read_all(path: Path, kept: Path) -> tuple[list[LabelledRun], int]:
    """(all runs that fit, how many did not); what the model said is kept in a file."""
    with gzip.open(path, "rt", encoding="utf-8") as stream:
        rows = [json.loads(line) for line in stream]
    if not kept.is_file():
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.set_num_threads(1)
        folder = catalogue.obtain(MODEL, print)
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
        found: dict[str, Any] = {}
        for number, row in enumerate(rows):
            if (run := read_run(row, tokenizer, model)) is not None:
                found |= {f"h{number}": run.hidden, f"l{number}": run.logprobs}
        np.savez(kept, **found)
    held, runs = np.load(kept), []
    for number, row in enumerate(rows):
        if f"h{number}" in held:
            labels = [row["step_labels"][key] for key in sorted(row["step_labels"], key=int)]
            states = held[f"h{number}"], held[f"l{number}"]
            runs.append(LabelledRun(row["question"], labels, row["final_label"] == 1, *states))
    return runs, len(rows) - len(runs)


# --- guides --------------------------------------------------------------------------------------


def head(runs: Sequence[LabelledRun], out: str, target: Callable[[LabelledRun], Array]) -> Array:
    """Weights [width + 1] of a ridge regression on the runs whose question is not `out`."""
    fit = [run for run in runs if run.question != out]
    x = np.concatenate([run.hidden for run in fit])
    y = np.concatenate([target(run) for run in fit])
    known = ~np.isnan(y)
    x, y = x[known], y[known]
    mean, spread = x.mean(axis=0), x.std(axis=0) + 1e-6
    z = (x - mean) / spread
    w = np.linalg.solve(z.T @ z + RIDGE * len(z) / 10 * np.eye(z.shape[1]), z.T @ (y - y.mean()))
    w /= spread
    return np.append(w, y.mean() - mean @ w)


def values(runs: Sequence[LabelledRun], target: Callable[[LabelledRun], Array]) -> list[Array]:
    """[S + 1] values of each run by heads that did not see its question."""
    heads = {q: head(runs, q, target) for q in dict.fromkeys(run.question for run in runs)}
    return [run.hidden @ heads[run.question][:-1] + heads[run.question][-1] for run in runs]


def outcome(run: LabelledRun) -> Array:
    """The outcome at every position."""
    return np.full(len(run.labels) + 1, float(run.success))


def rightness(run: LabelledRun) -> Array:
    """Whether no step was wrong by then; nothing is known of the time before the first."""
    wrong = np.cumsum([label == -1 for label in run.labels]) > 0
    return np.array([np.nan, *(1.0 - wrong)])


Guess = Callable[[LabelledRun, int], Array]  # [S] chances with which each step is blamed


def guesses(runs: Sequence[LabelledRun]) -> dict[str, Guess]:
    """Every way to blame a step of a failed run."""
    by_outcome, by_label = values(runs, outcome), values(runs, rightness)

    def one(pick: Callable[[LabelledRun, int], int]) -> Guess:
        return lambda run, n: np.eye(len(run.labels))[pick(run, n)]

    return {
        "last step": one(lambda run, n: len(run.labels) - 1),
        "first step": one(lambda run, n: 0),
        "random step": lambda run, n: np.full(len(run.labels), 1 / len(run.labels)),
        "least likely step": one(lambda run, n: int(np.argmin(run.logprobs))),
        "drop of a value head (outcomes)": one(
            lambda run, n: int(np.argmax(-np.diff(by_outcome[n])))
        ),
        "drop of a value head (step labels)": one(
            lambda run, n: int(np.argmax(-np.diff([1.0, *by_label[n][1:]])))
        ),
    }


# --- the benchmark's metrics ---------------------------------------------------------------------


def measures(run: LabelledRun, chances: Array) -> dict[str, float]:
    """What a guess is worth: on all runs, and on those with a wrong step. Steps from the blamed one
    on are labelled -1, as its annotators did with what follows an error.
    """
    if run.success:
        right = [float(label == 1) for label in run.labels]
        return {"first_error": float(run.first == -1), "steps": sum(right), "count": len(right)}
    steps = np.arange(len(run.labels))
    labels = np.array(run.labels)
    matched = [((labels == 1) & (steps < k)) | ((labels == -1) & (steps >= k)) for k in steps]
    exact = float(chances[run.first]) if run.first >= 0 else 0.0
    near = float(sum(c for k, c in enumerate(chances) if abs(k - run.first) <= 1))
    found = {"first_error": exact, "steps": float(chances @ [m.sum() for m in matched])}
    found["count"] = len(labels)
    return found | ({"exact": exact, "near": near} if run.first >= 0 else {})


def interval(per_question: Array) -> list[float]:
    """95 % of a ratio of sums [questions, 2], questions drawn again."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(len(per_question), size=(DRAWS, len(per_question)))
    sums = per_question[drawn].sum(axis=1)
    low, high = np.quantile(sums[:, 0] / sums[:, 1], [0.025, 0.975])
    return [round(float(low), 4), round(float(high), 4)]


def table(runs: Sequence[LabelledRun]) -> dict[str, Any]:
    """Each way's shares, with intervals over questions."""
    questions = list(dict.fromkeys(run.question for run in runs))
    out: dict[str, Any] = {}
    for name, guess in guesses(runs).items():
        told = [measures(run, guess(run, n)) for n, run in enumerate(runs)]
        row = {}
        figures = {"first_error_accuracy": ("first_error", ""), "step_accuracy": ("steps", "count")}
        figures |= {"exact": ("exact", ""), "within_one": ("near", "")}
        for figure, (key, of) in figures.items():
            sums = np.zeros((len(questions), 2))
            for run, each in zip(runs, told):
                if key in each:
                    sums[questions.index(run.question)] += each[key], each.get(of, 1)
            share = float(sums[:, 0].sum() / sums[:, 1].sum())
            row[figure] = {"share": round(share, 4), "interval": interval(sums)}
        out[name] = row
    return out


def main() -> None:
    """Read, fit, print, keep."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--features", type=Path, default=Path("runs/blame_benchmark.npz"))
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    folder = data_directory()
    if folder is None or not (folder / FILE).is_file():
        print(f"{FILE} is in the data directory: set HORNBEAM_DATA; nothing is measured")
        return
    given.features.parent.mkdir(parents=True, exist_ok=True)
    runs, left_out = read_all(folder / FILE, given.features)
    failed = [run for run in runs if not run.success]
    result = {
        "model": MODEL,
        "runs": len(runs),
        "left_out_too_long": left_out,
        "failed_with_a_wrong_step": sum(run.first >= 0 for run in failed),
        "questions": len({run.question for run in runs}),
        "steps_of_failed": {"mean": float(np.mean([len(run.labels) for run in failed]))},
        "methods": table(runs),
    }
    print(f"{len(runs)} runs ({left_out} longer than {LONGEST} tokens left out)")
    print(f"{'':<36}{'exact':>22}{'within one':>22}{'FirstErrAcc':>22}{'StepAcc':>22}")
    for name, row in result["methods"].items():
        cells = [row[k] for k in ("exact", "within_one", "first_error_accuracy", "step_accuracy")]
        shown = [
            f"{c['share']:.3f} [{c['interval'][0]:.2f}, {c['interval'][1]:.2f}]" for c in cells
        ]
        print(f"{name:<36}" + "".join(f"{cell:>22}" for cell in shown))
    if given.json:
        given.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
