"""A whole GRPO step, sampling and learning: this library's training job beside TRL's trainer.

    python -m venv T; T/bin/pip install torch==2.13.0 trl==1.16.0
    OMP_NUM_THREADS=2 python bench/loop.py [--trl T/bin/python] [--shots 0 4] [--tokens 32]
        [--repeats 3] [--quick] [--json FILE]

Eight prompts x eight samples a step: word problems behind worked examples, a chat model
(SmolLM2-135M-Instruct), float32, token-level clip, token-mean, no KL, AdamW. Each side runs as its
users run it: `hb.train` with its run folder, `GRPOTrainer.train` with transformers' generation.
What TRL can be set to it is set to in its favour: no activation checkpointing, all 64 samples in
one batch, no save, no log. The end token is no end: every sample has --tokens tokens.

The two are processes that step in turn, in changing order; one waits while the other works. The
first step of each, which makes moments and compiles, is not counted. Equal work is checked in each
step: the same prompt ids, as many tokens sampled of each, groups of unequal rewards; and before
the first one that TRL gives what Hornbeam sampled the log-probs that it was sampled with.

--quick takes a tiny model with random weights and a step of 2 x 8.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

SAMPLES = 8
LEARN = {"lr": 1e-6, "max_grad_norm": 1.0}
PASS = 2048  # tokens of a pass; TRL's is a prompt's eight rows, which is about that
TIMES = ("seconds", "cpu_seconds", "sample", "learn")
KEPT = (*TIMES, "peak_mib")
CLOSE = 1e-3  # of log-probs of one text in float32, in nats


# --- a side, in a process of its own -------------------------------------------------------------


class Line:
    """What the two sides hear and say: a line of JSON each way. What libraries print is not it."""

    def __init__(self) -> None:
        self._out = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)

    def wait(self) -> Any:
        """What to do next."""
        return json.loads(sys.stdin.readline())

    def tell(self, value: Any) -> None:
        """What was done."""
        print(json.dumps(value), file=self._out, flush=True)


def score(text: str) -> float:
    """A reward that differs from sample to sample: the share of vowels."""
    return sum(text.lower().count(vowel) for vowel in "aeiou") / max(1, len(text))


def reward(task: Any, answer: Any) -> float:
    """The same, as Hornbeam asks for it."""
    return score(str(answer))


class Clock:
    """Seconds since it was made, by the clock and of the processor."""

    def __init__(self) -> None:
        self.began = time.perf_counter(), time.process_time()

    def read(self) -> dict[str, float]:
        """What they are now, and the most memory that the process has held, in MiB."""
        clock, busy = self.began
        status = Path("/proc/self/status").read_text()
        return {
            "seconds": time.perf_counter() - clock,
            "cpu_seconds": time.process_time() - busy,
            "peak_mib": int(status.split("VmHWM:")[1].split()[0]) // 1024,
        }


def hornbeam(job: dict[str, Any], line: Line) -> None:
    """Trains by `hb.train`; each step waits until it is asked for."""
    import hornbeam as hb
    from hornbeam.jobs.train.loop import TrainingLoop

    plain = TrainingLoop._step

    async def step(self: TrainingLoop, number: int) -> None:
        line.wait()
        for member in self.parts.policies:
            member.engine.chat.ends = frozenset()  # type: ignore[misc]
        clock = Clock()
        await plain(self, number)
        took, row = clock.read(), self.parts.folder.store.metrics()[-1]
        trees = self.parts.recorder.trees(number)
        nodes = [[(tree.context(i), tree.nodes[i]) for i in tree.leaves()] for tree in trees]
        line.tell(
            {
                **took,
                "sample": row["seconds_grow"],
                "learn": row["seconds_train"],
                "grad_norm": row["grad_norm"],
                "prompts": [list(context) for context, _ in (group[0] for group in nodes)],
                "sampled": [len(node.tokens) for group in nodes for _, node in group],
                "mixed": row["mixed_groups"],
                "said": [
                    {"prompt": [*c], "tokens": [*n.tokens], "logprobs": [*n.logprobs]}
                    for c, n in (group[0] for group in nodes)
                ],
            }
        )

    with patch.object(TrainingLoop, "_step", step):
        hb.train(
            "single",
            [{"question": text} for text in job["texts"]],
            model=job["model"],
            reward=reward,
            strategy=hb.Independent(n=SAMPLES),
            credit="grpo",
            agents={"solver": {"max_tokens": job["tokens"]}},
            optim={**LEARN, "max_pack_tokens": PASS},
            engine={"max_batch": SAMPLES * len(job["texts"])},
            run={"tasks": len(job["texts"]), "eval_start": False, "checkpoint_every": 10**6},
            steps=job["steps"],
            out=job["out"],
            progress=False,
        )


def trl_config(job: dict[str, Any]) -> Any:
    """The settings of the same step: rows of one prompt a pass, all of them sampled at once."""
    from trl import GRPOConfig

    return GRPOConfig(
        output_dir=job["out"],
        learning_rate=LEARN["lr"],
        max_grad_norm=LEARN["max_grad_norm"],
        lr_scheduler_type="constant",
        loss_type="dapo",
        beta=0.0,
        epsilon=0.2,
        num_generations=SAMPLES,
        max_completion_length=job["tokens"],
        temperature=1.0,
        generation_kwargs={"min_new_tokens": job["tokens"]},
        per_device_train_batch_size=SAMPLES,
        gradient_accumulation_steps=len(job["texts"]),
        max_steps=job["steps"],
        gradient_checkpointing=False,
        bf16=False,
        use_cpu=True,
        report_to="none",
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )


def trl_log_probs(trainer: Any, row: dict[str, Any]) -> list[float]:
    """TRL's log-probs of what the other side sampled."""
    import torch

    tokens = torch.tensor([row["prompt"] + row["tokens"]])
    with torch.no_grad():
        logps, *_ = trainer._get_per_token_logps_and_entropies(
            trainer.model, tokens, torch.ones_like(tokens), len(row["tokens"])
        )
    found: list[float] = logps[0].tolist()
    return found


