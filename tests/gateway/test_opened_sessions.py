"""Sessions opened over HTTP by who starts agents himself: each is a tree of the run folder."""

import asyncio

import pytest

from gateway.opened import line, post, request, said, served
from hornbeam.chat import assistant, user
from hornbeam.episode.program import Limits
from hornbeam.errors import HornbeamError
from hornbeam.gateway.server import Gateway
from hornbeam.store.database import Store, TreeKey
from hornbeam.store.ledger import Budget


def run(job):
    return asyncio.run(job())


def tree(folder, number=0, stage="session"):
    with Store(folder) as store:
        return store.read(TreeKey(stage, 0, number))


async def talk(base, turns=3):
    """The answers of a conversation."""
    messages, heard = [user("hello")], []
    for _ in range(turns):
        text = said(await post(f"{base}/chat/completions", {"model": "x", "messages": messages}))
        messages += [assistant(text), user("on")]
        heard.append(text)
    return heard


def test_a_session_is_a_tree_with_its_answer_and_rewards(tmp_path):
    async def job():
        async with served(tmp_path) as (address, _):
            task = {"id": "t", "question": "2+2?", "answer": "4", "data": {"level": 1}}
            code, told = await post(f"{address}/sessions", {"task": task})
            assert code == 200 and told["env"]["OPENAI_BASE_URL"] == told["base_url"]
            heard = await talk(told["base_url"])
            end = f"{address}/sessions/{told['token']}/end"
            code, ended = await post(end, {"answer": "4", "reward": 0.5})
            assert code == 200 and await post(end, {"answer": "4", "reward": 0.5}) == (200, ended)
            assert line(await post(end, {"answer": "5"})) == (410, "this session is over")
            again = await post(f"{told['base_url']}/chat/completions", {"messages": [user("hi")]})
            assert line(again) == (410, "this session is over")
            return told, ended, heard

    told, ended, heard = run(job)
    stored = tree(tmp_path)
    path = stored.tree.nodes[1:]
    assert stored.done and [node.text for node in path] == heard
    assert [node.parent for node in path] == [0, 1, 2] and path[-1].answer == "4"
    assert stored.tree.task["data"] == {"level": 1} and told["tree"] == "session/0/0"
    assert ended["steps"] == 3 and ended["rewards"]["reward"] == 1.0
    assert stored.tree.columns["step_reward.agent"][3] == 0.5
    with Store(tmp_path) as store:
        assert store.totals()["model_calls"] == 3
        assert {entry.turn for entry in store.entries("session")} == {0, 1, 2}
        assert store.values("opened/") == []


def test_a_session_is_kept_before_its_token_is_heard(tmp_path):
    async def job():
        async with served(tmp_path) as (_, door):
            _, told = await door.open({})
            with Store(tmp_path, read_only=True) as looks:
                assert [str(key) for key in looks.unfinished("session")] == [told["tree"]]
                assert looks.get("gateway/secret") and looks.values("opened/") == ["one"]

    run(job)


def test_a_request_without_a_session_is_an_episode_of_its_own(tmp_path):
    async def job():
        async with served(tmp_path) as (address, _):
            return await talk(f"{address}/v1", 2), request

    heard, _ = run(job)
    first, second = tree(tmp_path, 0, "request"), tree(tmp_path, 1, "request")
    for stored, text in zip((first, second), heard):
        assert stored.done and len(stored.tree) == 2 and stored.tree.nodes[1].answer == text
    assert [s.tree.task["question"] for s in (first, second)] == ["hello", "on"]


def test_who_has_no_key_opens_nothing(tmp_path):
    async def job():
        async with served(tmp_path, key="secret") as (address, door):
            body = {"messages": [user("hi")]}
            wrong = await post(f"{address}/sessions", {}, Authorization="Bearer other")
            assert line(wrong) == (401, "wrong key: this gateway was started with a token")
            assert line(await post(f"{address}/v1/chat/completions", body))[0] == 401
            code, told = await post(f"{address}/sessions", {}, Authorization="Bearer secret")
            assert code == 200
            assert said(await post(f"{told['base_url']}/chat/completions", body))
            own = await post(
                f"{address}/v1/chat/completions", body, Authorization=f"Bearer {told['token']}"
            )
            assert said(own) and not door.counts["requests without a session"]
            end = f"{address}/sessions/{told['token']}/end"
            assert line(await post(end, {}, Authorization=f"Bearer {told['token']}"))[0] == 401
            assert said(
                await post(f"{address}/v1/chat/completions", body, **{"x-api-key": "secret"})
            )

    run(job)


