"""The world of bench/states.py: a ring of rooms, each left by one of three words.

An agent sees the room that it is in and says a word: the room's own leads to the next room, another
leaves it where it is, so that rollouts meet in the same rooms, and a room is met again in one
rollout. Won where a goal four rooms on is reached within seven turns, which chance does in 17 % of
walks; held out are walks of three rooms in three turns. Which word leaves a room is drawn by `seed`
and told nowhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

from hornbeam.chat import Message, user
from hornbeam.episode.program import Episode
from hornbeam.tree.task import Task

ROOMS, WORDS = 6, ("left", "right", "up")
LENGTHS = {"train": (4, 7), "test": (3, 3)}  # rooms to the goal, turns


def ring(seed: int) -> list[str]:
    """The word that leaves each room."""
    rng = Random(f"ring {seed}")
    return [rng.choice(WORDS) for _ in range(ROOMS)]


def walks(split: str, seed: int) -> Iterator[Task]:
    """A walk from each room, on the ring of that seed."""
    away, turns = LENGTHS[split]
    for start in range(ROOMS):
        data = {"start": start, "away": away, "turns": turns, "seed": seed}
        yield Task(f"{split}-{start}", f"{away} from r{start}", "won", data)


async def walk(task: Task, ep: Episode) -> str:
    """Asks for a word in each room until the goal is reached, or the turns are over."""
    leads, at = ring(task.data["seed"]), task.data["start"]
    goal = at + task.data["away"]
    for _ in range(task.data["turns"]):
        reply = await ep.ask("walker", [user(f"r{at % ROOMS}")])
        at += reply.text.strip() == leads[at % ROOMS]
        if at == goal:
            return "won"
    return "lost"


def demonstration(task: Task) -> list[tuple[list[Message], str]]:
    """Any word in any room, so that the model says one of them and knows none."""
    rng = Random(f"{task.id} {task.data['seed']}")
    rooms = [rng.randrange(ROOMS) for _ in range(24)]
    return [([user(f"r{room}")], rng.choice(WORDS)) for room in rooms]
