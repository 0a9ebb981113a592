"""What servers and routers say of what went wrong: in which status, by which words."""

from __future__ import annotations

import re
from typing import Any

from hornbeam.engine.remote.fields import ApiObject, real, whole

PASSING = 502  # the status of what a server or router between could not do this time
TOO_LONG = re.compile(
    r"context.{0,20}(length|size|window|limit)|exceed_context|(prompt|input).{0,40}too long"
    r"|too many tokens|input length",
    re.IGNORECASE,
)
KEY = re.compile(r"authenticat|unauthori[sz]ed|api.?key", re.IGNORECASE)
REFUSAL = re.compile(
    r"invalid|bad.?request|(un|not.)support|unrecogni[sz]ed|unknown|validation|not.?found|missing"
    r"|required|must|forbidden|permission|unprocessable|context|too.?large|not.allowed",
    re.IGNORECASE,
)
TROUBLE = re.compile(
    r"overload|capacity|busy|unavailable|time.?out|timed|rate.?limit|quota|exhaust|exceeded"
    r"|internal|server|upstream|gateway|again|later|too.many",
    re.IGNORECASE,
)


class Fault(ApiObject):
    """An error, as servers and routers word it."""

    code: Any = None
    status: Any = None
    status_code: Any = None
    type: Any = None

    @property
    def names(self) -> str:
        """Its names, such as "rate_limit_error"; "" where it has but numbers."""
        found = (self.code, self.status, self.type)
        return " ".join(name for name in found if isinstance(name, str) and real(name) is None)


def fault(error: Any) -> int:
    """The HTTP status that an error's code, or else its words, stand for; 0 of no error."""
    given = Fault.model_validate(error)
    codes = [whole(code) for code in (given.code, given.status, given.status_code)]
    for number in codes:
        if number is not None and 400 <= number < 600:
            return number
    words = _words(error)
    if any(number in (0, 200) for number in codes) and words.lower() in ("", "ok", "success"):
        return 0
    if TOO_LONG.search(f"{given.names} {words}"):
        return 400
    named = ((KEY, 401), (REFUSAL, 400), (TROUBLE, PASSING))
    worded = ((TROUBLE, PASSING), (KEY, 401), (REFUSAL, 400))
    tests = [(given.names, *each) for each in named] + [(words, *each) for each in worded]
    return next((status for where, kind, status in tests if kind.search(where)), PASSING)


def _words(error: Any) -> str:
    """What an error says in words; "" of an object without any."""
    keys = {"error", "message", "detail", "msg"}
    if isinstance(error, dict) and not any(error.get(key) for key in keys):
        return ""
    return str(message(error))


def worded(error: Any) -> str:
    """What an error says, with its names."""
    names = Fault.model_validate(error).names
    return f"{message(error)} ({names})" if names else str(message(error))


def message(answer: Any) -> Any:
    """What an error's body says: servers wrap it in different ways."""
    while isinstance(answer, (dict, list)):
        if isinstance(answer, list):
            answer = answer[0] if len(answer) == 1 and isinstance(answer[0], dict) else str(answer)
        else:
            inner = (answer.get(key) for key in ("error", "message", "detail", "msg"))
            answer = next(filter(None, inner), None) or str(answer)
    return answer
