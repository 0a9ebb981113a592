"""What a server can do, found out by asking it: about twelve short requests before all others.

In this order: which models it serves; whether its tokenizer is the one here; in which form it takes
a prompt; whether it goes on from a given prefix; of what its log-probs are; whether it keeps a stop
string in its answer; whether seeds make samples. What cannot be is refused in one line.
"""

from __future__ import annotations

import asyncio
from array import array
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from hornbeam.chat import user
from hornbeam.engine.remote.http_client import Refused
from hornbeam.engine.remote.replies import ServedModels, Tokenized
from hornbeam.engine.request import Sampling
from hornbeam.engine.scripted import stop_at
from hornbeam.errors import EngineError, PromptTooLong

if TYPE_CHECKING:
    from hornbeam.engine.remote.completions import HttpEngine
    from hornbeam.engine.remote.remote_engine import ServerEngine
    from hornbeam.engine.remote.replies import ServerAnswer

QUESTION = "Make up a strange sentence about a tree."  # what follows must not be sure
SPELLING = "The hornbeam's wood: 1,234.50 kg/m³ — 木 🌳\n\tdef f(x): return x ** 2  # Größe\n\n"
LENGTH = 12  # tokens of the greedy answer that is looked at
NEAR = 0.2  # nats: more than equal log-probs differ by on a server in bfloat16
SURE = 0.01  # nats
FORMS = [  # takes_ids, extras, logprobs
    *((True, True, True), (True, False, True), (True, False, False)),
    *((False, True, True), (False, False, True), (False, False, False)),
]
GREEDY = Sampling(temperature=0)
NEXT = (  # where /completions is not there, or is not what it should be
    'for search, eval, label, judges and teachers take kind = "chat", where the server has'
    " /chat/completions; training needs /completions that takes a prompt as it is, or"
    ' kind = "local", "vllm" or "vllm_server"'
)


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a server can do. `context` 0 is not known.

    `scale` says of what its log-probs are: "raw" logits, as vLLM gives them by default; "whole",
    the logits over the temperature; "cut", these after top-k and top-p (vLLM with processed
    log-probs); "" where there are none, or where it could not be found out.
    """

    model: str
    context: int = 0
    takes_ids: bool = True
    gives_ids: bool = False
    extras: bool = True  # sampling and answers beyond what OpenAI has
    logprobs: bool = True
    scale: Literal["", "raw", "whole", "cut"] = ""
    stops: bool = False  # an answer ends with its stop string, and tells it
    seeded: bool = False  # equal seeds, equal samples
    several: bool = False  # other seeds, other samples
    tokenizer: str = ""  # how it was compared: "ids", "count" or not at all

    def gives_plain_logprobs(self, how: Sampling) -> bool:
        """Whether log-probs are log-softmax(logits / temperature) over the whole vocabulary."""
        if self.scale == "raw":
            return how.temperature in (0, 1)
        if self.scale == "cut":
            return not how.temperature or (how.top_p == 1 and not how.top_k)
        return self.scale == "whole"

    def only_search(self, how: Sampling) -> str:
        """Why what is sampled like this cannot be trained on, or ""."""
        if not (self.takes_ids and self.gives_ids):
            return "gives text, not the sampled ids"
        if self.tokenizer != "ids":
            return "does not show its tokenizer, so that its ids may be other ones"
        if not self.scale:
            return "gives no log-probs, or none whose temperature is known"
        if not self.gives_plain_logprobs(how) and self.scale == "raw":
            return f"gives log-probs before the temperature, and {how.temperature:g} is not 1"
        return (
            ""
            if self.gives_plain_logprobs(how)
            else "gives log-probs after top_k and top_p: leave them out"
        )

    def describe(self) -> str:
        """In a line."""
        parts = [
            "ids in" if self.takes_ids else "text in",
            "ids out" if self.gives_ids else "text out (for search only)",
            f"log-probs {self.scale}" if self.scale else "no log-probs",
            f"context {self.context or 'unknown'}",
            seeds(self.seeded, self.several),
            *([] if self.tokenizer else ["tokenizer not compared"]),
        ]
        return f"model {self.model!r}: {', '.join(parts)}"


def seeds(seeded: bool, several: bool) -> str:
    """In words whether equal seeds give equal samples, and other seeds others."""
    if seeded and not several:
        return "the same answer for every seed: seeds are ignored"
    return "seeded" if seeded else "not seeded"


async def probe(engine: HttpEngine) -> Abilities:
    """What the server of an engine can do. Raises `EngineError` where it cannot be used."""
    root = engine.settings.root
    able = Abilities(*await served_model(engine))
    able = replace(able, tokenizer=await _same_tokenizer(engine, able.model))
    prompt = engine.chat.render([user(QUESTION)])
    able, free = await _form(engine, able, prompt)
    answer = free.tokens if free.tokens is not None else engine.chat.encode(free.text)
    able = replace(able, gives_ids=free.tokens is not None)
    if not able.tokenizer:
        able = replace(able, tokenizer=await _same_count(engine, able))
    await _goes_on(engine, able, prompt, answer, free)
    if able.gives_ids and free.logprobs:
        able = replace(able, scale=await _scale(engine, able, prompt, answer, free.logprobs))
    able = replace(able, stops=await _keeps_stop(engine, able, prompt, answer))
    hot = [engine.ask(able, prompt, Sampling(temperature=2.0), LENGTH, s) for s in (1, 1, 2, 3)]
    texts = [said.text for said in await asyncio.gather(*hot)]
    able = replace(able, seeded=texts[0] == texts[1], several=len(set(texts[1:])) > 1)
    engine.say(f"{root}: {able.describe()}")
    return able


async def served_model(engine: ServerEngine[Any]) -> tuple[str, int]:
    """The model that is asked for and its context, of those that the server names.

    Raises `EngineError` where it names another, or several and none is asked for.
    """
    root, wanted = engine.settings.root, engine.settings.model
    status, answer = await engine.client.call(f"{root}/models")
    listed = ServedModels.model_validate(answer if status == 200 else None)
    served = listed.by_name
    names = ", ".join(map(repr, served)) or f"none ({status})"
    if wanted and served and wanted not in served:
        raise EngineError(f"{root} does not serve model {wanted!r}, it serves {names}")
    if not wanted and len(served) != 1:
        raise EngineError(f"{root} names as its models {names}: see the url, or name one as model")
    name = wanted or next(iter(served))
    return name, served[name].context if name in served else 0


async def _same_tokenizer(engine: HttpEngine, model: str) -> str:
    """Compare the server's own encoding of a text with the one here; "" where it shows none."""
    root = engine.settings.root
    body = {"model": model, "prompt": SPELLING, "content": SPELLING, "add_special_tokens": False}
    status, answer = await engine.client.call(f"{root.removesuffix('/v1')}/tokenize", body)
    tokens = Tokenized.model_validate(answer if status == 200 else None).tokens
    if tokens is None:
        return ""
    _agree(engine, tokens)
    return "ids"


