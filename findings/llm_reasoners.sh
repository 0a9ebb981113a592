#!/bin/sh
# llm-reasoners 1.0.2: four documented options of its searches, on a world of two steps.
#
# MCTS(output_strategy = "max_visit"), "the terminal node with maximum number of visits", returns no node at all: terminal_state and trace are None, though
# every iteration reached an end. With "follow_max" the trace is right and cum_reward is that of its first step alone (a slice runs to the root, not from it).
# BeamSearch(action_dedup = True) ends with an UnboundLocalError at the first node: actions are filtered before they are asked for.
# BeamSearch(sampling_strategy = "stochastic") ends with an IndexError unless `unbiased` is set too: it reads probabilities that only that one puts there.
# Exits 0 while that is so, 1 when it has changed. Needs Python 3.10 or later and a package index (torch is imported by the package: about 1 GB).
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.13.0 transformers==5.23.0 numpy tqdm
"$place/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps llm-reasoners==1.0.2
"$place/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

from reasoners import SearchConfig, WorldModel
from reasoners.algorithm import MCTS, BeamSearch

REWARDS = {"a": 0.5, "b": 0.25}  # of a step; the best way is "aa" with 1.0


class Letters(WorldModel):
    """Two letters, one after the other."""

    def init_state(self):
        return ""

    def step(self, state, action):
        return state + action, {}

    def is_terminal(self, state):
        return len(state) == 2


class Rewards(SearchConfig):
    def get_actions(self, state):
        return ["a", "b"]

    def fast_reward(self, state, action):
        return REWARDS[action], {}

    def reward(self, state, action, **more):
        return REWARDS[action], {}


def searched(how):
    return how(Letters(), Rewards())


print("llm-reasoners", version("llm-reasoners"))
found = {
    name: searched(MCTS(output_strategy=name, n_iters=8))
    for name in ("max_reward", "max_visit", "follow_max")
}
for name, result in found.items():
    print(f"MCTS, {name}: state {result.terminal_state!r}, cum_reward {result.cum_reward}")
told = {}
for name, given in {
    "action_dedup": {"action_dedup": True},
    "stochastic": {"sampling_strategy": "stochastic", "temperature": 1.0, "replace": False},
}.items():
    try:
        told[name] = f"state {searched(BeamSearch(beam_size=2, max_depth=2, **given)).terminal_state!r}"
    except (UnboundLocalError, IndexError) as error:
        told[name] = f"{type(error).__name__}: {error}"
    print(f"BeamSearch, {name}: {told[name]}")
same = (
    found["max_reward"].cum_reward == 1.0
    and found["max_visit"].terminal_state is None
    and found["follow_max"].terminal_state == "aa"
    and found["follow_max"].cum_reward == 0.5
    and told["action_dedup"].startswith("UnboundLocalError")
    and told["stochastic"].startswith("IndexError")
)
raise SystemExit(0 if same else 1)
PYTHON
