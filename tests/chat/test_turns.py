"""Conversations through templates that lose, rewrite, open thoughts; replays of them."""

from itertools import pairwise

import pytest

import hornbeam as hb
from hornbeam.chat import TemplateChat, assistant, end_of_answer, system, user
from hornbeam.engine.request import Completion
from hornbeam.episode.record import answer_of
from hornbeam.episode.seams import Piece
from hornbeam.errors import ModelError
from hornbeam.grow.effects import Speaker
from hornbeam.jobs.train.tree_metrics import grown_figures
from hornbeam.tree.nodes import floats, ids
from little_chats import (
    CHATML,
    EMPTY_THOUGHT,
    FIRST_SYSTEM,
    GEMMA,
    HARMONY,
    LLAMA2,
    PARTS,
    THINKING,
    chat_of,
)

TOOL = {"role": "tool", "content": "4"}


def test_text_is_given_as_parts_where_a_template_walks_over_them():
    chat = chat_of(PARTS)
    result = chat.spell(chat.render([system("Be brief."), user("2+2?")]))
    assert result.startswith(
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\n2+2?<|im_end"
    )
    assert "text is given as parts" in chat.about()


def test_parts_are_given_to_the_roles_that_want_them():
    mixed = (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['role'] == 'user' %}"
        "{% for part in m['content'] %}{{ part['text'] }}{% endfor %}{% else %}"
        "{{ m['content'] | string }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    )
    chat = chat_of(mixed)
    result = chat.spell(chat.render([system("S"), user("a"), assistant("4"), user("b")]))
    assert result.replace("<|im_end|>\n<|im_start|>", " ") == (
        "<|im_start|>system\nS user\na assistant\n4 user\nb<|im_end|>\n"
    )


def test_a_template_that_takes_no_question_is_refused_at_once():
    blind = "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '<|im_end|>' }}{% endfor %}"
    with pytest.raises(ModelError, match=r"it: the chat template leaves out message 1 \(user\)"):
        chat_of(blind)


LOST = {
    "system": (GEMMA, [system("s"), user("q")], "System role not supported"),
    "second system": (FIRST_SYSTEM, [system("s"), system("t"), user("q")], r"message 2 \(system\)"),
    "late system": (FIRST_SYSTEM, [user("q"), system("s")], r"message 2 \(system\)"),
    "developer": (FIRST_SYSTEM, [{**user("d"), "role": "developer"}, user("q")], r"\(developer\)"),
    "tool": (FIRST_SYSTEM, [user("q"), assistant("c"), TOOL], r"message 3 \(tool\)"),
    "no system": (LLAMA2, [system("s"), user("q")], r"message 1 \(system\)"),
    "calls": (
        CHATML,
        [user("q"), {**assistant("I look"), "tool_calls": [{"function": {"name": "look"}}]}, TOOL],
        r"the tool calls of message 2",
    ),
    "beside calls": (
        "{% for m in messages %}{{ '<|im_start|>' }}{% if m.tool_calls %}"
        "{{ m.tool_calls[0].function.name }}{% else %}{{ m.content }}{% endif %}{% endfor %}",
        [user("q"), {**assistant("I look"), "tool_calls": [{"function": {"name": "look"}}]}, TOOL],
        r"message 2 \(assistant\)",
    ),
}


@pytest.mark.parametrize("what", LOST)
def test_what_a_template_would_lose_is_refused(what):
    template, messages, result = LOST[what]
    chat = chat_of(template, special=("<|im_start|>", "<start_of_turn>"))
    with pytest.raises(ModelError, match=result) as error:
        chat.render(messages)
    assert "\n" not in str(error.value)


