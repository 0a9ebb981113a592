"""Layers that carry a state from token to token, run along a packed trie.

A pack in preorder falls into *segments*: runs of tokens of which each follows on the one before,
cut where the trie branches. A recurrent mixer (a short convolution, Mamba-2, gated delta rule,
other linear attention) runs each segment once, from the state at its parent's end, and the state
of a branch point is handed to every child: the tokens of a shared prefix are computed once, and
gradients of all branches meet in its state. Where segments are so short that filling their chunks
costs more than the paths do, and for mixers that cannot go on from a state (Mamba), each path is
run from its root instead; the other layers of the model share all the same.

The mixer's own forward does the work. transformers' mixers read and write their states through a
cache (`get_conv_state`, `update_conv_state`, `get_recurrent_state`, `update_recurrent_state`); here
they are given one that holds a segment's states as values of the autograd graph instead of buffers
that are written over.

Left out: segments of like length in one batch; mixers with an attention of their own inside.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.nn import functional as F

from hornbeam.errors import ModelError

CACHES = ("cache_params", "past_key_values")
CHUNK = 64  # tokens that a chunked scan pads to, in most families
STATES = {"update_conv_state", "update_recurrent_state"}
TRIAL = [0, 1, 2, 3, 4, 5, 6, 4, 5, 6, 6, 4]  # depths of the tokens that mixers are tried on
ATTENDS = {"ALL_ATTENTION_FUNCTIONS", "scaled_dot_product_attention"}


@dataclass(slots=True)
class States:
    """The states of one mixer at one place of the trie; stands for transformers' cache."""

    conv: dict[int, Tensor] = field(default_factory=dict)
    recurrent: dict[int, Tensor] = field(default_factory=dict)

    def copy(self) -> States:
        """The same states, to go on from."""
        return States(dict(self.conv), dict(self.recurrent))

    def get_conv_state(self, layer_idx: int, state_idx: int = 0) -> Tensor | None:
        """The last inputs of a convolution [1, channels, kernel], or None at a root."""
        return self.conv.get(state_idx)

    def get_recurrent_state(self, layer_idx: int, state_idx: int = 0) -> Tensor | None:
        """The recurrent state, or None at a root."""
        return self.recurrent.get(state_idx)

    def update_conv_state(
        self,
        conv_states: Tensor,
        layer_idx: int,
        state_idx: int = 0,
        conv_kernel_size: int | None = None,
        **_: Any,
    ) -> Tensor:
        """The inputs with those before them; the last `conv_kernel_size` are kept."""
        before = self.conv.get(state_idx)
        kernel = conv_kernel_size or (before if before is not None else conv_states).shape[-1]
        if before is None:
            whole = F.pad(conv_states, (max(0, kernel - conv_states.shape[-1]), 0))
        else:
            whole = torch.cat([before, conv_states], -1)
        self.conv[state_idx] = whole[..., -kernel:]
        return whole

    def update_recurrent_state(
        self, recurrent_states: Tensor, layer_idx: int, state_idx: int = 0, **_: Any
    ) -> Tensor:
        """Keep the state after the segment."""
        self.recurrent[state_idx] = recurrent_states
        return recurrent_states

    def has_previous_state(self, *_: Any) -> bool:
        """Whether something comes before."""
        return bool(self.conv or self.recurrent)

    def is_recording_past(self, layer_idx: int) -> bool:
        """Yes: so that a segment of one token is not written over its parent's state in place."""
        return True


Segment = tuple[int, int, int]  # first token, behind the last, which segment comes before (or -1)
Path = tuple[
    Tensor, int
]  # places of the tokens from a root to a leaf, how many are of earlier ones