def test_a_page_from_elsewhere_opens_nothing(tmp_path):
    async def job():
        async with served(tmp_path) as (address, door):
            for header in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
                code, text = line(await post(f"{address}/sessions", {}, **header))
                assert code == 403 and "of this machine only" in text
            assert not door.counts["sessions"]

    run(job)


def test_others_reach_nothing_without_a_key():
    with pytest.raises(HornbeamError, match=r"0\.0\.0\.0 is reached from elsewhere"):
        asyncio.run(Gateway().start(host="0.0.0.0"))


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"taks": "x"}, "'taks' is nothing that a session has: did you mean 'task'?"),
        ({"task": 3}, "task: a text, or an object with a question, is expected"),
        ({"task": {"question": 3}}, "task.question: a text is expected"),
        ({"task": {"question": "?", "data": []}}, "task.data: an object is expected"),
        ({"task": {"question": "?", "data": 3}}, "task.data: an object is expected"),
        ({"agent": "two"}, "agent = 'two': known: one"),
        ({"question": "?", "answer": ""}, "no answer to compare with"),
        (b"[1]", "the body is no JSON object"),
        (b"{", "the body is no JSON: "),
    ],
)
def test_a_wrong_task_is_a_line(tmp_path, body, text):
    async def job():
        async with served(tmp_path) as (address, _):
            code, told = await post(f"{address}/sessions", body)
            assert code == 400 and text in told["error"]["message"]

    run(job)


def test_a_wrong_end_is_a_line_and_ends_nothing(tmp_path):
    async def job():
        async with served(tmp_path) as (address, _):
            _, told = await post(f"{address}/sessions", {"question": "?"})
            end = f"{address}/sessions/{told['token']}/end"
            assert line(await post(end, {"reward": "much"})) == (
                400,
                "reward = 'much': a number is expected",
            )
            assert line(await post(end, b'{"reward": NaN}'))[0] == 400
            assert line(await post(end, {"rewards": 1}))[1].startswith("'rewards' is nothing that")
            assert line(await post(f"{address}/sessions/0-abc/end"))[0] == 404
            assert line(await post(f"{address}/sessions/7{told['token'][1:]}/end"))[0] == 404
            assert len(await talk(told["base_url"], 1)) == 1
            return await post(end, {"error": "it fell over"})

    code, ended = run(job)
    assert code == 200 and ended["error"] == "ProgramError: it fell over"
    assert tree(tmp_path).tree.nodes[1].error == "ProgramError: it fell over"


def test_limits_and_budgets_end_a_session_with_a_line(tmp_path):
    async def job():
        how = {"limits": Limits(turns=2), "budget": Budget(calls=3)}
        async with served(tmp_path, **how) as (address, _):
            _, first = await post(f"{address}/sessions")
            await talk(first["base_url"], 2)
            body = {"messages": [user("more")]}
            over = await post(f"{first['base_url']}/chat/completions", body)
            assert over[0] == 410 and "more than 2 asks in one episode" in line(over)[1]
            _, second = await post(f"{address}/sessions")
            await talk(second["base_url"], 1)
            spent = await post(f"{second['base_url']}/chat/completions", body)
            assert spent[0] == 429 and "budget.calls" in line(spent)[1]
            assert await post(f"{second['base_url']}/chat/completions", body) == spent
            assert await post(f"{address}/sessions/{second['token']}/end") == spent

    run(job)
    assert tree(tmp_path).tree.nodes[-1].error.startswith("ProgramError: more than 2 asks")
    assert not tree(tmp_path, 1).done


def test_a_session_that_nobody_ends_is_ended_and_counted(tmp_path):
    async def job():
        async with served(tmp_path, idle=0.05) as (address, door):
            _, told = await post(f"{address}/sessions")
            (opened,) = door._open.values()
            watching = asyncio.create_task(door.end_idle())
            await asyncio.wait([opened.growing])
            watching.cancel()
            over = await post(f"{told['base_url']}/chat/completions", {"messages": [user("hi")]})
            assert over[0] == 410 and "nobody ended the session" in line(over)[1]
            assert door.counts["sessions that nobody ended"] == 1

    run(job)
    assert "nobody ended the session: no request for 0.05 s" in tree(tmp_path).tree.nodes[-1].error
