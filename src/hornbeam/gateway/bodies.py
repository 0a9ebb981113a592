"""The body of a request as JSON, bounded in bytes, in time and in depth."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, NoReturn

from hornbeam.gateway.asked import DEPTH, BadRequest, deep

BODY = 8 * 2**20  # bytes of a request
DRAINED = 64 * 2**20  # bytes of one that is refused, read so that its sender hears why
SECONDS = 30.0  # until a body has come
# Half of a surrogate pair, as an escape or as bytes, is no text that a model can read.
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")


async def read_bytes(chunks: AsyncIterator[bytes], take: Callable[[int], None]) -> bytes:
    """The bytes of a body that comes in chunks; `take` hears of their bytes, and may refuse them.

    Raises `BadRequest`.
    """
    read = bytearray()
    size = 0
    try:
        async with asyncio.timeout(SECONDS):
            async for chunk in chunks:
                size += len(chunk)
                if size <= BODY:
                    take(len(chunk))
                    read.extend(chunk)
                elif size > DRAINED:
                    break
    except TimeoutError:
        text = f"the body of the request took more than {SECONDS:g} s"
        raise BadRequest(text, 408, "too_slow", close=True) from None
    if size > BODY:
        text = f"a request of more than {BODY} bytes"
        raise BadRequest(text, 413, "too_large", close=size > DRAINED)
    return bytes(read)


def parsed_body(text: bytes) -> Mapping[str, Any]:
    """The body that a text is: a JSON object. Raises `BadRequest`."""
    try:
        body: Any = json.loads(text, parse_constant=_no_constant)
        if SURROGATE.search(text):
            json.dumps(body, ensure_ascii=False).encode()
    except RecursionError:
        raise BadRequest("the body is no JSON: too many levels") from None
    except ValueError as error:
        raise BadRequest(f"the body is no JSON: {str(error)[:200]}") from None
    if not isinstance(body, dict):
        raise BadRequest("the body is no JSON object")
    if deep(text, body):
        raise BadRequest(f"the body is nested more than {DEPTH} levels deep")
    return body


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
