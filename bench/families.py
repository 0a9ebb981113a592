"""Every causal LM of transformers, tiny and random: packed, flat, in the local engine, value head.

    python bench/families.py [--only NAME ...] [--json FILE] [--docs FILE]

For each family of the installed transformers, with two windows where it has any: rows of random
trees are trained packed and flat, and log-probs and gradients compared with the model's own forward
of each row alone; the local engine samples cold, forked and second turns, and its log-probs are
compared with plain forwards; a value head's outputs and gradients likewise. An error is relative to
the largest value (of a gradient: of its parameter, or a thousandth of the largest of all). A cell
is right below `TOLERANCE`, refused where a `ModelError` or `DataError` says so in a line, else it
is wrong, and the script exits with 1. Takes some five minutes on one core; `--docs` writes the
table.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import sys
import textwrap
import tomllib
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
from transformers import AutoModelForTokenClassification as TokenClassification
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES as NAMES

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from hornbeam.chat import ByteChat
from hornbeam.engine.local.local_engine import LocalEngine, LocalSettings
from hornbeam.engine.request import Request, Sampling
from hornbeam.errors import HornbeamError
from hornbeam.train.policy import Policy
from hornbeam.train.rows import all_nodes
from hornbeam.train.train_settings import LossSettings, OptimSettings
from hornbeam.train.value import ValueModel
from hornbeam.train.value_rows import Reads
from hornbeam.tree.nodes import Node, Tree, floats, ids

TOLERANCE = 1e-4
FLOOR = 1e-3
MOST = 3_000_000  # parameters; a family that the settings below do not make tiny is not built
WINDOWS = (4, 13)
COLUMNS = ("packed", "flat", "engine", "value head")
SETS: dict[str, Any] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text("utf-8"))
LAYERED = ("layer_types", "mlp_layer_types", "layers_block_type", "indexer_types", "block_types")
LAYERED += ("layer_rope_theta", "num_attention_heads_per_layer")
MAY_BE_NONE = ("q_lora_rank", "num_key_value_heads", "n_group", "topk_group", "head_dim")
WORST = ("wrong", "error", "not built", "no head", "refused", "right")


# --- tiny models ---------------------------------------------------------------------------------


def settings(kind: str, window: int, more: dict[str, Any]) -> Any:
    """The tiny configuration of a family."""
    cls = CONFIG_MAPPING[kind]
    known = cls().to_dict()
    given = {
        key: value
        for key, value in SETS["sizes"].items()
        if key in known and not (known[key] is None and key in MAY_BE_NONE)
    }
    given |= {k: 3 for k, v in known.items() if k.endswith(("_token_id", "_token_index")) and v}
    for each in SETS["set"]:
        if kind in each["names"].split():
            given |= {key: value for key, value in each.items() if key != "names"}
    given |= more
    layers = next((given[k] for k in ("num_hidden_layers", "num_layers") if k in given), 4)
    for key in LAYERED:
        listed = given.get(key) or known.get(key)
        if isinstance(listed, (list, tuple)) and listed:
            kinds = given[key] if key in given else list(dict.fromkeys(listed))
            given[key] = [kinds[i % len(kinds)] for i in range(layers)]
    return cls(**{k: _filled(v, window) for k, v in given.items() if v != "-"})


def _filled(value: Any, window: int) -> Any:
    if value == "W":
        return window
    if isinstance(value, dict):
        if set(value) == {"text"}:
            return settings(value["text"], window, {})
        return {k: _filled(v, window) for k, v in value.items()}
    return value


def loud(model: Any, seed: int = 0) -> Any:
    """Random weights large enough that positions, windows, gates and states matter."""
    drawn = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            noise = torch.randn(weight.shape, generator=drawn)
            if weight.ndim < 2:
                weight.add_(0.2 * noise)
            elif "embed" in name or "wte" in name or "wpe" in name:
                weight.copy_(0.7 * noise)
            else:
                weight.copy_(noise / math.sqrt(weight.shape[-1]))
    return model.float().eval()


def made(kind: str, window: int, more: dict[str, Any], auto: Any = AutoModelForCausalLM) -> Any:
    """A model of the family; always the same."""
    torch.manual_seed(0)
    config = settings(kind, window, more)
    if auto is not AutoModelForCausalLM:
        config.num_labels = 1
    with torch.device("meta"):
        size = sum(p.numel() for p in auto.from_config(config).parameters())
    if size > MOST:
        raise ValueError(f"{size:,} parameters: its configuration here is not tiny")
    return loud(auto.from_config(config))


# --- what is compared ----------------------------------------------------------------------------


def world() -> Tree:
    """A tree of seven leaves with branches of branches; log-probs are numbers of tokens."""
    draw, tree, number = random.Random(1), Tree({"id": "q"}), iter(range(1, 1000))

    def add(parent: int, prompt: int, said: int, **more: Any) -> int:
        tokens = [ids(draw.randrange(7, 55) for _ in range(n)) for n in (prompt, said)]
        names = floats(-1e-3 * next(number) for _ in range(said))
        tree.append(
            Node(parent, agent="a", prompt=tokens[0], tokens=tokens[1], logprobs=names, **more)
        )
        return len(tree) - 1

    first = add(0, 4, 4)
    second = add(first, 2, 3)
    third = add(second, 1, 5)
    for parent, prompt, said in ((third, 2, 3), (third, 0, 2), (second, 2, 6), (first, 0, 1)):
        add(parent, prompt, said)
    add(add(first, 1, 4), 3, 4)
    add(0, 3, 5, prefix=first, keep=6)
    tree.columns["advantage"] = [draw.uniform(-1.5, 1.5) for _ in tree.nodes]
    return tree


def logits(model: Any, tokens: list[int]) -> Any:
    """Log-softmax of the model's own forward of one row."""
    out = model(input_ids=torch.tensor([tokens]), use_cache=False)  # RWKV's has no way back else
    return torch.log_softmax(out.logits[0].float(), -1)


