"""What a search costs beside its model: ours, treequest (tree copied or not) and its_hub.

One scripted model for all: a step is a number, its worth a checksum of it. Monte-Carlo tree search
with three children a node and one model call a simulation, grown by the plain ask/tell loop and by
the whole of growth (program, replay, engine, guide, ledger); then eight calls in flight whose
results come back in random order; then beam search, 16 beams a level, short and deep. Times are
those of the processor: nothing here waits. Libraries that are not installed are named.

    python bench/search.py [--quick] [--json FILE]
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import importlib.util
import json
import logging
import platform
import statistics
import time
import zlib
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from random import Random
from typing import Any

from hornbeam.chat import assistant, user
from hornbeam.engine.request import Barrier, Sampling
from hornbeam.engine.scripted import Scripted
from hornbeam.episode.program import Episode, Limits
from hornbeam.grow.effects import Speaker
from hornbeam.grow.grower import Grower
from hornbeam.protocols import Opinions
from hornbeam.search import Beam, Mcts, State, Strategy
from hornbeam.store.database import TreeKey
from hornbeam.tree.nodes import Node, Origin, Tree, floats, ids
from hornbeam.tree.task import Task

CHILDREN, IN_FLIGHT = 3, 8
BEAMS, WIDTH = 4, 4
DEPTHS = 16, 64  # steps of an answer
SMALL = 1_000
Times = dict[int, float]  # size of the tree -> microseconds a simulation there


def worth(text: str) -> float:
    """The value of a step, in [0, 1]."""
    return zlib.crc32(text.encode()) / 2**32


def say(prompt: str, rng: Random) -> str:
    return str(rng.randrange(1 << 30))


def mcts(simulations: int, parallel: int = 1) -> Mcts:
    return Mcts(
        simulations=simulations, children=CHILDREN, expand="one", parallel=parallel, depth=0
    )


# --- ours ----------------------------------------------------------------------------------------


def tell(tree: Tree, state: State, episode: int, parent: int, rng: Random) -> None:
    """One call comes back: a node, its value, told."""
    text = say("", rng)
    tokens = ids(list(text.encode()))
    node = Node(parent, "a", tokens=tokens, logprobs=floats([-1.0]) * len(tokens), text=text,
                finish="stop", origin=Origin(episode))  # fmt: skip
    state.results[episode] = tree.append(node)
    tree.columns["value"][state.results[episode]] = 2 * worth(text) - 1


def ask_and_tell(sizes: list[int]) -> Times:
    """Microseconds a simulation in the last tenth before each size."""
    how, tree, state, rng = mcts(sizes[-1]), Tree({"id": "t"}), State(), Random(0)
    tree.column("value")
    marks = {0: time.process_time()}
    stops = {int(size * share) for size in sizes for share in (0.9, 1)}
    while forks := how.ask(tree, state):
        for fork in forks:
            state.asked[fork.episode] = fork.node
            tell(tree, state, fork.episode, fork.node, rng)
        if len(tree) - 1 in stops:
            marks[len(tree) - 1] = time.process_time()
    return {n: 1e6 * (marks[n] - marks[int(0.9 * n)]) / (n - int(0.9 * n)) for n in sizes}


class Checksum:
    """A guide: the worth of a step, from -1 to 1."""

    column = "value"

    def __init__(self) -> None:
        self.barrier = Barrier()

    def most(self, tree: Tree, nodes: Any) -> int:
        """One token a node."""
        return len(nodes)

    async def judge(self, tree: Tree, nodes: Any) -> Opinions:
        """The worth of each node's text."""
        return Opinions([2 * worth(tree.nodes[i].text) - 1 for i in nodes], len(nodes))

    def forget(self, tree: Tree) -> None:
        """Nothing is kept."""

    async def aclose(self) -> None:
        """Nothing is held."""


async def think(task: Task, ep: Episode) -> str:
    """One step after another."""
    messages = [user(task.question)]
    for _ in range(DEPTHS[-1]):
        reply = await ep.ask("a", messages)
        messages += [assistant(reply.text), user("go on")]
    return reply.text


def grown(how: Strategy) -> tuple[float, int]:
    """(seconds, model calls) of one search by the whole of growth."""
    agents = {"a": Speaker(Scripted(say), Sampling(max_tokens=32))}
    limits = Limits(turns=2 * DEPTHS[-1], tokens=1 << 20)
    grower = Grower(think, agents, how, limits=limits, guides=[Checksum()])
    start = time.process_time()
    tree = asyncio.run(grower.grow(TreeKey("bench", 0, 0), Tree(Task("t", "?").to_json(), seed=1)))
    seconds = time.process_time() - start
    assert grower.ledger.calls == 2 * (len(tree) - 1), "a call and a judgement for every node"
    return seconds, len(tree) - 1


