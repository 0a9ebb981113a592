"""A made-up run with the shape of a real one, for the tests of the page and for looking at it.

`python tests/view/run_data.py FILE.html` writes its report.
"""

import math
import random
import sys

from hornbeam.credit import credit
from hornbeam.tree.nodes import Call, Node, Tree, floats, ids
from hornbeam.view import ReportData, write_report
from hornbeam.view.example import example_tree

HOSTILE = (
    "</script><script>window.hurt = 1</script><img src=x onerror='window.hurt = 1'> & \ud800 $data"
)


def metrics(steps=60, seed=3):
    """Rows of a warm start, evaluations and training steps."""
    rng = random.Random(seed)
    rows = [{"kind": "eval", "stage": "start", "step": 0, "accuracy": 0.06, "count": 200}]
    for step in range(40):
        rows.append(
            {
                "kind": "sft",
                "step": step,
                "seconds": 4.0 * step,
                "loss": 0.2 + 1.6 * math.exp(-step / 9),
            }
        )
    rows.append(
        {
            "kind": "eval",
            "stage": "warm start",
            "step": 0,
            "accuracy": 0.235,
            "count": 200,
            "seconds": 170.0,
        }
    )
    for step in range(1, steps + 1):
        risen = 0.24 + 0.3 * (1 - math.exp(-step / 30))
        unique = rng.randint(5200, 6400)
        rows.append(
            {
                "kind": "train", "step": step, "seconds": 170 + 12.0 * step,
                "reward": risen + rng.gauss(0, 0.06), "failed": int(rng.random() < 0.1),
                "mixed_groups": rng.randint(3, 7), "unmixed_groups": 8 - rng.randint(3, 7),
                "loss": rng.gauss(0, 0.03), "kl": 0.0007 * step + rng.random() * 0.004,
                "entropy": 0.9 * math.exp(-step / 70) + rng.random() * 0.05,
                "clip_fraction": rng.random() * 0.02, "grad_norm": 0.6 + rng.random(), "lr": 1e-5,
                "sampled_tokens": rng.randint(2600, 3200),
                "prompt_tokens_computed": rng.randint(1800, 2100),
                "prompt_tokens_cached": rng.randint(6000, 9000), "tool_calls": rng.randint(80, 120),
                "tokens_unique": unique, "tokens_flat": unique * 3 + rng.randint(0, 900),
                "seconds_grow": 5 + rng.random(), "seconds_train": 6 + rng.random(),
            }
        )  # fmt: skip
        if step % 10 == 0:
            last = step == steps
            rows.append(
                {"kind": "eval", "stage": "final" if last else "train", "step": step, "count": 200,
                 "accuracy": round(risen + rng.gauss(0, 0.01), 3), "seconds": 172 + 12.0 * step}
            )  # fmt: skip
    return rows


def costs(rows):
    """Sums of what the training rows counted."""
    kinds = [key for key in rows[-2] if key.startswith(("tokens_", "seconds_")) or "tokens" in key]
    kinds.append("tool_calls")
    return {kind: sum(row.get(kind, 0) for row in rows) for kind in kinds}


def two_agents(seed):
    """A planner and a solver, a failed branch, hostile text, log-probs."""
    rng = random.Random(seed)
    tree = Tree(
        {"id": f"wages-{seed}", "question": f"Ann works {4 + seed} hours for 9 a day. {HOSTILE}"}
    )
    for _ in range(2):
        plan = tree.append(
            _node(0, "planner", "Multiply hours by wage.\nThen subtract what she spent.", rng)
        )
        for _ in range(2):
            call = Call("calculator", {"expression": "36 - 4"}, 32)
            mid = tree.append(_node(plan, "solver", HOSTILE, rng, calls=(call,)))
            for answer in rng.sample(["32", "41", "-5", None], 2):
                broken = (
                    {"error": "ToolError: calculator: took longer than 5 s"}
                    if answer is None
                    else {}
                )
                text = "" if answer is None else f"So the answer is {answer}."
                tree.append(_node(mid, "checker", text, rng, done=True, answer=answer, **broken))
    reward = tree.column("reward")
    for leaf in tree.leaves():
        reward[leaf] = None if tree.nodes[leaf].error else float(tree.nodes[leaf].answer == "32")
    return tree


def _node(parent, agent, text, rng, **facts):
    tokens = ids(rng.randint(1, 900) for _ in range(12))
    return Node(parent, agent, tokens=tokens, logprobs=floats(-rng.random() for _ in tokens),
                prompt=ids(range(20)), text=text, finish="stop", **facts)  # fmt: skip


def chain(length):
    """One long branch."""
    tree = Tree({"id": "chain", "question": "How deep?"})
    for i in range(length):
        tree.append(Node(i, "solver", text=f"step {i}"))
    tree.column("reward")[length] = 1.0
    return tree


def report_data():
    """A whole run."""
    trees = {}
    for step in (-1, 1, 20, 40, 60):
        trees[step] = [
            example_tree(),
            *(two_agents(seed) for seed in range(step % 7, step % 7 + 3)),
            chain(12),
        ]
        credit(trees[step][1:], "tree_grpo")
    rows = metrics()
    recipe = '[model]\nname = "smollm2-135m"\n\n[grow]\nstrategy = "branch"\ntrunks = 2\n'
    title = "Calculator: <b>word problems</b>"
    return ReportData(title, recipe, rows, costs(rows), trees, prompt)


def prompt(tree, i):
    """What was put in at a node."""
    return f"user: {tree.task['question']}\nassistant: (node {i})"


if __name__ == "__main__":
    print(write_report(sys.argv[1], report_data()))