def gradients(model: Any) -> dict[str, Any]:
    """The gradients there are."""
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


def gradient_error(found: dict[str, Any], wanted: dict[str, Any]) -> float:
    """Largest relative error of a parameter's gradient."""
    largest = max(float(g.abs().max()) for g in wanted.values())
    worst = 0.0
    for name, want in wanted.items():
        got = found.get(name, torch.zeros_like(want))
        scale = max(float(want.abs().max()), FLOOR * largest)
        worst = max(worst, float((got - want).abs().max()) / scale)
    return worst


def trained(make: Callable[[], Any], packed: bool) -> float:
    """Error of log-probs and gradients of rows trained at once against rows alone."""
    loss, optim = LossSettings(old="trainer"), OptimSettings(packed=packed, max_pack_tokens=60)
    policy = Policy(make(), loss=loss, optim=optim)
    (rows,) = policy._parts([world()], all_nodes)
    alone = make()
    scores: dict[int, list[float]] = {}
    for row in rows.rows:
        result = logits(alone, row.ids.tolist())
        for s in row.segments:
            at = torch.arange(s.start, s.start + len(s.old))
            logp = result[at - 1, torch.tensor(row.ids[s.start : s.start + len(s.old)]).long()]
            logp.sum().backward(retain_graph=True)
            for old, value in zip(s.old, logp.tolist()):  # a longer row may give another
                scores.setdefault(round(-1e3 * old), []).append(value)
    wanted, worst = gradients(alone), 0.0
    with policy._training():
        for pack in policy._packs(rows):
            logp, _ = policy._log_probs(pack)
            logp.sum().backward()
            for old, value in zip(pack.old.tolist(), logp.tolist()):
                worst = max(worst, min(abs(value - v) for v in scores[round(-1e3 * old)]))
    worst /= max(abs(v) for values in scores.values() for v in values)
    return max(worst, gradient_error(gradients(policy.causal), wanted))