CHANNEL = HARMONY.replace("{{ '<|start|>assistant' }}", "{{ '<|start|>assistant<|channel|>x' }}")
OPENED = {
    "thought": (THINKING, ["So.\n</think>\n\n4", "4", "4"]),
    "empty thought": (EMPTY_THOUGHT, ["<think>So.\n</think>\n\n4", "4", "4"]),
    "channel": (HARMONY, ["<|channel|>final<|message|>4", "4", "4 "]),
    "half a channel": (CHANNEL, ["<|message|>4", "4", "4"]),
    "blank": (LLAMA2, ["4", " 4 ", "4"]),
    "trimmed": (GEMMA, [" 4\n", "4 ", "4"]),
    "parts": (PARTS, ["4", "4", "4"]),
}
NAMES = ("<|im_start|>", "<start_of_turn>", "<end_of_turn>", "<|start|>", "<|message|>", "<|end|>")


@hb.program
async def talk(task, ep):
    messages = [hb.user(task.question)]
    for n in range(3):
        reply = await ep.ask("solver", messages)
        messages += [hb.assistant(reply.text), hb.user(f"Sure? {n}")]
    return reply.text


def goes_on(tree):
    """Whether each prompt of a path begins with all that stood and was said in the one before."""
    out = []
    for leaf in tree.leaves():
        path = tree.path(leaf)
        for before, node in pairwise(path):
            held = tree.sequence(before)
            out.append(tree.context(node)[: len(held)] == held)
    return out


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("what", OPENED)
def test_a_conversation_only_grows(what, cut):
    """The prompt of a turn begins with the last turn's prompt and what was said, to the id."""
    template, say = OPENED[what]
    engine = hb.Scripted(say, chat_of(template, special=NAMES))
    agents = {"solver": Speaker(engine, hb.Sampling(max_tokens=1 if cut else 64))}
    (tree,) = hb.grow_trees(talk, [hb.Task("t", "2+2?")], agents, hb.Independent(n=1))
    assert not tree.nodes[-1].error and goes_on(tree) == [True, True]
    assert tree.nodes[1].finish == ("length" if cut else "stop")


def test_tool_turns_go_on_behind_a_thought():
    chat = chat_of(EMPTY_THOUGHT)
    first = chat.render([user("2+2?")])
    said = [*chat.encode("look"), *chat.ends]
    result = chat.render([user("2+2?"), assistant("look"), TOOL], {1: said})
    assert list(result[: len(first) + len(said)]) == [*first, *said]


def test_a_text_that_moves_on_forks_the_row_and_loses_no_ids():
    """As templates do that put the system text before the last question."""
    template = (
        "{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST]' }}{% if loop.last %}"
        "{% for s in messages if s['role'] == 'system' %}{{ s['content'] }}{% endfor %}{% endif %}"
        "{{ m['content'] + '[/INST]' }}{% elif m['role'] == 'assistant' %}"
        "{{ ' ' + m['content'] + '<|im_end|>' }}{% endif %}{% endfor %}"
    )
    chat = chat_of(template)
    said = [*chat.encode("4"), *chat.ends]
    result = chat.render([system("S"), user("a"), assistant("4"), user("b")], {2: said})
    assert chat.spell(result) == "[INST]a[/INST]4<|im_end|>[INST]Sb[/INST]"

    @hb.program
    async def asks(task, ep):
        messages = [hb.system("S"), hb.user(task.question)]
        for _ in range(3):
            reply = await ep.ask("solver", messages)
            messages += [hb.assistant(reply.text), hb.user("b")]

    for fits, forks in ((chat, 2), (chat_of(CHATML), 0)):
        engine = hb.Scripted("4", fits)
        tasks, how = [hb.Task("t", "a")], hb.Independent(n=1)
        trees = hb.grow_trees(asks, tasks, {"solver": engine}, how, score=lambda task, answer: 1.0)
        assert grown_figures(trees, None)["forks"] == forks


def test_a_template_that_rewrites_what_was_said_is_refused():
    chat = chat_of(CHATML.replace("m['content']", "m['content'] + m['content']"))
    with pytest.raises(ModelError, match=r"rewrites what the assistant said \(message 2\)"):
        chat.render([user("a"), assistant("4"), user("b")], {1: [*chat.encode("4")]})


