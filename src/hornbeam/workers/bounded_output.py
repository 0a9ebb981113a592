"""What code of others prints: passed on up to a bound, so that it fills no terminal and no log."""

from __future__ import annotations

import contextlib
import os
import threading
from typing import Any, TextIO

from hornbeam.workers.time_slices import in_slice

MOST = 1 << 20  # bytes that are passed on
PIECE = 1 << 16
TOOL = "tool "  # how names of threads begin that run tools


def pass_on(source: int, target: int, who: str, most: int = MOST) -> threading.Thread:
    """Pass on what comes at one open file to another until it ends; what is too much is dropped."""

    def work() -> None:
        left, cut = most, False
        with contextlib.suppress(OSError):
            while piece := os.read(source, PIECE):
                if left:
                    _write(target, piece[:left])
                elif not cut:
                    cut = True
                    _write(target, f"\nhornbeam: {who} printed more: left out\n".encode())
                left = max(0, left - len(piece))
        os.close(source)

    thread = threading.Thread(target=work, name="output", daemon=True)
    thread.start()
    return thread


def _write(target: int, piece: bytes) -> None:
    while piece:
        piece = piece[os.write(target, piece) :]


class BoundedText:
    """A stream of text of which code of others may write so much; closing it does nothing."""

    def __init__(self, stream: TextIO, always: bool, most: int = MOST) -> None:
        self._stream, self._always, self._left = stream, always, most

    def write(self, text: str) -> int:
        """Write it, unless others wrote too much; `always` everybody counts as others."""
        others = self._always or in_slice() or threading.current_thread().name.startswith(TOOL)
        if not others:
            return self._stream.write(text)
        if self._left > 0:
            self._stream.write(text[: self._left])
            if len(text) > self._left:
                self._stream.write("\nhornbeam: programs and tools printed more: left out\n")
        self._left -= len(text)
        return len(text)

    def writelines(self, lines: Any) -> None:
        """Each of them."""
        for line in lines:
            self.write(line)

    def close(self) -> None:
        """Nothing: it is not theirs to close."""

    def __getattr__(self, name: str) -> Any:
        """As the stream has it."""
        return getattr(self._stream, name)
