"""Engines that a script holds: closed by `with`, or by `close()`."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Self


class ClosedByWith:
    """Gives an engine `close()` and `with`, for scripts and notebooks; a loop may be running."""

    async def aclose(self) -> None:
        """End what runs and give back what is held."""

    def close(self) -> None:
        """As `aclose`, from outside of a running event loop or inside of one."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            asyncio.run(self.aclose())
            return
        with ThreadPoolExecutor(1) as thread:
            thread.submit(lambda: asyncio.run(self.aclose())).result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()