@dataclass(slots=True)
class Route:
    """The segments of the present pack; kept until the next, for layers that are run again.

    `carry`: states are handed on from segment to segment; else each path is run from its root.
    """

    segments: list[Segment] = field(default_factory=list)
    carry: bool = True
    known: list[Path] | None = None

    def lay(self, position: list[int]) -> None:
        """Take a pack, from the depths of its tokens in preorder."""
        self.segments = segments(position)
        self.carry, self.known = _carries(self.segments), None

    def paths(self) -> list[Path]:
        """The paths of the pack, found once for all layers."""
        if self.known is None:
            self.known = paths(self.segments)
        return self.known


_ROUTES: WeakKeyDictionary[torch.nn.Module, Route] = WeakKeyDictionary()


def mixers(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The modules that keep a state; `ModelError` for one that also attends by itself."""
    found = []
    for module in model.modules():
        kind: Any = type(module)
        names = _names(kind)
        if names & STATES:
            if names & ATTENDS:
                raise ModelError(f"{type(module).__name__} both attends and carries a state")
            found.append(module)
    return found


@cache
def _names(kind: Any) -> set[str]:
    """Names that the methods of a class (of transformers' own) use."""
    if not kind.__module__.startswith("transformers."):
        return set()
    return {
        name
        for function in vars(kind).values()
        for code in _codes(function)
        for name in code.co_names
    }


def _codes(function: Any) -> Iterator[Any]:
    """The code of a function and of what it wraps."""
    while function is not None:
        code = getattr(function, "__code__", None)
        if code is not None:
            yield code
        function = getattr(function, "__wrapped__", None)


def segments(position: list[int]) -> list[Segment]:
    """The segments of a trie in preorder, from the depths of its tokens."""
    path: list[int] = []
    parent = []
    for i, depth in enumerate(position):
        del path[depth:]
        parent.append(path[-1] if path else -1)
        path.append(i)
    jumps = [i for i, p in enumerate(parent) if p != i - 1 or not i]
    starts = sorted({*jumps, *(parent[i] + 1 for i in jumps if parent[i] >= 0)})
    stops = [*starts[1:], len(position)]
    ending = {stop - 1: n for n, stop in enumerate(stops)}
    return [
        (start, stop, ending[parent[start]] if parent[start] >= 0 else -1)
        for start, stop in zip(starts, stops)
        if start < stop
    ]


def paths(given: Sequence[Segment]) -> list[Path]:
    """The path of every leaf, in preorder: what is new on each is what follows in the pack."""
    inner = {before for _, _, before in given}
    out, done = [], 0
    places: list[Tensor] = []  # of the path above each segment that has others below it
    for n, (start, stop, before) in enumerate(given):
        above = places[before] if before >= 0 else torch.empty(0, dtype=torch.long)
        whole = torch.cat([above, torch.arange(start, stop)])
        places.append(whole if n in inner else whole[:0])
        if n not in inner:
            out.append((whole, len(whole) - (stop - done)))
            done = stop
    return out


@contextmanager
def rerouted(model: Any) -> Iterator[None]:
    """Inside this block the model's mixers run along the segments that `along` tells."""
    found = mixers(model)
    if not found:
        yield
        return
    own = [vars(module).get("forward") for module in found]
    size = int(model.get_input_embeddings().weight.shape[1])
    ways = [_resumes(module, size) for module in found]
    route = _ROUTES[model] = Route()
    for module, resumes in zip(found, ways):
        module.forward = _along(module.forward, route, resumes)
    try:
        yield
    finally:
        del _ROUTES[model]
        for module, before in zip(found, own):
            if before is None:
                del module.forward
            else:
                module.forward = before


def lay(model: Any, position: Tensor) -> None:
    """Tell the model's mixers, if it has any, the pack that comes: depths [N] in preorder."""
    route = _ROUTES.get(model)
    if route is not None:
        route.lay(position.tolist())


def _carries(given: Sequence[Segment]) -> bool:
    """Whether segments cost less than paths, in the chunks in which such layers compute."""
    chunks, paths = 0, 0
    depth: list[int] = []
    inner = {before for _, _, before in given}
    for n, (start, stop, before) in enumerate(given):
        depth.append(stop - start + (depth[before] if before >= 0 else 0))
        chunks += -(-(stop - start) // CHUNK)
        paths += 0 if n in inner else -(-depth[n] // CHUNK)
    return chunks <= paths


@dataclass(slots=True)
class _SegmentEnd:
    """Where a segment ended: the states there, but for `late` tokens [1, 0 or 1, size]."""

    states: States
    late: Tensor


Part = Callable[[Tensor, States], Tensor]  # tokens, from states that it leaves as they are after
_TRIED: dict[type, bool] = {}


def _along(forward: Callable[..., Any], route: Route, resumes: bool) -> Callable[..., Tensor]:
    """A mixer's forward over hidden states [1, N, size], segment by segment or path by path.

    Given a state and one token, some mixers write over the state in place. A segment of one token
    is therefore run with a second one behind it, whose output and states are dropped; those that
    follow it start from the state before and run the token again.
    """
    taken = set(inspect.signature(forward).parameters)
    cache = "cache_params" if "cache_params" in taken else "past_key_values"

    def run(hidden_states: Tensor, *_: Any, **given: Any) -> Tensor:
        given = {k: v for k, v in given.items() if k not in (*CACHES, "attention_mask")}

        def part(tokens: Tensor, states: States) -> Tensor:
            out = forward(tokens, **{cache: states}, **given)
            if not isinstance(out, Tensor):
                raise ModelError("its recurrent layers give more than hidden states")
            return out

        if resumes and route.carry:
            made = _resumed(part, hidden_states, route.segments)
        else:
            made = _anew(part, hidden_states, route.paths())
        whole = torch.cat(made, 1)
        return F.pad(whole, (0, 0, 0, hidden_states.shape[1] - whole.shape[1]))

    return run


def _resumed(part: Part, hidden: Tensor, segments: Sequence[Segment]) -> list[Tensor]:
    """Outputs of all segments, each run from the states at its parent's end."""
    out: list[Tensor] = []
    ends: list[_SegmentEnd] = []
    for start, stop, before in segments:
        above = ends[before] if before >= 0 else _SegmentEnd(States(), hidden[:, :0])
        tokens = torch.cat([above.late, hidden[:, start:stop]], 1)
        states = above.states.copy()
        if tokens.shape[1] == 1 and states.has_previous_state():
            out.append(part(tokens.expand(1, 2, -1), states)[:, :1])
            ends.append(_SegmentEnd(above.states, tokens))
        else:
            out.append(part(tokens, states)[:, above.late.shape[1] :])
            ends.append(_SegmentEnd(states, tokens[:, :0]))
    return out


def _anew(part: Part, hidden: Tensor, paths: Sequence[Path]) -> list[Tensor]:
    """Outputs of all tokens, each path run from its root: a shared prefix once a leaf."""
    device = hidden.device
    return [
        part(hidden.index_select(1, places.to(device)), States())[:, known:]
        for places, known in paths
    ]


def _resumes(module: torch.nn.Module, size: int) -> bool:
    """Whether a mixer goes on from states with several tokens at once (Mamba's first does not).

    Tried once a class, on random tokens of `size` values: a state with two children, which must
    not change it for each other, and with one-token segments below one of them.
    """
    kind = type(module)
    if kind not in _TRIED:
        like = next(module.parameters())
        generator = torch.Generator().manual_seed(0)
        tokens = torch.randn(1, len(TRIAL), size, generator=generator).to(like)
        route = Route(segments(TRIAL))
        try:
            with torch.no_grad():
                ways = [_along(module.forward, route, resumes)(tokens) for resumes in (True, False)]
        except RuntimeError:  # it takes other sizes: whole paths are right for any
            _TRIED[kind] = False
            return False
        difference = (ways[0] - ways[1]).abs().max()
        _TRIED[kind] = bool(difference <= 1e-4 * ways[1].abs().max())
    return _TRIED[kind]