def late(calls: int) -> tuple[int, int]:
    """(calls paid, results used) with results that come back in random order."""
    how, tree, state, rng = mcts(calls, IN_FLIGHT), Tree({"id": "t"}), State(), Random(0)
    tree.column("value")
    out: list[Any] = []
    while True:
        forks = how.ask(tree, state)
        state.asked |= {fork.episode: fork.node for fork in forks}
        out += forks
        if not out:
            break
        fork = out.pop(rng.randrange(len(out)))
        tell(tree, state, fork.episode, fork.node, rng)
    visits = how.columns(tree)["visits"]
    return len(state.asked), sum(v is not None and v > 0 for v in visits[1:])


# --- treequest -----------------------------------------------------------------------------------


def treequest_step(rng: Random) -> Callable[[Any], tuple[str, float]]:
    def generate(parent: Any) -> tuple[str, float]:
        text = say("", rng)
        return text, worth(text)

    return generate


def treequest_times(sizes: list[int], copies: int) -> tuple[Times, Times, float]:
    """Microseconds a step at each size with the tree copied and in place; seconds in place."""
    import treequest

    how = treequest.StandardMCTS(samples_per_action=CHILDREN)
    steps = {"a": treequest_step(Random(0))}
    state = how.init_tree()
    copied: Times = {}
    place: Times = {}
    total = 0.0
    for size in sizes:
        while len(state.tree) - 1 < size:
            start = time.process_time()
            state = how.step(state, steps, inplace=True)
            seconds = time.process_time() - start
            total += seconds
            if len(state.tree) - 1 > 0.9 * size:
                place[size] = place.get(size, 0.0) + 1e6 * seconds / (size - int(0.9 * size))
        start = time.process_time()
        for _ in range(copies):
            how.step(state, steps)
        copied[size] = 1e6 * (time.process_time() - start) / copies
    return copied, place, total


def treequest_late(calls: int) -> tuple[int, int]:
    """(calls paid, results used) with results that come back in random order."""
    import treequest

    logging.getLogger("treequest.trial").setLevel(logging.ERROR)
    how, rng = treequest.StandardMCTS(samples_per_action=CHILDREN), Random(0)
    generate = treequest_step(rng)
    state = how.init_tree()
    out: list[Any] = []
    paid = 0
    while paid < calls or out:
        if paid < calls and len(out) < IN_FLIGHT:
            state, trials = how.ask_batch(state, min(IN_FLIGHT - len(out), calls - paid), ["a"])
            paid += len(trials)
            out += trials
        trial = out.pop(rng.randrange(len(out)))
        state = how.tell(state, trial.trial_id, generate(None))
    return paid, len(state.tree) - 1


# --- its_hub -------------------------------------------------------------------------------------


def its_hub_beam(depth: int) -> tuple[float, int]:
    """(seconds, model calls) of one beam search."""
    from its_hub.api import AbstractLanguageModel, AbstractProcessRewardModel
    from its_hub.core.algorithms.beam_search import BeamSearch
    from its_hub.core.lms.step_generation import StepGeneration

    rng, calls = Random(0), 0

    class Model(AbstractLanguageModel):
        async def agenerate(self, messages: Any, stop: Any = None, **more: Any) -> Any:
            nonlocal calls
            calls += len(messages)
            return [{"role": "assistant", "content": say("", rng)} for _ in messages]

    class Reward(AbstractProcessRewardModel):
        def score(self, prompt: Any, steps: Any) -> list[float]:
            return [worth(text[-10:]) for text in steps]

        async def ascore(self, prompt: Any, steps: Any) -> list[float]:
            return self.score(prompt, steps)

    generation = StepGeneration(max_steps=depth - 1, step_token="\n")
    search = BeamSearch(generation, Reward(), beam_width=BEAMS)
    start = time.process_time()
    asyncio.run(search.ainfer(Model(), "?", budget=BEAMS * WIDTH))
    return time.process_time() - start, calls


# --- the table -----------------------------------------------------------------------------------


def summary(values: list[float]) -> dict[str, float]:
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def over(rounds: list[Times]) -> dict[str, dict[str, float]]:
    return {str(size): summary([times[size] for times in rounds]) for size in rounds[0]}


def ratios(theirs: list[Times], ours: list[Times], size: int) -> dict[str, float]:
    """Theirs over ours, round by round."""
    return summary([a[size] / b[size] for a, b in zip(theirs, ours)])


