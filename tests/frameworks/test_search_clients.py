"""OpenAI's own client asks for searches: plain, streamed, many at once; as `hornbeam search`."""

import asyncio
import json

import pytest

from hornbeam.assembly.plan import plan
from hornbeam.jobs.search.run_search import Search
from hornbeam.recipe.recipe import load_recipe
from jobs.doors import Silent
from jobs.served_recipe import RECIPE, gateway, user

openai = pytest.importorskip("openai", reason="run by .ci/agents")

NAMES = ("majority-4", "cold", "greedy")


@pytest.fixture
def recipe(tmp_path):
    """The recipe without a guide, on an untrained model."""
    rows = [{"question": f"door {n}?", "answer": "left"} for n in range(4)]
    (tmp_path / "questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    text = RECIPE.replace("MODEL", "tiny")
    for begin, end in (
        ("[guides.value]", "[serve.cold]"),
        ('[[search.methods]]\nname = "best-of-4"', '[[search.methods]]\nname = "greedy"'),
    ):
        text = text[: text.index(begin)] + text[text.index(end) :]
    (tmp_path / "recipe.toml").write_text(text)
    return load_recipe(tmp_path / "recipe.toml")


async def streamed(client, name, question):
    """The text of a stream, its usage and field."""
    text, usage, field = "", None, None
    options = {"stream": True, "stream_options": {"include_usage": True}}
    async for chunk in await client.chat.completions.create(
        model=name, messages=user(question), **options
    ):
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            field = getattr(chunk, "hornbeam", None) or field
    return text, usage.total_tokens, field["answer"]


async def plain(client, name, question):
    """The same of an answer that comes whole."""
    told = await client.chat.completions.create(model=name, messages=user(question))
    return told.choices[0].message.content, told.usage.total_tokens, told.hornbeam["answer"]


def test_its_answers_are_those_of_hornbeam_search(recipe, tmp_path):
    job = Search(recipe, plan(recipe, recipe.base, ["eval"]), tmp_path / "search", Silent())
    result, _ = asyncio.run(job.go())
    found = {
        (question["question"], search["method"]): search["answer"]
        for question in result["questions"]
        for search in question["searches"]
    }
    pairs = [pair for pair in found if pair[1] in NAMES]
    assert len(pairs) == 12

    async def asked():
        async with gateway(recipe, tmp_path / "serve") as (address, made):
            client = openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none")
            both = [
                await asyncio.gather(*(way(client, f"hornbeam/{n}", q) for q, n in pairs))
                for way in (plain, streamed)
            ]
            texts = await client.completions.create(model="cold", prompt=[q for q, _ in pairs])
            responses = await client.responses.create(model="hornbeam/cold", input="door 0?")
            with pytest.raises(openai.NotFoundError, match="no search 'best_of'"):
                await plain(client, "hornbeam/best_of", "door 0?")
            models = [model.id async for model in client.models.list()]
            await client.close()
            assert made.counts["searches"] > made.counts["searches/known"]
            return both, texts, responses, models

    both, texts, responses, models = asyncio.run(asked())
    assert both[0] == both[1]
    assert [text for text, _, _ in both[0]] == [found[pair] for pair in pairs]
    assert all(text == answer and tokens > 0 for text, tokens, answer in both[0])
    assert [choice.text for choice in texts.choices] == [found[q, "cold"] for q, _ in pairs]
    assert responses.output_text == found["door 0?", "cold"]
    assert "hornbeam/cold" in models
