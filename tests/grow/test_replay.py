"""What a program hears on replay is what it heard live, and what it did not repeat is told."""

import asyncio
import json

import pytest

from grow.worlds import KEY, PROGRAMS, OneMore, grow, grower, tree
from hornbeam.chat import user
from hornbeam.engine.scripted import Scripted
from hornbeam.episode.program import Limits
from hornbeam.errors import EngineError, PromptTooLong, ToolError
from hornbeam.search import Independent
from hornbeam.store.database import Store, Stored
from hornbeam.tree.jsonl import from_json, to_json
from hornbeam.workers.local_workers import inline

ONE = Independent(n=1)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_every_node_of_every_program_can_be_forked(program):
    whole = grow(grower(program, ONE))
    for node in range(len(whole)):
        start = from_json(json.loads(json.dumps(to_json(whole))))
        again = grow(grower(program, OneMore(node, 9)), start)
        new = again.nodes[len(whole) :]
        assert new and new[-1].done and all(n.origin.episode == 9 for n in new)
        assert not any("Divergence" in n.error for n in new)


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_what_was_left_at_any_write_grows_on_to_the_same_tree(program, tmp_path):
    class Stops(Store):
        """Kept up to a write, then lost: what a killed process leaves."""

        left = 0

        def write(self, *args, **more):
            if self.left == 0:  # the present tick is lost
                for buffer in (self._ops, self._pending, self._costs):
                    buffer.clear()
                raise KilledHere
            self.left -= 1
            super().write(*args, **more)

    class KilledHere(Exception):
        pass

    whole = to_json(grow(grower(program, Independent(n=2))))
    for writes in (2, 3, 5, 9, 14, 22, 31):
        place = tmp_path / str(writes)
        with Stops(place) as store:
            store.left = writes
            try:
                grow(grower(program, Independent(n=2), keeper=store))
                break
            except KilledHere:
                pass
        with Store(place) as store:
            left = store.read(KEY)
            kept = {
                (n.origin.episode, n.origin.step): n for n in [*left.tree.nodes[1:], *left.open]
            }
            grown = grow(grower(program, Independent(n=2), keeper=store), left)
            assert to_json(grown) == whole
            assert to_json(store.read(KEY).tree) == whole
        for n in grown.nodes[1:]:
            before = kept.get((n.origin.episode, n.origin.step))
            assert before is None or n.calls[: len(before.calls)] == before.calls


def heard(program, *, tools=None, **more):
    """What the program tells of its errors: live, and when it is forked at its last node."""
    how = grower(program, ONE, tools=tools or {}, **more)
    live = grow(how)
    fork = grow(grower(program, OneMore(len(live) - 1, 1), tools=tools or {}, **more), live)
    assert fork is not live or len(fork) > 1
    return live.nodes[-1], fork.nodes[-1]


async def tells_errors(task, ep):
    result = []
    for text in ("short", "long " * 30, "short"):
        try:
            result.append((await ep.ask("walker", [user(text)])).text)
        except EngineError as error:
            result.append(f"{type(error).__name__} {error}")
        try:
            result.append(await ep.call("breaks", word=text))
        except ToolError as error:
            result.append(f"{type(error).__name__} {error}")
    return result


@pytest.mark.parametrize("text", ["", "one line", "two\nlines", "\ud800", "x" * 999])
def test_errors_are_told_the_same_live_and_on_replay(text):
    @inline
    def breaks(word):
        raise ToolError(text)

    def program_engine():
        return Scripted(lambda prompt, rng: rng.choice("abc"), context=99)

    live, fork = heard(tells_errors, tools={"breaks": breaks}, engine=program_engine())
    assert live.answer == fork.answer and "PromptTooLong" in live.answer[2]
    assert live.answer[1].startswith("ToolError ") and len(live.answer[1]) > 10
    assert issubclass(PromptTooLong, EngineError)


def test_a_program_may_change_a_tool_s_result_and_the_record_stays():
    async def program(task, ep):
        await ep.ask("walker", [user("x")])
        found = await ep.call("echo", word="w")
        found["heard"].append("mine")
        await ep.ask("walker", [user(str(found))])
        return found

    grown = grow(grower(program, ONE))
    assert grown.nodes[1].calls[0].result == {"heard": ["w"]}
    for episode in (1, 2):
        grown = grow(grower(program, OneMore(2, episode)), grown)
        assert grown.nodes[-1].answer == {"heard": ["w", "mine"]} and not grown.nodes[-1].error


def turns_out(*ways):
    """A program that goes another way each time it is run."""
    left = iter(ways)

    async def program(task, ep):
        await next(left)(ep)

    return program


async def two_asks(ep):
    await ep.ask("walker", [user("x")])
    await ep.ask("walker", [user("y")])


async def one_ask(ep):
    await ep.ask("walker", [user("x")])


async def raises(ep):
    await ep.ask("walker", [user("x")])
    raise ValueError("on the way")


async def calls_first(ep):
    await ep.call("echo", word="w")
    await two_asks(ep)


async def call_behind(ep):
    await ep.ask("walker", [user("x")])
    await ep.call("echo", word="w")


async def other_agent(ep):
    await ep.ask("lead", [user("x")])


async def other_sampling(ep):
    await ep.ask("walker", [user("x")], max_tokens=3)


