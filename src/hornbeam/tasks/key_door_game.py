"""The rules of the key-and-door game (`hornbeam.tasks.key_door`): its tools, and who can win it.

The world of a game is a dict as `task.data["world"]` has it: `at` (the room), `held`, `goal`,
`turns` that are left, `end` ("", "won" or "lost") and `rooms` by name: `sign`, `to` (door -> room),
`lock` (the key that fits, or ""), `open` (doors that were unlocked), `things`.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any

from hornbeam.arguments import short
from hornbeam.errors import ToolError
from hornbeam.tasks.lookup_world import TREASURES

World = dict[str, Any]
Move = tuple[str, ...]  # the name of a tool and its arguments

OVER = ("won", "lost")


# --- the game -------------------------------------------------------------------------------------


def look(world: World) -> str:
    """See the room again."""
    _begin(world)
    return _seen(world)


def move(door: str, world: World) -> str:
    """Go through a door. There is no way back."""
    room = _begin(world)
    if not isinstance(door, str) or door not in room["to"]:
        return _refused(world, f"there is no door {short(door)}")
    if room["lock"] and door not in room["open"]:
        return _refused(world, f"{door} is locked, {room['lock']} fits")
    world["at"] = room["to"][door]
    return _seen(world)


def take(thing: str, world: World) -> str:
    """Take a thing that lies in the room. A treasure ends the game."""
    room = _begin(world)
    if not isinstance(thing, str) or thing not in room["things"]:
        return _refused(world, f"no {short(thing)} lies here")
    room["things"].remove(thing)
    world["held"].append(thing)
    if thing in TREASURES:
        world["end"] = OVER[thing != world["goal"]]
        return str(world["end"])
    return _seen(world)


def use(key: str, door: str, world: World) -> str:
    """Unlock a door with a key that you hold; the key breaks."""
    room = _begin(world)
    if not isinstance(key, str) or key not in world["held"]:
        return _refused(world, f"you hold no {short(key)}")
    if not isinstance(door, str) or door not in room["to"]:
        return _refused(world, f"there is no door {short(door)}")
    if key != room["lock"] or door in room["open"]:
        return _refused(world, f"{key} does not fit {door}")
    world["held"].remove(key)
    room["open"].append(door)
    return _seen(world)


def game_state(world: World) -> str:
    """How the game stands: won, lost or open. It takes no turn."""
    return str(_game(world)["end"] or "open")


def _game(world: Any) -> World:
    if not isinstance(world, dict) or not {"at", "held", "rooms", "turns", "end"} <= world.keys():
        raise ToolError("the world is no game: take tasks of source 'key_door'")
    return world


def _begin(world: World) -> dict[str, Any]:
    """The room in which a turn begins. Raises `ToolError` where the game is over."""
    if _game(world)["end"]:
        raise ToolError(f"the game is over: {world['end']}")
    world["turns"] -= 1
    room: dict[str, Any] = world["rooms"][world["at"]]
    return room


def _refused(world: World, why: str) -> str:
    """Raises `ToolError` for a move that cannot be made; on the last turn the game is lost."""
    if world["turns"] > 0:
        raise ToolError(why)
    return _last(world)


def _seen(world: World) -> str:
    """What is seen behind a turn: the room, or that the turns are used up."""
    return describe(world) if world["turns"] > 0 else _last(world)


def _last(world: World) -> str:
    world["end"] = "lost"
    return "lost"


def describe(world: World) -> str:
    """The sign of the room : its doors, with the key of each lock : what lies here : what is held.

    Parts at the end that would be empty are left out.
    """
    room = world["rooms"][world["at"]]
    words = [room["sign"], ":"]
    for door in room["to"]:
        shut = room["lock"] and door not in room["open"]
        words += [door, room["lock"]] if shut else [door]
    return " ".join([*words, ":", *room["things"], ":", *world["held"]]).rstrip(" :")


# --- search ---------------------------------------------------------------------------------------


def solve(world: Mapping[str, Any]) -> list[Move] | None:
    """The fewest moves that win from here, whatever the turns; None where nothing does.

    Breadth first over (room, keys held, keys taken, doors opened), the last two of rooms that can
    still be entered. Keys that fit no lock are left.
    """
    rooms = world["rooms"]
    locks = {room["lock"] for room in rooms.values()} - {""}
    opened = frozenset((name, door) for name, room in rooms.items() for door in room["open"])
    start = (world["at"], tuple(sorted(set(world["held"]) & locks)), _NONE, opened)
    before: dict[_State, tuple[_State, Move] | None] = {start: None}
    reached, queue = {name: _reached(rooms, name) for name in rooms}, deque([start])
    while queue:
        state = queue.popleft()
        if world["goal"] in rooms[state[0]]["things"]:
            return [*_path(before, state), ("take", world["goal"])]
        for done, (at, held, taken, opened) in _nexts(rooms[state[0]], locks, state):
            ahead = reached[at]
            after = (at, held, _within(taken, ahead), _within(opened, ahead))
            if after not in before:
                before[after] = (state, done)
                queue.append(after)
    return None


_Pairs = frozenset[tuple[str, str]]  # of a room and a key or door
_State = tuple[str, tuple[str, ...], _Pairs, _Pairs]
_NONE: _Pairs = frozenset()


def _nexts(
    room: Mapping[str, Any], locks: Set[str], state: _State
) -> Iterator[tuple[Move, _State]]:
    """The moves that change something, and the state behind each."""
    at, held, taken, opened = state
    for thing in sorted(locks & set(room["things"])):
        if (at, thing) not in taken and thing not in held:
            yield (
                ("take", thing),
                (at, tuple(sorted((*held, thing))), taken | {(at, thing)}, opened),
            )
    for door, behind in room["to"].items():
        key = room["lock"]
        if not key or (at, door) in opened:
            yield ("move", door), (behind, held, taken, opened)
        elif key in held:
            left = tuple(each for each in held if each != key)
            yield ("use", key, door), (at, left, taken, opened | {(at, door)})


def _within(pairs: _Pairs, rooms: Set[str]) -> _Pairs:
    return frozenset(pair for pair in pairs if pair[0] in rooms)


def _reached(rooms: Mapping[str, Any], at: str) -> set[str]:
    """The rooms that can be entered from one, itself among them."""
    found, left = {at}, [at]
    while left:
        new = set(rooms[left.pop()]["to"].values()) - found
        found |= new
        left += new
    return found


def _path(before: Mapping[_State, tuple[_State, Move] | None], state: _State) -> list[Move]:
    moves: list[Move] = []
    while (step := before[state]) is not None:
        state, done = step
        moves.append(done)
    return moves[::-1]


GAME_TOOLS: dict[str, Callable[..., str]] = {
    tool.__name__: tool for tool in (look, move, take, use, game_state)
}


def played(world: Mapping[str, Any], moves: Sequence[Move]) -> tuple[World, list[str]]:
    """(the world behind these moves, what each said); the given one stays as it is."""
    after = copy.deepcopy(dict(world))
    return after, [GAME_TOOLS[name](*arguments, after) for name, *arguments in moves]
