"""A gateway with a scripted engine in a process of its own: `opened_server.py FOLDER PORT`."""

import asyncio
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from gateway.opened import served
from hornbeam.engine.scripted import Scripted


class Slow(Scripted):
    """Takes its time, so that it can be killed meanwhile."""

    def __init__(self):
        super().__init__(lambda prompt, rng: f"{rng.choice(['red', 'blue'])} {rng.randint(1, 999)}")

    async def generate(self, request):
        """The answer, a little later."""
        await asyncio.sleep(0.005)
        return await super().generate(request)


async def main(folder, port):
    """Serve until killed."""
    async with served(Path(folder), engine=Slow(), port=int(port)) as (address, _):
        print(address, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