@pytest.mark.parametrize(
    ("was", "now", "message"),
    [
        (two_asks, one_ask, "after 1 effects it ended, the record has an ask of 'walker'"),
        (two_asks, raises, "it raised ValueError: on the way, the record has an ask"),
        (two_asks, calls_first, "effect 1 is a call of tool 'echo'"),
        (two_asks, call_behind, "effect 2 is a call of tool 'echo'"),
        (two_asks, other_agent, "the record has an ask of agent 'walker'"),
        (two_asks, other_sampling, "other sampling settings"),
        (calls_first, two_asks, "the record has a call of tool 'echo'"),
        (calls_first, other_agent, "effect 1 is an ask of agent 'lead'"),
        (call_behind, one_ask, "after 1 effects it ended, the record has a call of tool 'echo'"),
    ],
)
def test_the_first_difference_is_named(was, now, message):
    program = turns_out(was, now)
    grown = grow(grower(program, ONE))
    again = grow(grower(program, OneMore(len(grown) - 1, 1)), grown)
    leaf = again.nodes[-1]
    assert leaf.origin.episode == 1 and leaf.done and leaf.error.startswith("Divergence: "), leaf
    assert message in leaf.error and "\n" not in leaf.error
    assert again.columns["reward"][-1] is None


def test_an_extra_call_behind_the_record_is_a_divergence():
    grown = grow(grower(program := turns_out(two_asks, call_behind, call_behind), ONE))
    again = grow(grower(program, OneMore(1, 1)), grown)
    assert "effect 2 is a call of tool 'echo'" in again.nodes[-1].error
    again = grow(grower(program, OneMore(0, 2)), grown)
    assert not again.nodes[-1].error


def test_random_numbers_hang_on_the_path_alone():
    async def program(task, ep):
        async def helper(task, ep):
            return ep.rng.random()

        here = [ep.rng.random(), await ep.delegate("walker", helper, task), ep.rng.random()]
        await asyncio.gather(*(ep.ask("walker", [user(str(i))]) for i in range(2)))
        behind = [ep.rng.random(), await ep.call("echo", word="w") and ep.rng.random()]
        await ep.ask("walker", [user(str(behind))])
        return here + behind

    grown = grow(grower(program, Independent(n=2)))
    first, second = (grown.nodes[i].answer for i in grown.leaves())
    assert len(set(first)) == 5 and first[:3] == second[:3] and first[3:] != second[3:]
    for node in (1, 2):
        fork = grow(grower(program, OneMore(node, 7 + node)), grown)
        result = fork.nodes[-1].answer
        assert result[:3] == first[:3] and (result[3:] == first[3:]) == (node == 2)


@pytest.mark.parametrize(
    ("asked", "more", "word"),
    [
        ([{"content": "x"}], {}, "role"),
        ([{"role": "user"}], {}, "content"),
        (["x"], {}, "role"),
        ([{"role": "user", "content": "x", "image": object()}], {}, "JSON"),
        ([user("\ud800")], {}, "token ids"),
        ([user("x")], {"temperature": "hot"}, "temperature"),
        ([user("x")], {"max_tokens": 0}, "max_tokens"),
        ([user("x")], {"max_tokens": True}, "max_tokens"),
        ([user("x")], {"stop": 5}, "stop"),
        ([user("x")], {"stop": ["a", ""]}, "stop"),
    ],
)
def test_an_unfit_ask_fails_its_own_run_only(asked, more, word):
    async def program(task, ep):
        if (await ep.ask("walker", [user("x")])).text[:1] == "l":
            await ep.ask("walker", asked, **more)

    grown = grow(grower(program, Independent(n=9)))
    errors = {grown.nodes[i].error for i in grown.leaves()}
    assert len(grown.leaves()) == 9 and len(errors) == 2
    assert all(not e or ("ProgramError" in e and word in e) for e in errors)


async def polls(task, ep):
    ask = asyncio.create_task(ep.ask("walker", [user("x")]))
    while not ask.done():
        await asyncio.sleep(0)


async def deep(task, ep):
    await ep.ask("walker", [user("x")])
    answer = []
    for _ in range(100_000):
        answer = [answer]
    return answer


async def exits(task, ep):
    try:
        await ep.ask("walker", [user("x")])
        raise SystemExit("enough")
    finally:
        await ep.ask("walker", [user("y")])


async def stubborn(task, ep):
    while True:
        try:
            await ep.ask("walker", [user("x")])
        except BaseException as error:
            if "turns" in str(error):
                raise SystemExit("never") from error


@pytest.mark.parametrize(
    ("program", "word"),
    [(polls, "sleep(0)"), (deep, "JSON"), (exits, "SystemExit"), (stubborn, "SystemExit")],
)
def test_a_wild_program_is_a_failed_leaf(program, word):
    grown = grow(grower(program, ONE, limits=Limits(turns=4)))
    assert grown.nodes[-1].done and word in grown.nodes[-1].error


def test_a_fork_of_some_steps_is_told_to_the_strategy():
    class Two(OneMore):
        """Asks for a second fork where the first one ended."""

        def ask(self, tree, state):
            if 0 in state.results and 1 not in state.asked:
                self.fork = type(self.fork)(1, state.results[0], 1)
            return super().ask(tree, state)

    grown = grow(grower(PROGRAMS[0], Two(0, 0, 1)))
    assert [n.parent for n in grown.nodes] == [-1, 0, 1]
    assert [n.origin.episode for n in grown.nodes[1:]] == [0, 1]
    assert isinstance(
        grow(grower(PROGRAMS[0], OneMore(0, 0, 1)), Stored(tree(), False, [])).seed, int
    )
