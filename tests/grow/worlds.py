"""An engine that answers late and out of order and checks the turnstile; programs of all shapes."""

from __future__ import annotations

import asyncio
from random import Random

from hornbeam.chat import assistant, user
from hornbeam.engine.request import Barrier
from hornbeam.engine.scripted import Scripted
from hornbeam.grow.effects import Speaker
from hornbeam.grow.grower import Grower
from hornbeam.search import Fork, Independent
from hornbeam.store.database import TreeKey
from hornbeam.tree.facts import Result
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task
from hornbeam.workers.local_workers import LocalWorkers, inline

KEY = TreeKey("train", 0, 0)
ONE_EPISODE = Independent(n=1)


class Counted(Barrier):
    """A turnstile that nobody may leave more often than it was entered."""

    @property
    def count(self) -> int:
        """How many are busy."""
        return self._busy

    def leave(self) -> None:
        """As below, checked."""
        assert self._busy > 0, "left more often than entered"
        super().leave()


class Late(Scripted):
    """Answers only when nobody is busy, and then in an order of its own draw.

    A client counted busy too long makes it wait for ever; one counted too short fails `leave`.
    """

    def __init__(self, say, seed=0, most=1000) -> None:
        super().__init__(say)
        self.barrier: Counted = Counted()
        self.seeds: list[int] = []
        self._draws, self._most = Random(seed), most
        self._asleep: list[asyncio.Future[None]] = []
        self._task: asyncio.Task[None] | None = None

    async def generate(self, request):
        """What the script says, some time."""
        self.seeds.append(request.seed)
        here = asyncio.get_running_loop().create_future()
        self._asleep.append(here)
        if self._task is None:
            self._task = asyncio.create_task(self._serve())
        await here
        return await super().generate(request)

    async def _serve(self) -> None:
        try:
            while self._asleep:
                for _ in range(8):
                    await asyncio.wait_for(self.barrier.quiet(), 5)
                    await asyncio.sleep(0)
                self._draws.shuffle(self._asleep)
                count = self._draws.randint(1, min(self._most, len(self._asleep)))
                for future in self._asleep[:count]:
                    if not future.done():
                        future.set_result(None)
                del self._asleep[:count]
        except TimeoutError:
            for future in self._asleep:
                if not future.done():
                    future.set_exception(AssertionError("somebody is counted busy for ever"))
        finally:
            self._task = None


class OneMore:
    """Forks once, at one node."""

    steps = None

    def __init__(self, node, episode, steps=None):
        self.fork = Fork(episode, node, steps)

    def ask(self, tree, state):
        """The one fork."""
        return [] if self.fork.episode in state.asked else [self.fork]

    def drops(self, tree, state):
        """None."""
        return ()

    def leaves(self):
        """One."""
        return 1


class Length:
    """The length of the answer's text, in hundredths."""

    column = "reward"

    async def score(self, tree, nodes):
        """After a moment."""
        await asyncio.sleep(0)
        return [len(str(tree.nodes[i].answer)) / 100 for i in nodes]

    async def aclose(self):
        """Nothing is held."""


CALLS = (
    '<tool_call>{"name": "slow", "arguments": {"word": "oak"}}</tool_call>'
    '<tool_call>{"name": "echo", "arguments":  {"word": "elm"}}</tool_call>',
    '<tool_call>{"name": "slow", "arguments": {"word": }}</tool_call>',
    '<tool_call>{"name": "nope", "arguments": {}}</tool_call>',
    '<tool_call>{"name": "echo", "arguments": {"words": "elm"}}</tool_call>',
)


def say(prompt, rng):
    """A word or two; where tools are offered often calls, good and bad ones."""
    if prompt.startswith("tools: ") and rng.random() < 0.7:
        return f"Well. {rng.choice(CALLS)}"
    return " ".join(rng.choice(["left", "right", "stay"]) for _ in range(rng.randint(1, 3)))


@inline
def echo(word):
    """What was heard."""
    return {"heard": [word]}


async def slow(word):
    """What was heard, after a while that hangs on the word."""
    await asyncio.sleep(len(word) % 3 / 2000)
    return word


async def pays(word):
    """Half a point for a word."""
    return Result(word, 0.5)


TOOLS = {"echo": echo, "slow": slow, "pays": pays}


async def chain(task, ep):
    """Turns with a tool, a random number in some."""
    messages = [user(task.question)]
    for _ in range(4):
        reply = await ep.ask("walker", messages)
        heard = await ep.call("slow", word=f"{reply.text} {ep.rng.random():.3f}")
        messages += [assistant(reply.text), user(heard)]
        if reply.text == "stay":
            break
    return reply.text


