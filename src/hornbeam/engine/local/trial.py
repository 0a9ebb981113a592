"""How a model is to be run by the local engine, found by trying it on a few tokens at load.

Some rows that share a beginning are run as requests are, prefilled and sampled on, and compared
with one plain forward pass a row. The first plan that gives the same is taken, from rows of any
length together down to running the whole sequence for every token; a model that no plan fits is
refused in one line. Windows and other rules that are longer than these rows are not reached by
them: rows of unlike length share a forward only where attention is seen to take the masks that
`masks` makes from the model's own rules, and where the model does not ask how much is kept.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from hornbeam.engine.local import kv_cache
from hornbeam.engine.local import network as ways
from hornbeam.engine.local.kv_cache import Layout
from hornbeam.engine.local.network import BatchPlan, Network
from hornbeam.engine.local.packed_weights import fastest
from hornbeam.engine.local.prefix_tree import PrefixTree
from hornbeam.engine.local.slots import Slots
from hornbeam.errors import ModelError
from hornbeam.tree.nodes import ids

NEAR = 2e-5  # of the largest log-prob; of the same arithmetic in other shapes 1e-6 is seen
NEAR_HALF = 5e-2  # the same in 16 bits, of models too large to be tried in 32
WIDENED = 2**31  # weights of 16 bits that are tried in 32
SHARED, OWN, STEPS = 5, (3, 6), 2
LONG = 120  # tokens of the row that tells whether whole runs may be compared at all
Found = tuple[
    BatchPlan, Layout, bool
]  # and whether rows are right on the far side of longrope's turn
NARROW = ("bfloat16", "int8")  # formats that round more than keys and values in bfloat16 do
_narrow: dict[tuple[str, ...], bool] = {}  # whether the model runs on those
_settled: dict[tuple[str, ...], Found] = {}  # by all that the way of running depends on


def settled(network: Network) -> Network:
    """The network with its plan; raises `ModelError` where none gives what the model gives."""
    key = _key(network)
    if key not in _settled:
        found = _find(network)
        if found is None:  # the weights are damaged: every request will be told so
            return network
        _settled[key] = found
    network.plan, network.layout, turns = _settled[key]
    if network.turn and not turns and not network.plan.whole:
        network.context = network.turn
    if network.plan.whole or not turns:
        network.turn = 0
    return network


def narrow(network: Network) -> None:
    """Keep keys and values in bfloat16 beside packed weights, if the model runs so.

    Where the processor has instructions for it, attention then takes half the time.
    """
    layout = network.layout
    fit = network.plan == ways.RAGGED and layout.alike and layout.count and not layout.states
    wide = network.like.dtype is torch.float32 and network.like.device.type == "cpu"
    if not fit or not wide or network.linears.form not in NARROW or fastest() != "bfloat16":
        return
    key = _key(network)
    if key not in _narrow:
        network.kept = torch.bfloat16
        try:
            with network.sampling(), torch.no_grad(), _quiet(network.like.device):
                _run(network, _rows(network))
            _narrow[key] = True
        except Exception:
            _narrow[key] = False
        network.linears.forget()
    network.kept = torch.bfloat16 if _narrow[key] else None


def _key(network: Network) -> tuple[str, ...]:
    model = network.model
    kinds = {type(m).__qualname__ for m in model.modules()}
    config = model.config.to_dict()
    text = json.dumps(config, default=str, sort_keys=True)
    like = network.like
    return type(model).__qualname__, text, str(sorted(kinds)), str(like.dtype), str(like.device)


def _find(network: Network) -> Found | None:
    with network.sampling(), torch.no_grad(), _quiet(network.like.device):
        with _widened(network.model):
            found = _choose(network)
        network.linears.forget()
        if found is None or network.like.dtype.itemsize > 2:
            return found
        plan, layout, turns = found  # what is kept has other types in 16 bits
        return plan, _layout(network, _rows(network)[0]) or layout, turns


def _choose(network: Network) -> Found | None:
    name = network.config._name_or_path or type(network.model).__name__
    tail = f"{name} cannot run in the local engine"
    rows = _rows(network)
    try:
        wanted = [_plain(network, row) for row in rows]
    except Exception as error:
        why = f"it does not run from token ids alone: {_line(error)}"
        raise ModelError(f"{tail}: {why}") from error
    if not all(bool(logits.isfinite().all()) for logits in wanted):
        return None
    found = _layout(network, rows[0])
    why = ""
    for plan in _plans(found):
        network.plan, network.layout = plan, found or Layout([])
        try:
            logits = _run(network, rows)
        except Exception as error:
            why = why or _line(error)
            continue
        difference = max(_distance(logits, wanted), _later(network) if plan.whole else 0.0)
        if difference <= _near(network):
            return network.plan, network.layout, _turns(network, rows[0])
        why = f"token by token its log-probs differ by {difference:.0e} from one plain forward"
    raise ModelError(f"{tail}: {why}; use an engine that serves it")


@contextmanager
def _widened(model: Any) -> Iterator[None]:
    """Weights of 16 bits in 32 in this block, if they are few: rounding hides what differs."""
    half = (torch.bfloat16, torch.float16)
    held = [t for t in (*model.parameters(), *model.buffers()) if t.dtype in half]
    if sum(t.numel() for t in held) > WIDENED:
        held = []
    before = [t.data for t in held]
    try:
        for t in held:
            t.data = t.data.float()
        yield
    finally:
        for t, data in zip(held, before):
            t.data = data


def _near(network: Network) -> float:
    return NEAR if network.like.dtype.itemsize > 2 else NEAR_HALF


def _rows(network: Network) -> list[list[int]]:
    """Rows of token ids that share a beginning; the marks of the vocabulary are among them."""
    config = network.config
    size = network.vocabulary
    named = (getattr(config, f"{kind}_token_id", None) for kind in ("bos", "eos", "pad"))
    marks = [m for m in named if isinstance(m, int) and 0 <= m < size]
    start = size // 3
    words = iter((start + 7919 * i) % size for i in range(99))
    shared = [next(words) for _ in range(SHARED)]
    shared[1 : 1 + len(marks)] = marks
    rows = [shared + [next(words) for _ in range(own + STEPS)] for own in OWN]
    rows.append(shared[:-2] + [next(words) for _ in range(1 + STEPS)])
    most = max(1 + STEPS, network.turn or network.context)
    return [row[:most] for row in rows]


def _plans(found: Layout | None) -> Iterator[BatchPlan]:
    """Plans that may fit, the fastest first."""
    if found is not None:
        indexed = any(len(layer.columns) > 2 for layer in found.layers)
        if not indexed:
            yield ways.EVEN_PREFILL if found.states else ways.RAGGED
        if found.states:
            yield ways.SINGLE
        yield ways.EVEN
        if found.states:
            yield ways.SINGLE_EVEN
    yield ways.WHOLE


def _plain(network: Network, row: Sequence[int]) -> Tensor:
    """Log-probs [n, V] by one plain forward pass."""
    tokens = torch.tensor([row], device=network.like.device)
    logits = network.model(input_ids=tokens, use_cache=False).logits[0]
    if logits.shape[:1] != (len(row),):
        raise ModelError("its logits are not one row a token")
    return torch.log_softmax(logits.float(), -1)


def _layout(network: Network, row: Sequence[int]) -> Layout | None:
    """What the model keeps of a row, by its own cache."""
    tokens = torch.tensor([row], device=network.like.device)
    try:
        output = network.model(input_ids=tokens, use_cache=True)
    except Exception:
        return None
    caches = (getattr(output, name, None) for name in ways.CACHES)
    return next((kv_cache.read(cache) for cache in caches if cache is not None), None)


def _run(network: Network, rows: Sequence[Sequence[int]]) -> list[Tensor]:
    """Logits [1 + STEPS, V] of each row: after its prompt and after each token sampled on."""
    tree = PrefixTree(2**31, network.logits_cost, network.state_cost)
    ends = [tree.add(ids(row[:-STEPS]))[0] for row in rows]
    while tree.pending:
        for runs in network.batches(tree.ready()):
            for run, prefilled in zip(runs, network.prefill(runs)):
                tree.fill(run, *prefilled)
            _check(network)
    out = [[run.known_logits()] for run in ends]
    slots = Slots(network, 2**31)
    slots.join([run.path() for run in ends])
    for step in range(STEPS):
        after = slots.step([row[step - STEPS] for row in rows])
        _check(network)
        for each, logits in zip(out, after):
            each.append(logits)
    return [torch.stack(each) for each in out]


def _later(network: Network) -> float:
    """By how much tokens that come later change a row's log-probs, as a part of the largest."""
    row = [(7919 * i) % network.vocabulary for i in range(1, min(LONG, network.context) + 1)]
    full = _plain(network, row)
    cuts = range(len(row) // 3, len(row), max(1, len(row) // 5))
    difference = max(
        float((_plain(network, row[:at])[-1] - full[at - 1]).abs().max()) for at in cuts
    )
    return difference / float(full.abs().max())


def _turns(network: Network, row: Sequence[int]) -> bool:
    """Whether a row is run as the beginning of a long one, where places are seen anew.

    The plain forward has one more token, far off, that the row does not see.
    """
    if not network.turn or network.plan != ways.RAGGED:
        return False
    like = network.like
    places = torch.tensor([[*range(len(row)), network.turn]], device=like.device)
    tokens = torch.tensor([[*row, row[0]]], device=like.device)
    try:
        logits = network.model(input_ids=tokens, position_ids=places, use_cache=False).logits[0]
        (prefilled,) = network.prefill([PrefixTree(2**31).add(ids(row), network.turn)[0]])
    except Exception:
        return False
    want = torch.log_softmax(logits[len(row) - 1].float(), -1)
    difference = (torch.log_softmax(prefilled[1].float(), -1) - want).abs().max()
    return float(difference) <= _near(network) * float(want.abs().max())


def _check(network: Network) -> None:
    """Raise `ModelError` unless rows of unlike length could share the forward pass just run."""
    places = network.watched
    if places is None:
        return
    if places.foreign or places.calls < network.layout.count:
        raise ModelError("its attention does not take masks by position")


def _distance(logits: Sequence[Tensor], wanted: Sequence[Tensor]) -> float:
    """Largest difference of log-probs, as a part of the largest log-prob."""
    worst = largest = 0.0
    for got, full in zip(logits, wanted):
        want = full[-1 - STEPS :]
        if got.shape != want.shape:
            return float("inf")
        difference = (torch.log_softmax(got.float(), -1) - want).abs().max()
        if not difference.isfinite():
            return float("inf")
        worst, largest = max(worst, float(difference)), max(largest, float(want.abs().max()))
    return worst / largest if largest else worst


@contextmanager
def _quiet(device: torch.device) -> Iterator[None]:
    """What is tried draws from no one's random numbers."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        yield


def _line(error: Exception) -> str:
    """The first line of what an error says."""
    said: Any = str(error).strip().splitlines()
    return (
        said[0]
        if said and isinstance(error, ModelError)
        else f"{type(error).__name__}: {(said or [''])[0]}"
    )
