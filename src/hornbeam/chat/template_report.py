"""What a chat template does with a conversation, told in one line for the head of a run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hornbeam.chat.template_frame import marked
from hornbeam.errors import ModelError

if TYPE_CHECKING:
    from hornbeam.chat.template import TemplateChat

TRIED = {  # what a program may ask beyond questions and answers
    "system": ("system", "user"),
    "two system": ("system", "system", "user"),
    "developer": ("developer", "user"),
    "tool": ("user", "assistant", "tool"),
    "answers quoted": ("user", "assistant", "user"),
}
THINKING = "t\n</think>\n\na"


def describe(chat: TemplateChat) -> str:
    """One line: ends of a turn, the generation prompt, what is refused, how earlier turns stand."""
    frame, name_of = chat.frame, chat.words.name_of
    names = {n: name_of.get(n) or chat.words.decode([n], skip=False) for n in frame.ends}
    end = frame.closing[-1]
    out = [f"a turn ends with {names[end]}"]
    others = sorted(name for n, name in names.items() if n != end)
    if others:
        out[0] += f" (sampling also at {', '.join(others)})"
    if frame.opening or frame.heading:
        opening = (
            f"the prompt opens {frame.opening!r}" if frame.opening else "the prompt opens nothing"
        )
        more = f" for {frame.heading!r}" if frame.heading else ""
        out.append(f"{opening}, which stands before earlier answers too{more}")
    forms, refused = {}, []
    for what, roles in TRIED.items():
        try:
            forms[what] = chat.form(marked(*roles))
        except ModelError:
            refused.append(what)
    if any(form.parts for form in forms.values()):
        out.append("text is given as parts")
    if _drops_thoughts(chat):
        out.append("it drops the thoughts of earlier turns, which stand here as they were said")
    if chat.calls.how is not None:
        out.append(f"tool calls are read as {chat.calls.how.name}")
    if refused:
        out.append(f"refused, as it leaves them out or says no: {', '.join(refused)}")
    return f"Chat template of {chat.name}: {'; '.join(out)}"


def _drops_thoughts(chat: TemplateChat) -> bool:
    """Whether reasoning that is given in a text goes from an earlier turn."""
    user, answer, more = marked("user", "assistant", "user")
    try:
        return THINKING not in chat.shown([user, {**answer, "content": THINKING}, more], True)
    except ModelError:
        return False
