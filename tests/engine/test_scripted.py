import asyncio
import random

import pytest

from hornbeam.chat import ByteChat, TemplateChat, user
from hornbeam.engine.request import Completion, Request, Sampling
from hornbeam.engine.scripted import Scripted
from hornbeam.errors import EngineError, PromptTooLong
from hornbeam.models import tiny_model
from hornbeam.tree.nodes import ids

CHAT = ByteChat()


def ask(engine: Scripted, text: str = "hello", seed: int = 0, **sampling) -> Completion:
    request = Request(CHAT.render([user(text)]), Sampling(**sampling), seed)
    return asyncio.run(engine.generate(request))


def test_says_the_text_and_an_end_token() -> None:
    said = ask(Scripted("four"))
    assert said.tokens == ids(list(b"four\0"))
    assert (said.text, said.finish) == ("four", "stop")
    assert list(said.logprobs) == [-1.0] * 5
    assert (said.computed, said.cached) == (len(CHAT.render([user("hello")])), 0)


def test_a_list_speaks_in_order_and_says_when_it_is_used_up() -> None:
    engine = Scripted(["one", "two"])
    assert [ask(engine).text, ask(engine).text] == ["one", "two"]
    with pytest.raises(EngineError, match="used up"):
        ask(engine)


def test_of_a_mapping_the_key_that_stands_last_speaks() -> None:
    engine = Scripted({"= 4": "ANSWER[4]", "plus": "CALC[2+2]", "": "what?"})
    assert ask(engine, "2 plus 2").text == "CALC[2+2]"
    assert ask(engine, "2 plus 2\n= 4").text == "ANSWER[4]"
    assert ask(engine, "tea").text == "what?"
    with pytest.raises(EngineError, match="no key"):
        ask(Scripted({"plus": "4"}), "tea")
    assert ask(Scripted({"b": "short", "ab": "long"}), "ab").text == "long"


def test_a_function_hears_the_prompt_and_draws_by_the_seed() -> None:
    engine = Scripted(lambda prompt, rng: f"{prompt}{rng.random()}")
    assert ask(engine, seed=3).text == f"user: helloassistant: {random.Random(3).random()}"
    assert ask(engine, seed=3).text != ask(engine, seed=4).text
    assert ask(engine, seed=3, temperature=0.0).text == ask(engine, seed=4, temperature=0.0).text


def test_max_tokens_cuts() -> None:
    said = ask(Scripted("four"), max_tokens=4)
    assert (said.text, said.finish, len(said.logprobs)) == ("four", "length", 4)
    assert ask(Scripted("four"), max_tokens=5).finish == "stop"


def test_stop_strings_end_with_the_token_that_completes_one() -> None:
    said = ask(Scripted("I do CALC[2+2] and ANSWER[4]"), stop=("]", "and"))
    assert (said.text, said.finish) == ("I do CALC[2+2]", "stop")
    assert said.tokens == ids(list(b"I do CALC[2+2]"))
    cut = ask(Scripted("I do CALC[2+2]"), stop=("]",), max_tokens=5)
    assert (cut.text, cut.finish) == ("I do ", "length")
    assert ask(Scripted("none"), stop=("]",)).tokens[-1] == 0


def test_an_end_token_inside_the_text_ends_it() -> None:
    assert ask(Scripted("one\0two")).tokens == ids(list(b"one\0"))


def test_a_full_window_is_told() -> None:
    need = len(CHAT.render([user("hello")]))
    with pytest.raises(PromptTooLong, match="no room"):
        ask(Scripted("four", context=need))
    said = ask(Scripted("four", context=need + 2))
    assert (said.text, said.finish) == ("fo", "length")


def test_log_probs_of_the_user() -> None:
    engine = Scripted("ab", logprob=lambda prompt, tokens: [-0.5 * t for t in range(len(tokens))])
    assert list(ask(engine).logprobs) == [0.0, -0.5, -1.0]
    with pytest.raises(EngineError, match="1 log-probs for 3 tokens"):
        ask(Scripted("ab", logprob=lambda prompt, tokens: [0.0]))


def test_a_script_that_says_no_text_is_told() -> None:
    with pytest.raises(EngineError, match="must say a text"):
        ask(Scripted(lambda prompt, rng: 4))  # type: ignore[arg-type,return-value]


def test_the_version_is_stamped() -> None:
    engine = Scripted("a")
    asyncio.run(engine.load(7))
    assert ask(engine).version == 7


def test_with_a_chat_template_the_end_and_the_cuts_are_those_of_the_tokenizer() -> None:
    chat = TemplateChat(tiny_model.tokenizer(), "tiny")
    engine = Scripted("left k07 CALC[2+2] right", chat)
    prompt = chat.render([user("left or right?")])

    def say(**sampling) -> Completion:
        return asyncio.run(engine.generate(Request(prompt, Sampling(**sampling))))

    whole = say()
    assert chat.tokenizer.convert_ids_to_tokens(whole.tokens[-1]) == "<end>"
    assert (whole.text, whole.finish) == ("left k07 CALC[2+2] right", "stop")
    cut = say(stop=("2]", "right"))
    assert (cut.text, cut.finish) == ("left k07 CALC[2+2]", "stop")
    assert cut.tokens == whole.tokens[: len(cut.tokens)]
    word = say(stop=("ef",))  # a stop string inside a token: the token is kept whole
    assert (word.text, len(word.tokens)) == ("left", 1)
