"""What a scripted model says to an agent: every variation of an answer that agents meet.

The question names its variation in brackets. The model's first answer is that variation with
a probability, by its own random numbers; behind a result comes a text; behind any other turn
a call or a text. So a fork says something else than the path that it leaves.
"""

import json
from dataclasses import dataclass
from random import Random

from frameworks.text_writers import TEXT_WRITERS
from hornbeam.engine.scripted import Scripted
from hornbeam.episode.seams import Place
from hornbeam.errors import EngineError
from hornbeam.grow.effects import request_seed

OFTEN = 0.6
FAILS = 0.25  # of the engine: clients try three times
EXPRESSIONS = ("6*7", "5*8+2", "40+2", "7*7")
WORDS = ("answer", "bark", "node")
MOST = 500  # tokens of an answer: bytes


@dataclass(frozen=True)
class Saying:
    """An answer before it is written as a model writes it. `calls`: (name, arguments as text)."""

    text: str = ""
    calls: tuple[tuple[str, str], ...] = ()
    reasoning: str = ""


def calculate(rng, form='{{"expression": "{}"}}'):
    """A call of the calculator, its arguments in this form."""
    return ("calculator", form.format(rng.choice(EXPRESSIONS)))


def look_up(rng):
    """A call of the dictionary."""
    return ("lookup", json.dumps({"word": rng.choice(WORDS)}))


def final(rng):
    """An answer in words; some are right."""
    return Saying(f"The answer is {rng.choice([41, 42, 43])}.")


# Tools by which frameworks let a model give an answer of a type, and what it says then.
FINAL_TOOLS = ("final_result", "Outcome")


def typed(saying, prompt, rng):
    """A text as a call of the tool that the answer is wanted by, where there is one."""
    wanted = next((name for name in FINAL_TOOLS if f'"name": "{name}"' in prompt), None)
    if wanted is None or saying.calls or rng.random() < 0.1:
        return saying
    value = rng.choice(["41", "42", "43", '"42"', '"41"', '"many"'])
    return Saying(saying.text, ((wanted, f'{{"value": {value}}}'),), saying.reasoning)


def _calculates(form):
    return lambda rng: Saying(calls=(calculate(rng, form),))


LONG = "very " * 200
VARIATIONS = {
    "text": final,
    "call": lambda rng: Saying(calls=(calculate(rng),)),
    "two_calls": lambda rng: Saying(calls=(calculate(rng), look_up(rng))),
    "twice_the_same": lambda rng: Saying(calls=(calculate(rng),) * 2),
    "spaces": _calculates('{{ "expression" :"{}" ,\t"count":2}}'),
    "no_spaces": _calculates('{{"expression":"{}","count":2}}'),
    "key_order": _calculates('{{"count": 1, "note": "n", "expression": "{}"}}'),
    "escapes": _calculates('{{"expression": "{}", "note": "caf\\u00e9 \\ud83d\\ude00 \\/ é"}}'),
    "half_a_pair": _calculates('{{"expression": "{}", "note": "\\ud83d"}}'),
    "repeated_key": _calculates('{{"expression": "1", "expression": "{}"}}'),
    "float_for_whole": _calculates('{{"expression": "{}", "count": 2.0}}'),
    "text_for_number": _calculates('{{"expression": "{}", "count": "2"}}'),
    "unknown_argument": _calculates('{{"expression": "{}", "unit": "m"}}'),
    "no_arguments": lambda rng: Saying(calls=(("lookup", "{}"),)),
    "missing_argument": lambda rng: Saying(calls=(("calculator", "{}"),)),
    "broken_json": _calculates('{{"expression": "{}", "note": }}'),
    "unknown_tool": lambda rng: Saying(calls=(("abacus", '{"beads": 7}'),)),
    "tool_raises": lambda rng: Saying(calls=(("calculator", '{"expression": "1/0"}'),)),
    "text_and_call": lambda rng: Saying("I will work it out.", (calculate(rng),)),
    "reasoning_and_call": lambda rng: Saying("", (calculate(rng),), "They want a number."),
    "reasoning_and_text": lambda rng: Saying("It is 42.", (), "They want a number."),
    "thought_in_text": lambda rng: Saying(f"So <think>hm {rng.random()}</think> 42."),
    "cut_text": lambda rng: Saying(f"{rng.random()} is {LONG}"),
    "cut_call": _calculates('{{"expression": "{}", "note": "' + LONG + '"}}'),
    "empty": lambda rng: Saying(),
    "white_space": lambda rng: Saying(f" \n {rng.choice([41, 42])}\n\n"),
    "engine_error": final,  # and the engine fails before it
}


def hermes(saying):
    """As a model of the ready-made template `hermes` writes it."""
    calls = "\n".join(
        f'<tool_call>\n{{"name": "{name}", "arguments": {arguments}}}\n</tool_call>'
        for name, arguments in saying.calls
    )
    thought = f"<think>\n{saying.reasoning}\n</think>\n\n" if saying.reasoning else ""
    return thought + saying.text + ("\n" if saying.text and calls else "") + calls


WRITERS = {"hermes": lambda saying, prompt, hermes: hermes(saying), **TEXT_WRITERS}
RESULTS = ("</tool_response>", "Observation:", "observation_")  # how a result stands in a prompt


def often(name):
    """How often a variation is what is said at first."""
    return FAILS if name == "engine_error" else OFTEN


def variation_of(prompt):
    """The variation that the question of a prompt names."""
    return next(name for name in VARIATIONS if f"[{name}]" in prompt)


class ScriptedModel(Scripted):
    """Says the variation that the question names, in the way that this kind of agent reads."""

    def __init__(self, chat, writer="hermes"):
        super().__init__(self._answer, chat)
        self._write = WRITERS[writer]

    def _answer(self, prompt, rng):
        saying = typed(self._saying(prompt, rng), prompt, rng)
        return self._write(saying, prompt, hermes)

    def _saying(self, prompt, rng):
        name = variation_of(prompt)
        special = rng.random() < often(name)
        # The chat's text has no control tokens: a turn is a line with its role.
        first = prompt.count("\nassistant\n") == 1
        if any(word in prompt.rpartition("\nuser\n")[2] for word in RESULTS):
            return final(rng)
        if first and special:
            if name == "engine_error":
                raise EngineError("the engine is busy")
            return VARIATIONS[name](rng)
        return rng.choice([final, VARIATIONS["call"]])(rng)


def seed_for(name):
    """A seed of a tree whose first ask is answered by the variation, and a failed one then not."""
    for seed in range(1000):
        draws = [Random(request_seed(seed, Place(0, n, ""))).random() for n in (0, 1)]
        draws = [draw < often(name) for draw in draws]
        if draws[0] and not (draws[1] and name == "engine_error"):
            return seed
    raise AssertionError(name)