async def gathered(task, ep):
    """Asks and calls at once, before and behind others."""
    first = await asyncio.gather(
        ep.call("slow", word="early"),
        ep.ask("walker", [user(task.question)]),
        ep.call("echo", word="middle"),
        ep.ask("walker", [user(task.question), assistant("x"), user("again")]),
        ep.call("slow", word="later"),
    )
    then = await asyncio.gather(
        *(ep.ask("walker", [user(str(first[1])), user(str(i))]) for i in range(3)),
        ep.call("slow", word=str(first[3])),
    )
    return [str(one) for one in then]


async def first_wins(task, ep):
    """Hears one of three asks and drops the others, then goes on."""
    asks = [asyncio.create_task(ep.ask("walker", [user(f"{task.question}{i}")])) for i in range(3)]
    done, pending = await asyncio.wait(asks, return_when=asyncio.FIRST_COMPLETED)
    for one in pending:
        one.cancel()
    result = [one.result().text for one in done]
    last = await ep.ask("walker", [user(" ".join(result))])
    return [*result, last.text]


async def leaves_early(task, ep):
    """Ends while asks are still out."""
    asks = [asyncio.create_task(ep.ask("walker", [user(f"{task.question}{i}")])) for i in range(3)]
    tool = asyncio.create_task(ep.call("slow", word="never heard"))
    reply = await asks[0]
    assert not tool.done()
    return reply.text


async def nested(task, ep):
    """Sub-agents at once that have sub-agents, and tools, of their own."""

    async def helper(task, ep):
        messages = [user(task.question)]
        for _ in range(2):
            reply = await ep.ask("anyone", messages)
            messages += [assistant(reply.text), user(await ep.call("slow", word=reply.text))]
        return reply.text

    async def lead(task, ep):
        both = await asyncio.gather(
            *(ep.delegate("walker", helper, Task("s", f"{task.question} {i}")) for i in range(2))
        )
        return " ".join(both) + f" {ep.rng.random():.3f}"

    parts = await asyncio.gather(
        *(ep.delegate("lead", lead, Task("l", f"{i}")) for i in range(2)),
        ep.ask("walker", [user("meanwhile")]),
    )
    return " ".join(str(part) for part in parts)


async def native(task, ep):
    """Native calls of tools, as many as it likes."""
    messages = [user(task.question)]
    for _ in range(4):
        reply = await ep.ask("walker", messages, tools="*")
        messages += [reply.message, *await ep.run(reply)]
        if not reply.calls:
            break
    return reply.content


async def fails(task, ep):
    """Raises in the middle of a gather, for some answers."""

    async def one(i):
        reply = await ep.ask("walker", [user(f"{task.question} {i}")])
        if reply.text == "stay":
            raise ValueError("nothing here")
        return reply.text

    return await asyncio.gather(*(one(i) for i in range(3)))


async def rewarded(task, ep):
    """Rewards before the first ask, between calls, of a gather, of a sub-agent, at the end."""

    async def helper(task, ep):
        reply = await ep.ask("anyone", [user(task.question)])
        ep.reward(len(reply.text), "helper")
        return reply.text

    async def one(ep, i):
        reply = await ep.ask("walker", [user(f"{task.question} {i}")])
        ep.reward(i / 4)
        await ep.call("slow", word=reply.text)
        ep.reward(-0.25, "slow")
        return reply.text

    ep.reward(1.0)
    await ep.call("slow", word="early")
    ep.reward(2.0, "early")
    said = await asyncio.gather(*(one(ep, i) for i in range(2)), ep.call("pays", word="w"))
    ep.reward(ep.rng.random(), "drawn")
    said.append(await ep.delegate("walker", helper, Task("s", "sub")))
    ep.reward(len(said))
    return said


PROGRAMS = [chain, gathered, first_wins, leaves_early, nested, native, fails, rewarded]


def grower(program, strategy=None, engine=None, tools=TOOLS, **more):
    """A grower with one engine for all agents."""
    engine = engine or Scripted(say)
    speaker = Speaker(engine, segment=more.pop("segment", None))
    workers = LocalWorkers(tools, seconds=more.pop("seconds", 5.0))
    more.setdefault("scorer", Length())
    agents = {"walker": speaker, "lead": speaker}
    return Grower(program, agents, strategy or Independent(n=4), tools=workers, **more)


def tree(seed=0, question="Where?"):
    """A fresh tree."""
    return Tree(Task("t", question).to_json(), seed=seed)


def grow(how, start=None):
    """The tree that grows."""
    return asyncio.run(how.grow(KEY, start if start is not None else tree()))
