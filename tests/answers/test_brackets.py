"""Brackets counted, in texts and in samples that a stop string ends too early."""

import asyncio

import pytest

from hornbeam.answers.brackets import goes_on, inside
from hornbeam.chat import ByteChat, user
from hornbeam.engine.request import Barrier, Completion, Sampling
from hornbeam.engine.scripted import stop_at
from hornbeam.episode.segmenters import Segmenter
from hornbeam.grow.effects import Speaker
from hornbeam.grow.grower import Grower
from hornbeam.search import Independent
from hornbeam.store.database import TreeKey
from hornbeam.store.ledger import Ledger
from hornbeam.tree.nodes import Tree, floats
from hornbeam.tree.task import Task

# what stands in a closed ANSWER[...]
WHOLE = [
    r"\sqrt[3]{2}",
    "(0, 1]",
    "[0, 1)",
    r"(-\infty, 3] \cup [4, 5)",
    r"\left]0, 1\right[",
    "[1, [2, 3]]",
    "a[b[0]]",
    "(1+2)\n*3",
    'len("[")',
    'text.find("]")',
    "{'a': [1, ']']}['a'][0]",
    "who is [Ann]'s friend",
    "a smile :)",
    "no end ( of this",
    "1) this and 2) that",
    "",
]


@pytest.mark.parametrize("held", WHOLE)
def test_brackets_inside_are_counted(held):
    text = f"so ANSWER[{held}] and then [more]"
    assert inside(text, 10, "]") == held
    at = [n for n, sign in enumerate(text, 1) if sign == "]" and not goes_on(text[:n], ["]"])]
    assert at[0] == text.index("] and") + 1  # the stop string "]" ends the sample nowhere before


def test_what_is_never_closed_ends_at_the_first():
    assert inside("CALC[(1, 2] + CALC[3", 5, "]") == "(1, 2"
    assert inside("ANSWER[\\sqrt[3]", 7, "]") == "\\sqrt[3"
    assert inside("CALC[1 + 2", 5, "]") is None


def test_other_ends():
    assert inside(r"\boxed{\frac{1}{2}}}", 7, "}") == r"\frac{1}{2}"
    assert inside(r"\boxed{\left\{1\right.}", 7, "}") == r"\left\{1\right."
    assert inside("f(g(x), [0, 1))", 2, ")") == "g(x), [0, 1)"
    assert inside("A[[a[0]]] ", 3, "]]") == "a[0]"
    assert inside("<a>(x</a>", 3, "</a>") == "(x"


@pytest.mark.parametrize(
    "text", ["see [1, 2]", "a list [1, 2 and CALC[3]", "f(x, y and CALC[3]", "CALC[2] x[0]", "0]"]
)
def test_what_is_balanced_or_opened_by_no_name_ends_there(text):
    assert not goes_on(text, ["]"])


def test_other_stop_strings_end_at_once():
    assert not goes_on("CALC[a[0].", ["]", "."])
    assert not goes_on("CALC[a[0]", ["END"])
    assert goes_on("0]", ["]"], "CALC[a[") and not goes_on("0]]", ["]"], "CALC[a[")
    assert goes_on(r"\boxed{\frac{1}", ["}"])


@pytest.mark.timeout(60)  # quadratic reading would take minutes
@pytest.mark.parametrize("part", ["[", "(,", "[(", "[(,", "=\"\\'", "a[", " (", "(]"])
def test_a_long_text_is_read_at_once(part):
    text = "CALC[" + part * 50_000 + ")]" * 50_000
    inside(text, 5, "]")
    goes_on(text, ["]"])


class Reciter:
    """Goes on with a text from wherever a prompt stops, to the first stop string, as servers do."""

    def __init__(self, text):
        self.chat, self.version, self.barrier = ByteChat(), 0, Barrier()
        self.text, self.prompts = text, []

    async def generate(self, request):
        if not self.prompts:
            self.prompts.append(len(request.prompt))
        said = len(request.prompt) - self.prompts[0]
        tokens = self.chat.encode(self.text)[said:] + self.chat.encode("")
        tokens.append(next(iter(self.chat.ends)))
        length = stop_at(self.chat, tokens, request.sampling.stop) or len(tokens)
        most = request.sampling.max_tokens
        tokens = tokens[: min(length, most)]
        return Completion(
            tokens,
            floats([-float(said + n) for n in range(len(tokens))]),
            self.chat.decode(tokens),
            "stop" if length <= most else "length",
            computed=len(request.prompt),
        )

    def cached(self, prompt):
        return 0

    async def load(self, version):
        self.version = version

    async def aclose(self):
        pass


async def once(task, ep):
    return (await ep.ask("a", [user("?")], stop=["]"])).text


def said(text, segment=None, **sampling):
    """The tree of one answer, and how often the engine was asked."""
    ledger = Ledger()
    speaker = Speaker(Reciter(text), Sampling(**sampling), segment)
    grower = Grower(once, {"a": speaker}, Independent(n=1), ledger=ledger)
    tree = asyncio.run(grower.grow(TreeKey("t", 0, 0), Tree(Task("t", "?").to_json())))
    return tree, ledger.calls


def test_a_sample_goes_on_where_its_stop_string_closed_an_inner_bracket():
    tree, calls = said("ANSWER[a[b[0]]] and so on]")
    assert [node.text for node in tree.nodes[1:]] == ["ANSWER[a[b[0]]]"] and calls == 3
    node = tree.nodes[1]
    assert node.finish == "stop" and node.answer == node.text
    assert list(node.logprobs) == [-float(n) for n in range(len(node.tokens))]
    assert said("CALC[1 + 2] x")[1] == 1


def test_the_rest_of_a_sample_has_what_room_is_left():
    for most, text in ((14, "ANSWER[a[b[0]]"), (13, "ANSWER[a[b[0]"), (12, "ANSWER[a[b[0")):
        tree, _ = said("ANSWER[a[b[0]]]", max_tokens=most)
        assert (tree.nodes[1].text, tree.nodes[1].finish) == (text, "length")


@pytest.mark.parametrize("by", ["tokens", "text"])
def test_chunks_are_cut_as_without_brackets(by):
    segment = Segmenter(by=by, tokens=4, text=(",",))
    tree, _ = said("CALC[f[1], f[2]] x]", segment)
    texts = [node.text for node in tree.nodes[1:]]
    whole = {"tokens": ["CALC", "[f[1", "], f", "[2]]"], "text": ["CALC[f[1],", " f[2]]"]}
    assert texts == whole[by]
    assert [node.finish for node in tree.nodes[1:]] == ["chunk"] * (len(texts) - 1) + ["stop"]