class Spellings(hb.Scripted):
    """Says one word, spelled anew with each seed or at each turn."""

    async def generate(self, request):
        tokens = self.ways[request.seed % len(self.ways)]
        end = [end_of_answer(self.chat)] if request.seed % 5 else []
        said = ids([*tokens, *end])
        return Completion(said, floats([-1.0] * len(said)), self.chat.text(said), "stop")


@pytest.mark.parametrize("strategy", [hb.Independent(n=4), hb.Branch(trunks=2, nodes=2, rounds=2)])
def test_answers_of_one_text_keep_their_own_ids(strategy):
    chat = chat_of(CHATML, pieces=("four", "fo", "ur"))
    engine = Spellings("", chat)
    spell = chat.tokenizer.convert_tokens_to_ids
    engine.ways = [spell(["four"]), spell(["fo", "ur"]), spell([f"<0x{b:02X}>" for b in b"four"])]
    task = hb.Task("t", "2+2?")
    (tree,) = hb.grow_trees(talk, [task], {"solver": engine}, strategy, seed=3)
    assert {node.text for node in tree.nodes[1:]} == {"four"}
    assert len({node.tokens.tobytes() for node in tree.nodes[1:]}) > 2
    assert goes_on(tree) and all(goes_on(tree))


def test_a_worked_example_that_says_the_same_keeps_its_ids():
    chat = chat_of(CHATML, pieces=("four", "fo", "ur"))
    engine = Spellings("", chat)
    engine.ways = [[chat.tokenizer.convert_tokens_to_ids("four")]]

    @hb.program
    async def shown(task, ep):
        messages = [hb.user("3+1?"), hb.assistant("four"), hb.user(task.question)]
        for _ in range(3):
            reply = await ep.ask("solver", messages)
            messages += [hb.assistant(reply.text), hb.user("Sure?")]

    (tree,) = hb.grow_trees(shown, [hb.Task("t", "2+2?")], {"solver": engine}, hb.Independent(n=1))
    assert goes_on(tree) == [True, True]


@pytest.mark.parametrize("tags", [True, False])
def test_tags_are_seen_where_the_agent_has_them(tags):
    """Replays too: a branch hears of the trunk's answers as the trunk did."""
    chat = TemplateChat(chat_of(CHATML, special=("<|im_start|>", "<tool>")).tokenizer, "it")

    @hb.program
    async def twice(task, ep):
        heard = [await ep.ask("solver", [hb.user(task.question)])]
        again = [hb.user(task.question), hb.assistant(heard[0].text), hb.user("And?")]
        heard.append(await ep.ask("solver", again))
        return [reply.text for reply in heard]

    agents = {"solver": Speaker(hb.Scripted("<tool>look", chat), tags=tags)}
    how = hb.Branch(trunks=1, nodes=1, rounds=1)
    (tree,) = hb.grow_trees(twice, [hb.Task("t", "q")], agents, how)
    said = "<tool>look" if tags else "look"
    assert [tree.nodes[leaf].error for leaf in tree.leaves()] == [""] * len(tree.leaves())
    assert [tree.nodes[leaf].answer for leaf in tree.leaves()] == [[said, said]] * 2
    assert all(goes_on(tree))


def test_an_older_record_is_told_as_it_was():
    """Trees of before tags were shown replay to the words that their programs heard."""
    chat = chat_of(CHATML, special=("<|im_start|>", "<tool>"))
    tokens = ids([*chat.encode("<tool>look"), *chat.ends])
    for text in ("<tool>look", "look"):
        piece = Piece(tokens, floats(), text, "stop", 0)
        assert answer_of([piece], chat) == (text, tokens)
    halves = [
        Piece(tokens[:1], floats(), "", "chunk", 0),
        Piece(tokens[1:], floats(), "look", "", 0),
    ]
    assert answer_of(halves, chat) == ("look", tokens)