def trl(job: dict[str, Any], line: Line) -> None:
    """Trains by `GRPOTrainer`; each step waits until it is asked for."""
    import torch
    from datasets import Dataset
    from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
    from trl import GRPOTrainer

    class Timed(GRPOTrainer):  # type: ignore[misc]
        def _generate_and_score_completions(self, inputs: Any) -> Any:
            clock = Clock()
            rows = super()._generate_and_score_completions(inputs)
            groups = rows["advantages"].view(-1, SAMPLES)
            real = [ids[mask.bool()].tolist() for ids, mask in zip(*prompts(rows))]
            self.told = {
                "sample": clock.read()["seconds"],
                "prompts": real[::SAMPLES],
                "sampled": rows["completion_mask"].sum(1).tolist(),
                "mixed": int((groups.std(1) > 0).sum()),
            }
            return rows

    def prompts(rows: Any) -> tuple[Any, Any]:
        return rows["prompt_ids"], rows["prompt_mask"]

    class Gate(TrainerCallback):  # type: ignore[misc]
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            line.tell([trl_log_probs(trainer, row) for row in line.wait()])

        def on_step_begin(self, *_: Any, **__: Any) -> None:
            line.wait()
            self.clock = Clock()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            took = self.clock.read()
            learn = took["seconds"] - trainer.told["sample"]
            line.tell({**took, **trainer.told, "learn": learn})

    trainer = Timed(
        model=AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32),
        reward_funcs=lambda completions, **_: [score(c[0]["content"]) for c in completions],
        args=trl_config(job),
        train_dataset=Dataset.from_dict(
            {"prompt": [[{"role": "user", "content": text}] for text in job["texts"]]}
        ),
        processing_class=AutoTokenizer.from_pretrained(job["model"]),
        callbacks=[Gate()],
    )
    assert not trainer.model.is_gradient_checkpointing
    trainer.train()


# --- both ----------------------------------------------------------------------------------------


class Side:
    """The process of one side."""

    def __init__(self, name: str, python: str, job: dict[str, Any], folder: str) -> None:
        self.name = name
        given = json.dumps({**job, "out": f"{folder}/{name}"})
        with open(f"{folder}/{name}.log", "w") as log:
            self._process = subprocess.Popen(
                [python, __file__, "--side", name, given],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"},
            )
        self._log = Path(log.name)

    def do(self, what: Any = None) -> Any:
        """Let it work, and hear of it."""
        assert self._process.stdin and self._process.stdout
        print(json.dumps(what), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} has ended: {self._log.read_text()[-3000:]}")
        return json.loads(line)

    def end(self) -> None:
        """Stop it, wherever it is."""
        self._process.kill()
        self._process.communicate()


def texts(count: int, shots: int) -> list[str]:
    """Word problems, each behind so many worked ones."""
    from hornbeam.tasks.word_problems import word_problems

    shown = word_problems("train", shots) if shots else []
    before = "".join(
        f"Problem: {task.question}\nAnswer: {task.data['expression']} = {task.answer}\n\n"
        for task in shown
    )
    return [f"{before}Problem: {t.question}\nAnswer:" for t in word_problems("test", count)]


