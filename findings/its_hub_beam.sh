#!/bin/sh
# its-hub 1.2.0: in beam search copies of one finished path fill the beam, and a path has a step more than `max_steps`.
#
# After each level its BeamSearch copies every kept path `budget / beam_width` times. Copies of a path that goes on are sampled apart; those of a finished
# one stay equal, and each of them takes a place of the beam at the next level. So the first finished path that leads drops all others, and the search ends
# with it, though one of the others would have ended higher. A beam of two that keeps paths, not copies, finds the better one below (0.99, not 0.8).
# StepGeneration(max_steps = n) stops a path when it had n steps before the newest one: it ends with n + 1.
# Exits 0 while that is so, 1 when it has changed. Needs Python 3.11 or later and a package index.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check its-hub==1.2.0
"$place/venv/bin/python" - <<'PYTHON'
import asyncio
from importlib.metadata import version

from its_hub.api import AbstractLanguageModel, AbstractProcessRewardModel
from its_hub.core.algorithms.beam_search import BeamSearch
from its_hub.core.lms.step_generation import StepGeneration

#       A END 0.8     done at once                     B 0.7 -> C 0.6 -> F END 0.99
#                                                             -> D 0.5
SAYS = {"": ["A END", "B"], "B": ["C", "D"], "B C": ["F END"], "B D": ["G END"]}
SCORES = {"A END": 0.8, "B": 0.7, "B C": 0.6, "B D": 0.5, "B C F END": 0.99, "B D G END": 0.1}


class Scripted(AbstractLanguageModel):
    """Says the next of the steps that are written down for a prefix."""

    def __init__(self):
        self.asked = {}

    async def agenerate(self, messages, stop=None, **more):
        said = []
        for chat in messages:
            prefix = chat[1].content.strip() if len(chat) > 1 else ""
            place = self.asked[prefix] = self.asked.get(prefix, -1) + 1
            steps = SAYS.get(prefix, ["on"])
            said.append({"role": "assistant", "content": steps[place % len(steps)]})
        return said


class Told(AbstractProcessRewardModel):
    """Scores by the whole text so far."""

    def score(self, prompt, steps):
        return [SCORES.get(text, 0.0) for text in steps]

    async def ascore(self, prompt, steps):
        return self.score(prompt, steps)


def steps(most):
    return StepGeneration(max_steps=most, step_token=" ", stop_token="END")


search = BeamSearch(steps(8), Told(), beam_width=2)
found = asyncio.run(search.ainfer(Scripted(), "?", budget=4, return_response_only=False))
texts = [response["content"] for response in found.responses]
print("its-hub", version("its-hub"))
print("final beam:", texts, "chosen:", found.the_one["content"], "score", max(found.scores))
crowded = set(texts) == {"A END"}

alone = BeamSearch(steps(3), Told(), beam_width=1)
SAYS[""] = ["on"]
run = asyncio.run(alone.ainfer(Scripted(), "?", budget=1, return_response_only=False))
print("max_steps = 3, steps of the path:", run.steps_used)
raise SystemExit(0 if crowded and run.steps_used == [4] else 1)
PYTHON
