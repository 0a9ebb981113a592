import asyncio
import functools
import threading
import time

import pytest

from hornbeam.errors import ToolError
from hornbeam.tree.task import Task
from hornbeam.workers.local_workers import LocalWorkers, inline

TASK = Task("t", "2+2?", "4", {"secret": 7})


def add(a: int, b: int = 1) -> int:
    return a + b


@inline
def quick(text: str) -> str:
    return text.upper()


async def later(text: str) -> list[str]:
    await asyncio.sleep(0)
    return [text]


def peek(task: Task, key: str) -> int:
    return task.data[key]


def fails() -> None:
    raise ValueError("no such thing\nsecond line")


def leaves() -> None:
    raise SystemExit(3)


def refuses() -> None:
    raise ToolError("not today")


class Thing:
    def __call__(self, text: str) -> str:
        return text * 2


class LaterThing:
    async def __call__(self, text: str) -> str:
        return text * 3


TOOLS = {
    "thing": Thing(),
    "later_thing": LaterThing(),
    "add": add,
    "quick": quick,
    "later": later,
    "peek": peek,
    "fails": fails,
    "leaves": leaves,
    "refuses": refuses,
    "quick_fails": inline(lambda: fails()),
}


def call(name: str, tools=TOOLS, seconds: float = 5.0, **arguments):
    async def once():
        return await LocalWorkers(tools, seconds=seconds).call(name, arguments, TASK)

    return asyncio.run(once())


def test_every_kind_of_tool() -> None:
    assert call("add", a=2) == 3
    assert call("quick", text="a") == "A"
    assert call("later", text="a") == ["a"]
    assert call("thing", text="a") == "aa"
    assert call("later_thing", text="a") == "aaa"
    assert call("pairs", {"pairs": dict}, a=1) == {"a": 1}  # written in C, tells no signature
    assert call("partial", {"partial": functools.partial(add, b=5)}, a=1) == 6


def test_a_tool_may_have_the_task() -> None:
    assert call("peek", key="secret") == 7
    with pytest.raises(ToolError, match=r"peek takes \(key\): multiple values"):
        call("peek", task="mine", key="secret")


def test_where_tools_run() -> None:
    here = threading.current_thread().name
    name = lambda: threading.current_thread().name  # noqa: E731
    assert call("inline", {"inline": inline(lambda: name())}) == here
    assert call("thread", {"thread": lambda: name()}) == "tool thread"


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("ad", {}, r"there is no tool 'ad': did you mean 'add'\?"),
        ("add", {}, r"add takes \(a, b\): missing a required argument: 'a'"),
        ("add", {"a": 1, "c": 2}, r"add takes \(a, b\): got an unexpected keyword argument 'c'"),
        ("add", {"a": "1"}, r"^TypeError: can only concatenate str"),
        ("fails", {}, r"^ValueError: no such thing$"),
        ("quick_fails", {}, r"^ValueError: no such thing$"),
        ("leaves", {}, r"^SystemExit: 3$"),
        ("refuses", {}, r"^not today$"),
    ],
)
def test_what_goes_wrong_is_one_line(name: str, arguments: dict, message: str) -> None:
    with pytest.raises(ToolError, match=message):
        call(name, **arguments)


def test_results_are_what_a_record_holds() -> None:
    tools = {
        "pair": lambda: (1, {2: None}),
        "half": lambda: "a\ud800é",
        "nan": lambda: float("nan"),
        "thing": lambda: object(),
        "deep": _deep,
    }
    assert call("pair", tools) == [1, {"2": None}]
    assert call("half", tools) == "a?é"
    for name in ("nan", "thing", "deep"):
        with pytest.raises(ToolError, match="no JSON data"):
            call(name, tools)


def _deep() -> list:
    out: list = []
    for _ in range(100_000):
        out = [out]
    return out


def test_a_tool_that_hangs_is_left_behind() -> None:
    go = threading.Event()

    async def slow() -> None:
        await asyncio.sleep(60)

    async def scene() -> None:
        workers = LocalWorkers({"hang": lambda: go.wait(30), "slow": slow}, 0.5, threads=2)
        with pytest.raises(ToolError, match=r"^slow took longer than 0.5 s$"):
            await workers.call("slow", {}, TASK)
        for count in (1, 2):
            with pytest.raises(ToolError, match=r"^hang took longer than 0.5 s$"):
                await workers.call("hang", {}, TASK)
            assert workers.abandoned == count
        with pytest.raises(ToolError, match="hang was not run: 2 earlier calls"):
            await workers.call("hang", {}, TASK)
        go.set()
        while workers.abandoned:
            await asyncio.sleep(0.001)
        assert await workers.call("hang", {}, TASK) is True

    asyncio.run(asyncio.wait_for(scene(), 20))


def test_a_timeout_of_the_tool_itself_is_an_error_like_others() -> None:
    async def its_own() -> None:
        raise TimeoutError("the server")

    with pytest.raises(ToolError, match=r"^TimeoutError: the server$"):
        call("its_own", {"its_own": its_own})


def test_a_cancelled_call_is_counted_until_its_thread_ends() -> None:
    begun, go = threading.Event(), threading.Event()

    def hang() -> bool:
        begun.set()
        return go.wait(30)

    async def scene() -> None:
        workers = LocalWorkers({"hang": hang})
        running = asyncio.ensure_future(workers.call("hang", {}, TASK))
        while not begun.is_set():
            await asyncio.sleep(0.001)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert workers.abandoned == 1
        go.set()
        while workers.abandoned:
            await asyncio.sleep(0.001)

    asyncio.run(asyncio.wait_for(scene(), 20))


def test_threads_run_side_by_side_and_no_more_than_so_many() -> None:
    most, now, lock = [0], [0], threading.Lock()
    three = threading.Barrier(3)  # is passed by three at once only

    def meet() -> int:
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        three.wait(20)
        with lock:
            now[0] -= 1
        return 1

    async def scene() -> int:
        workers = LocalWorkers({"meet": meet}, seconds=30, threads=3)
        met = await asyncio.gather(*(workers.call("meet", {}, TASK) for _ in range(12)))
        await workers.aclose()
        return sum(met)

    assert asyncio.run(scene()) == 12
    assert most[0] == 3


def test_workers_serve_one_loop_after_another() -> None:
    workers = LocalWorkers({"nap": lambda: time.sleep(0.001)}, threads=1)

    async def scene() -> None:
        await asyncio.gather(*(workers.call("nap", {}, TASK) for _ in range(3)))

    asyncio.run(scene())
    asyncio.run(scene())


def test_no_tools_at_all() -> None:
    with pytest.raises(ToolError, match="there is no tool 'add': this run has none"):
        call("add", {})