def check(one: dict[str, Any], other: dict[str, Any], tokens: int) -> None:
    """Both sides did the same work."""
    assert sorted(one["prompts"]) == sorted(other["prompts"]), "the prompts differ"
    for row in (one, other):
        many = len(row["prompts"])
        assert row["sampled"] == [tokens] * (many * SAMPLES), f"sampled: {row['sampled']}"
        assert row["mixed"] == many, f"{row['mixed']} of {many} groups teach"


def measure(sides: tuple[Side, Side], repeats: int, tokens: int) -> dict[str, Any]:
    """Steps in turn after a first one each; what they took, and how far log-probs are apart."""
    first = sides[0].do()
    pairs = zip(first["said"], sides[1].do(first["said"]))
    apart = max(abs(a - b) for row, found in pairs for a, b in zip(row["logprobs"], found))
    assert apart < CLOSE, f"log-probs of one text differ by {apart}"
    rows: list[dict[str, Any]] = []
    for turn in range(repeats + 1):
        order = sides if turn % 2 else sides[::-1]
        done = {side.name: side.do() if turn or side is sides[1] else first for side in order}
        check(*(done[side.name] for side in sides), tokens)
        rows.append({name: {key: row[key] for key in KEPT} for name, row in done.items()})
        print(f"turn {turn} of {repeats}: {json.dumps(rows[-1])}", file=sys.stderr)
    lengths = [len(prompt) for prompt in first["prompts"]]
    return {
        "prompt_tokens": lengths, "logprobs_apart": apart, "first": rows[0], "turns": rows[1:]
    }  # fmt: skip


def spread(values: list[float]) -> dict[str, float]:
    """Median, min and max."""
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def table(found: dict[str, Any]) -> None:
    """Seconds a step of both, and TRL / Hornbeam."""
    turns, lengths = found["turns"], found["prompt_tokens"]
    print(
        f"{len(lengths)} prompts of {min(lengths)} to {max(lengths)} tokens x {SAMPLES} samples;"
        f" log-probs of one text at most {found['logprobs_apart']:.1e} apart"
    )
    print(f"{'':14}{'Hornbeam s':>12}{'TRL s':>10}   TRL / Hornbeam, median (min to max)")
    for key in TIMES:
        ours, theirs = ([turn[name][key] for turn in turns] for name in ("hornbeam", "trl"))
        ratio = spread([b / a for a, b in zip(ours, theirs)])
        found[f"trl_over_hornbeam_{key}"] = ratio
        print(
            f"{key:14}{statistics.median(ours):12.2f}{statistics.median(theirs):10.2f}"
            f"   {ratio['median']:.2f} x ({ratio['min']:.2f} to {ratio['max']:.2f})"
        )

    ours, theirs = (max(turn[name]["peak_mib"] for turn in turns) for name in ("hornbeam", "trl"))
    print(f"peak MiB{'':6}{ours:12}{theirs:10}")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--trl", default=sys.executable, help="a Python that has TRL")
    parser.add_argument(
        "--shots", type=int, nargs="+", default=[0, 4], help="worked examples in a prompt"
    )
    parser.add_argument("--tokens", type=int, default=32, help="of each sample")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--quick", action="store_true", help="a tiny random model, 2 prompts")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--side", nargs=2, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        {"hornbeam": hornbeam, "trl": trl}[args.side[0]](json.loads(args.side[1]), Line())
        return
    from hornbeam.models import catalogue, tiny_model

    about = {"command": "bench/loop.py", "machine": platform.machine(), **versions(args.trl)}
    about |= {"threads": os.environ.get("OMP_NUM_THREADS", "all"), "samples": SAMPLES}
    loads = []
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        model = tiny_model.make(model) if args.quick else catalogue.obtain("smollm2-135m")
        for shots in args.shots:
            job = {"model": str(model), "texts": texts(2 if args.quick else 8, shots)}
            job |= {"tokens": args.tokens, "steps": args.repeats + 2}
            found = compared(job, args.trl, args.repeats, f"{folder}/{shots}")
            table(found)
            loads.append({"shots": shots, "tokens": args.tokens, **found})
            if args.json:
                args.json.write_text(
                    json.dumps({**about, "loads": loads}, indent=1) + "\n", "utf-8"
                )


def compared(job: dict[str, Any], python: str, repeats: int, folder: str) -> dict[str, Any]:
    """Both sides on one load."""
    os.mkdir(folder)
    sides = Side("hornbeam", sys.executable, job, folder), Side("trl", python, job, folder)
    try:
        return measure(sides, repeats, job["tokens"])
    finally:
        for side in sides:
            side.end()


def versions(python: str) -> dict[str, str]:
    """Versions of what the other side runs on."""
    code = "import json, importlib.metadata as m; print(json.dumps({n: m.version(n) for n in "
    code += "('trl', 'transformers', 'torch')}))"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


if __name__ == "__main__":
    main()