class _Endless(ByteChat):
    ends = frozenset()


async def _talk(model: Any) -> list[tuple[list[int], list[int], list[float]]]:
    """What the engine said to prompts that share beginnings, to their forks, in second turns."""
    draw, engine = random.Random(3), LocalEngine(model, _Endless(), LocalSettings(max_batch=16))

    def some(count: int) -> list[int]:
        return [draw.randrange(7, 55) for _ in range(count)]

    async def ask(prompts: list[list[int]], count: int, seed: int) -> list[Any]:
        asked = [
            Request(ids(p), Sampling(max_tokens=count, temperature=1.0), seed=seed, order=(seed, n))
            for n, p in enumerate(prompts)
        ]
        result = await asyncio.gather(*map(engine.generate, asked))
        return [(p, list(t.tokens), list(t.logprobs)) for p, t in zip(prompts, result)]

    trunk = some(5)
    prompts = [trunk, trunk + some(3), trunk + some(6), trunk[:3] + some(4), some(2)]
    first = await ask(prompts, 7, 0)
    second = await ask([*prompts, prompts[1] + some(2)], 4, 1)
    third = await ask([p + t + some(n % 3) for n, (p, t, _) in enumerate(first)], 5, 2)
    await engine.aclose()
    return [*first, *second, *third]


def sampled(make: Callable[[], Any]) -> float:
    """Error of the log-probs that the local engine tells."""
    result, plain = asyncio.run(_talk(make())), make()
    worst, scale = 0.0, 1e-9
    for prompt, tokens, logprobs in result:
        with torch.no_grad():
            every = logits(plain, prompt + tokens)
        at = torch.arange(len(prompt) - 1, len(prompt) + len(tokens) - 1)
        want = every[at, torch.tensor(tokens)]
        worst = max(worst, float((want - torch.tensor(logprobs)).abs().max()))
        scale = max(scale, float(want.abs().max()))
    return worst / scale


def valued(make: Callable[[Any], Any], kind: str) -> float | str:
    """Error of a value head's outputs and gradients, packed, or flat where that is refused."""
    config = type(CONFIG_MAPPING[kind]())
    autos = (TokenClassification, AutoModelForSequenceClassification)
    auto = next((a for a in autos if config in a._model_mapping), None)
    if auto is None:
        return "no head"
    plain, tree = make(auto), world()
    if not hasattr(plain, "score"):
        return "refused"
    nodes = list(range(1, len(tree)))
    try:
        value = ValueModel(make(auto))
    except HornbeamError:
        value = ValueModel(make(auto), optim=OptimSettings(packed=False))
    wanted = []
    for k, i in enumerate(nodes):
        given = torch.tensor([list(tree.sequence(i))])
        out = plain(input_ids=given, use_cache=False).logits.flatten()[-1]
        (out * (1 + k % 3)).backward()
        wanted.append(float(out.detach()))
    reads = Reads()
    reads.add(tree, nodes)
    found = [0.0] * len(nodes)
    with value._training():
        for reading in value._readings(reads):
            z = value.scores(reading)
            (z * (1 + reading.number % 3)).sum().backward()
            for number, one in zip(reading.number.tolist(), z.tolist()):
                found[number] = one
    difference = max(abs(a - b) for a, b in zip(found, wanted)) / max(map(abs, wanted))
    return max(difference, gradient_error(gradients(value.model), gradients(plain)))


# --- the table -----------------------------------------------------------------------------------


def tried(compare: Callable[[], float | str]) -> tuple[str, str]:
    """(verdict, what was seen or said) of one comparison."""
    try:
        error = compare()
    except HornbeamError as refusal:
        text = str(refusal)
        return ("error" if "sampling failed" in text else "refused"), text
    except Exception as error_:
        return "error", f"{type(error_).__name__}: {str(error_).strip().splitlines()[:1]}"
    if isinstance(error, str):
        return error, ""
    return ("right" if error <= TOLERANCE else "wrong"), f"{error:.1e}"


