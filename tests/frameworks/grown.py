"""Grows one tree by an agent outside, and the same by an equal native program.

The native program is a Hornbeam program without gateway, process or HTTP: it asks what the
framework's requests said, with its own replies in place of the turns that came back unchanged. What
it goes by is the framework's behaviour as a function of what it heard, read off the requests of all
runs; two runs that heard the same and asked otherwise are no function, and fail.
"""

import json
from dataclasses import dataclass, field

from frameworks.variations import MOST, ScriptedModel, seed_for
from grow.worlds import KEY
from hornbeam.chat.ready_templates import template_text
from hornbeam.chat.tool_calls import parsed
from hornbeam.engine.request import Sampling
from hornbeam.errors import EngineError
from hornbeam.gateway.agent_program import AgentProgram
from hornbeam.grow.effects import Speaker
from hornbeam.grow.grower import Grower
from hornbeam.jobs.replay.replay_check import EveryStep
from hornbeam.tree.nodes import Tree
from hornbeam.tree.task import Task
from little_chats import chat_of

CHAT = chat_of(template_text("hermes"))
ERROR = ("", "error")  # what is heard of an ask that failed


class RecordedProgram(AgentProgram):
    """An agent outside whose requests are kept: `asked[episode]`, in their order."""

    def __init__(self, settings):
        super().__init__(settings)
        self.asked = {}
        self._episode = 0

    def forget(self):
        """Begin anew with the next tree."""
        self.asked.clear()
        self.gateway.counts.clear()

    def __call__(self, task, ep):
        self._episode = ep.effects._episode
        return super().__call__(task, ep)

    def _begin(self, process, task, session):
        asked, begin = self.asked.setdefault(self._episode, []), session._begin

        def keep(agent, request, key):
            asked.append((agent, request))
            return begin(agent, request, key)

        session._begin = keep
        return super()._begin(process, task, session)


@dataclass
class End:
    """The end of a run: its answer, its own reward, or that it failed."""

    answer: object
    rewards: tuple
    failed: bool


@dataclass
class Behaviour:
    """What an agent does next, by all that it heard: (agent, request), or its end."""

    next: dict = field(default_factory=dict)
    conflicts: list = field(default_factory=list)

    def enter(self, heard, does):
        """It does this where it heard that."""
        if self.next.setdefault(heard, does) != does:
            self.conflicts.append((heard, self.next[heard], does))


def behaviour(tree, asked):
    """The behaviour that the runs of a tree show."""
    out = Behaviour()
    for leaf in tree.leaves():
        last = tree.nodes[leaf]
        path = [tree.nodes[i] for i in tree.path(leaf) if tree.nodes[i].finish != "end"]
        requests = asked[last.origin.episode]
        if len(requests) != len(path):
            out.conflicts.append((leaf, len(requests), len(path)))
            continue
        heard = ()
        for node, request in zip(path, requests):
            out.enter(heard, request)
            heard += (ERROR if node.finish == "error" else (node.text, node.finish),)
        out.enter(heard, End(last.answer, last.rewards, bool(last.error)))
    return out


def native(known):
    """The program that does the same without a gateway."""

    async def program(task, ep):
        heard, replies = (), []
        while not isinstance(does := known.next[heard], End):
            agent, asked = does
            try:
                reply = await ep.ask(
                    agent, _own(asked, replies), tools=asked.tools, **asked.sampling
                )
            except EngineError:
                heard += (ERROR,)
                continue
            heard += ((reply.text, reply.finish),)
            replies.append(reply)
        if does.failed:
            raise RuntimeError("as the agent failed")
        for given in does.rewards:
            ep.reward(given.value, given.name)
        return does.answer

    return program


def _own(asked, replies):
    """The messages, with replies in place of turns that say the same, and their ids of calls.

    From the last back, as what a framework leaves out are the first.
    """
    left, place, ids = list(replies), {}, {}
    for n, message in reversed(list(enumerate(asked.messages))):
        if message["role"] != "assistant":
            continue
        found = [k for k, reply in enumerate(left) if _says(reply, message)]
        if found:
            place[n] = reply = left[found[-1]]
            del left[found[-1] :]
            calls = message.get("tool_calls", ())
            ids |= {sent["id"]: own.id for sent, own in zip(calls, reply.calls)}
    out = []
    for n, message in enumerate(asked.messages):
        if n in place:
            calls = message.get("tool_calls")
            said = place[n].message if calls else {"content": place[n].text}
            out.append({"role": "assistant", **said})
        elif message["role"] == "tool":
            ident = message["tool_call_id"]
            out.append({**message, "tool_call_id": ids.get(ident, ident)})
        else:
            out.append(message)
    return out


def _says(reply, message):
    """Whether a turn says what a reply said: reasoning, text up to outer white space, calls."""
    calls = message.get("tool_calls", ())
    given = _heard(message.get("reasoning_content", ""), message["content"])
    said = given == _heard(reply.reasoning, reply.content)
    if not calls:
        return message["content"].strip() == reply.text.strip() or (said and not reply.calls)
    called = [(c["function"]["name"], _value(c["function"]["arguments"])) for c in calls]
    return said and called == [(c.name, _value(c.raw or "{}")) for c in reply.calls]


def _heard(thought, text):
    """(reasoning, text), wherever the reasoning stands; no outer white space."""
    if not thought and "</think>" in text:
        thought, _, text = text.removeprefix("<think>").partition("</think>")
    return thought.strip(), text.strip()


def _value(arguments):
    return json.dumps(parsed(arguments), sort_keys=True)


async def grow(program, name, question, writer):
    """The tree of a run and a fork at every step of it."""
    agents = {"solver": Speaker(ScriptedModel(CHAT, writer), Sampling(max_tokens=MOST))}
    start = Tree(Task(name, question).to_json(), seed=seed_for(name))
    return await Grower(program, agents, EveryStep()).grow(KEY, start)


def facts(tree):
    """All that is equal of trees which are: structure, ids, log-probs, seeds, ends, rewards."""
    return [
        (
            (n.parent, n.prefix, n.keep, n.agent, n.finish, n.text),
            (n.prompt, n.tokens, n.logprobs, n.origin),
            (n.done, n.answer, bool(n.error), n.rewards),
        )
        for n in tree.nodes
    ]


def kept(tree):
    """(sampled ids that stand in the next ask's prompt as sampled, all that another ask follows).

    Answers of one path; those of a failed ask have no ids.
    """
    stand = total = 0
    for i, node in enumerate(tree.nodes):
        below = [c for c in tree.children(i) if tree.nodes[c].agent]
        if not below or not len(node.tokens):
            continue
        total += len(node.tokens)
        stand += len(node.tokens) * _within(node.tokens, tree.context(below[0]))
    return stand, total


def _within(part, whole):
    """Whether ids stand in others, in a row."""
    return "".join(map(chr, part)) in "".join(map(chr, whole))