def quiet(measure: Callable[[], Any]) -> Any:
    gc.collect()
    return measure()


def installed() -> dict[str, str]:
    """Versions of the other libraries; "" for one that is not installed."""
    names = ("treequest", "its_hub")
    return {n: metadata.version(n) if importlib.util.find_spec(n) else "" for n in names}


def beam_times(its_hub: bool) -> dict[str, float]:
    """Microseconds a model call of beam search, by who searched how deep."""
    out = {}
    for depth in DEPTHS:
        how = Beam(beams=BEAMS, width=WIDTH, depth=depth)
        runs = {"ours": lambda how=how: grown(how)}
        if its_hub:
            runs["its_hub"] = lambda depth=depth: its_hub_beam(depth)
        for name, run in runs.items():
            seconds, calls = quiet(run)
            out[f"{name}, {depth} steps"] = 1e6 * seconds / calls
    return out


def measure(quick: bool) -> dict[str, Any]:
    sizes = [SMALL // 10, SMALL] if quick else [SMALL, 10 * SMALL]
    rounds, large, found = (2 if quick else 3), sizes[-1], installed()
    grown(mcts(50))  # warm up
    loop: list[Times] = []
    whole: list[Times] = []
    copied: list[Times] = []
    place: list[Times] = []
    beams: dict[str, list[float]] = {}
    totals: list[float] = []
    for _ in range(rounds):
        loop.append(quiet(lambda: ask_and_tell(sizes)))
        whole.append({n: 1e6 * quiet(lambda n=n: grown(mcts(n)))[0] / n for n in sizes})
        for name, micro in beam_times(bool(found["its_hub"])).items():
            beams.setdefault(name, []).append(micro)
        if found["treequest"]:
            times = quiet(lambda: treequest_times(sizes, 5 if quick else 10))
            copied.append(times[0])
            place.append(times[1])
            totals.append(times[2])
    out: dict[str, Any] = {
        "python": platform.python_version(),
        "others": found,
        "simulations": large,
        "microseconds_per_simulation": {"ask and tell": over(loop), "growth": over(whole)},
        "linear": {"ask and tell": ratios([{0: t[large]} for t in loop],
                                          [{0: t[sizes[0]]} for t in loop], 0),
                   "growth": ratios([{0: t[large]} for t in whole],
                                    [{0: t[sizes[0]]} for t in whole], 0)},
        "beam_microseconds_per_call": {n: summary(v) for n, v in beams.items()},
        "paid_and_used": {"ours": late(large)},
    }  # fmt: skip
    if found["treequest"]:
        micro = out["microseconds_per_simulation"]
        micro |= {"treequest, copied": over(copied), "treequest, in place": over(place)}
        out["treequest_seconds_in_place"] = summary(totals)
        out["times_faster"] = {
            "ask and tell against copied": ratios(copied, loop, large),
            "ask and tell against in place": ratios(place, loop, large),
            "growth against copied": ratios(copied, whole, large),
        }
        out["paid_and_used"]["treequest"] = quiet(lambda: treequest_late(large))
    return out


def show(out: dict[str, Any]) -> None:
    for name, version in out["others"].items():
        print(f"{name} {version or 'is not installed: its lines are left out'}")
    print(f"\n{'microseconds a simulation':34}{'at':>8}{'min':>10}{'median':>10}{'max':>10}")
    for name, sizes in out["microseconds_per_simulation"].items():
        for size, row in sizes.items():
            print(f"{name:34}{int(size):8,}" + "".join(f"{v:10,.1f}" for v in row.values()))
    for name, row in out["linear"].items():
        print(f"{name + ', large over small':42}" + "".join(f"{v:10.2f}" for v in row.values()))
    for name, row in out.get("times_faster", {}).items():
        print(f"{name + ', times':42}" + "".join(f"{v:10,.1f}" for v in row.values()))
    print(f"\n{'beam search, microseconds a call':42}")
    for name, row in out["beam_microseconds_per_call"].items():
        print(f"{name:42}" + "".join(f"{v:10,.1f}" for v in row.values()))
    print(f"\n{IN_FLIGHT} calls in flight, back in random order{'':6}{'paid':>10}{'used':>10}")
    for name, (paid, used) in out["paid_and_used"].items():
        print(f"{name:42}{paid:10,}{used:10,}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--quick", action="store_true", help="a tenth of the work")
    args = parser.parse_args()
    command = "python bench/search.py" + (" --quick" if args.quick else "")
    out = {"command": command, **measure(args.quick)}
    show(out)
    if args.json:
        args.json.write_text(json.dumps(out, indent=2) + "\n")


if __name__ == "__main__":
    main()