async def _same_count(engine: HttpEngine, able: Abilities) -> str:
    """The same by the ids of a prompt given as text, or by how many they are."""
    spelled = replace(able, takes_ids=False)
    try:
        said = await engine.ask(spelled, engine.chat.encode(SPELLING), GREEDY, 1, 0)
    except Refused:
        return ""
    if said.prompt is not None:
        _agree(engine, said.prompt)
        return "ids"
    if said.prompt_tokens is None:
        return ""
    size = len(engine.chat.encode(SPELLING))
    if said.prompt_tokens not in (size, size + 1):  # one may begin every prompt
        raise _other(engine, f"{said.prompt_tokens} tokens there and {size} here")
    return "count"


def _agree(engine: HttpEngine, tokens: list[int]) -> None:
    here = list(engine.chat.encode(SPELLING))
    if tokens not in (here, tokens[:1] + here):
        pair = next(((a, b) for a, b in zip(tokens, here) if a != b), (len(tokens), len(here)))
        raise _other(engine, f"{pair[0]} there where {pair[1]} is here")


def _other(engine: HttpEngine, how: str) -> EngineError:
    return EngineError(
        f"{engine.settings.root}: another tokenizer than the one here (a probe text is {how}): it"
        " is another model, or tokenizer must name the folder of the model that is served"
    )