def family(kind: str, more: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """The worst verdict of each column over the windows."""
    out: dict[str, tuple[str, str]] = {}
    for window in WINDOWS:
        if window != WINDOWS[0] and "W" not in str([SETS["set"], more]):
            continue

        def make(auto: Any = AutoModelForCausalLM, window: int = window) -> Any:
            return made(kind, window, more, auto)

        try:
            with torch.no_grad():
                logits(make(), [5, 6, 7, 8])
        except Exception as error:
            text = f"{type(error).__name__}: {str(error).strip().splitlines()[:1]}"
            return dict.fromkeys(COLUMNS, ("not built", text))
        found = (
            tried(lambda make=make: trained(make, True)),
            tried(lambda make=make: trained(make, False)),
            tried(lambda make=make: sampled(make)),
            tried(lambda make=make: valued(make, kind)),
        )
        for column, verdict in zip(COLUMNS, found):
            out[column] = min(out.get(column, verdict), verdict, key=lambda v: WORST.index(v[0]))
    return out


def cases(only: list[str]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(name, family, settings) of all that is tried."""
    every = [(kind, kind, {}) for kind in NAMES]
    for name, more in SETS["variants"].items():
        every.append((name, more["family"], {k: v for k, v in more.items() if k != "family"}))
    return (case for case in every if not only or case[0] in only or case[1] in only)


def main() -> None:
    """Try all, print a line each and the counts, write what is asked for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME", help="some families")
    parser.add_argument("--json", type=Path, help="where to write the table as JSON")
    parser.add_argument("--docs", type=Path, help="where to write the table as a page")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity(50)
    torch.set_num_threads(1)
    table = {}
    for name, kind, more in cases(args.only):
        table[name] = family(kind, more)
        print(name.ljust(40), *(table[name][c][0].ljust(10) for c in COLUMNS), flush=True)
    counts = {c: dict(Counter(row[c][0] for row in table.values())) for c in COLUMNS}
    for column in COLUMNS:
        print(column, counts[column])
    bad = [(n, c, *row[c]) for n, row in table.items() for c in COLUMNS if row[c][0] in WORST[:2]]
    print(*("  ".join(line) for line in bad), sep="\n")
    versions = {"transformers": transformers.__version__, "torch": torch.__version__}
    if args.json:
        result = {"command": "bench/families.py", **versions, "counts": counts, "families": table}
        args.json.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    if args.docs:
        args.docs.write_text(page(table, counts, versions), "utf-8")
    sys.exit(bool(bad))


def page(table: dict[str, Any], counts: dict[str, Any], versions: dict[str, str]) -> str:
    """The table as Markdown."""
    text = (
        f"Causal LMs of transformers {versions['transformers']} (torch {versions['torch']}), as"
        " tiny random models with two windows where there are any: trained packed, trained flat"
        " (`optim.packed = false`), sampled by the local engine, and with a value head. *Right* is"
        " within 1e-4 of the model's own forward of a row alone, log-probs and gradients;"
        " *refused*: refused when it is loaded; *no head*: transformers has no classifier of the"
        " family; *not built*: it does not run on token ids alone. Made by `make families`"
        " ([bench/families.py](../bench/families.py))."
    )
    head = "# Families\n\n" + textwrap.fill(text, 116, break_on_hyphens=False) + "\n\n"
    lines = ["| family | " + " | ".join(COLUMNS) + " |", "|---" * (len(COLUMNS) + 1) + "|"]
    for column in COLUMNS:
        head += f"- {column}: " + ", ".join(f"{n} {v}" for v, n in counts[column].items()) + "\n"
    for name, row in table.items():
        lines.append(f"| {name} | " + " | ".join(row[c][0] for c in COLUMNS) + " |")
    return head + "\n" + "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