async def _form(
    engine: HttpEngine, able: Abilities, prompt: array[int]
) -> tuple[Abilities, ServerAnswer]:
    """The richest form of a request that the server takes, and its greedy answer."""
    refusal: EngineError | None = None
    for takes_ids, extras, logprobs in FORMS:
        form = replace(able, takes_ids=takes_ids, extras=extras, logprobs=logprobs)
        try:
            said = await engine.ask(form, prompt, GREEDY, LENGTH, 0)
        except PromptTooLong:
            raise
        except Refused as error:
            refusal = refusal or error
            continue
        counts = (len(prompt),) if takes_ids else (len(prompt), len(prompt) + 1)
        if said.prompt_tokens is None or said.prompt_tokens in counts:
            return form, said
        refusal = EngineError(
            f"{engine.settings.root} makes {said.prompt_tokens} tokens of a prompt of"
            f" {len(prompt)}: it has another tokenizer, or puts a chat template around the prompt"
        )
    raise EngineError(
        f"{refusal}; an engine must take a prompt as it is at /completions: a server that only"
        f" chats begins every answer anew: {NEXT}"
    ) from refusal


async def _goes_on(
    engine: HttpEngine, able: Abilities, prompt: array[int], answer: array[int], free: ServerAnswer
) -> None:
    """Refuse a server that begins its answer anew when it is given the answer's beginning.

    Greedy, what follows t_1..t_k must be t_(k+1); tells nothing where that is t_1 itself.
    """
    cuts = [k for k in range(1, len(answer)) if answer[k] != answer[0]][:3]
    for k in cuts:
        said = await engine.ask(able, prompt + answer[:k], GREEDY, LENGTH - k, 0)
        if said.tokens is not None and said.tokens[:1] == answer[k : k + 1]:
            return
        rest = free.text.removeprefix(engine.chat.decode(answer[:k])).strip()
        more = said.text.strip()[: min(len(rest), 8)]
        if said.tokens is None and more and rest.startswith(more):
            return
    if cuts or free.prompt_tokens is None:
        raise EngineError(
            f"{engine.settings.root} does not go on from a given prefix, it begins its answer"
            f" anew: {NEXT}"
            if cuts
            else f"{engine.settings.root}: it cannot be seen whether it goes on from a prefix (it"
            f" reports no usage, and gives one token): {NEXT}"
        )


async def _scale(
    engine: HttpEngine, able: Abilities, prompt: array[int], answer: array[int], at_1: list[float]
) -> Literal["", "raw", "whole", "cut"]:
    """What becomes of the likeliest token's log-prob at temperature 2, with a nucleus of one.

    Looked at where the greedy answer was least sure. Raw it stays, whole it falls, cut it is 0.
    """
    k = min(range(len(at_1)), key=lambda i: at_1[i])
    how = Sampling(temperature=2.0, top_p=1e-6)  # the most that OpenAI and vLLM take
    said = await engine.ask(able, prompt + answer[:k], how, 1, 0)
    if at_1[k] > -SURE or not said.logprobs or list(said.tokens or ()) != [answer[k]]:
        return ""
    if said.logprobs[0] > -SURE / 10:
        return "cut"
    fell = at_1[k] - said.logprobs[0]
    return "raw" if abs(fell) < NEAR else "whole" if fell > 0 else ""


async def _keeps_stop(
    engine: HttpEngine, able: Abilities, prompt: array[int], answer: array[int]
) -> bool:
    """Whether an answer that ends at a stop string holds it; if not, answers are cut here."""
    for k in range(1, len(answer)):
        piece = engine.chat.decode(answer[k : k + 1]).strip()
        if piece and stop_at(engine.chat, answer, (piece,)) == k + 1:
            how = Sampling(temperature=0, stop=(piece,))
            said = await engine.ask(replace(able, stops=True), prompt, how, LENGTH, 0)
            if said.tokens is None:
                return said.text.rstrip().endswith(piece)
            return said.tokens == answer[: k + 1]
    return False
