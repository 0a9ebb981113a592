"""The chat of a Hugging Face tokenizer and its own chat template.

The template is rendered with a mark where a sampled answer stands, the pieces between marks are
encoded, the ids put in between. Before an answer stands what the prompt had when it was sampled,
and behind it one end token: the sampled one, where there is one.
"""

from __future__ import annotations

import copy
import hashlib
import json
from array import array
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from hornbeam.chat import template_calls, template_tools
from hornbeam.chat.byte_chat import Message, Said, assistant
from hornbeam.chat.call_frame import read_call_frame
from hornbeam.chat.control_tokens import Words, any_of
from hornbeam.chat.ready_templates import FORMAT, form_of
from hornbeam.chat.template_frame import alike, configured_ends, mark, read_frame, unclosed
from hornbeam.chat.template_shape import Shape, lost_of, nonce_in, nonce_of, shape
from hornbeam.chat.tool_calls import Spoken, has_calls, written_out
from hornbeam.errors import ModelError
from hornbeam.tree.nodes import ids

TEXTS = 256  # rendered conversations that are remembered: prompts go on from those before
SHAPES = 1024  # conversations whose handling is remembered, told apart by their roles


@dataclass(frozen=True, slots=True)
class Form:
    """How conversations of one shape go through a template: roles whose text is given as parts,
    answers where the prompt had them (steady) or under another head.
    """

    parts: frozenset[str]
    steady: bool


class TemplateChat:
    """The chat of a Hugging Face tokenizer. `ModelError` where its template is unfit."""

    def __init__(self, tokenizer: Any, name: str = "") -> None:
        self.tokenizer = tokenizer
        self.name = name or getattr(tokenizer, "name_or_path", "") or "the model"
        template = getattr(tokenizer, "chat_template", None)
        if not template:
            raise ModelError(
                f"{self.name} has no chat template: use an instruction-tuned model, or save one as"
                " chat_template.jinja beside its tokenizer"
            )
        configured = configured_ends(tokenizer)
        self.words = Words(tokenizer, str(template), {*configured, tokenizer.eos_token_id} - {None})
        self.tools: list[Any] = []  # what the template is told of them
        self.untold: tuple[str, ...] = ()  # those that it leaves out
        self._told: dict[str, TemplateChat] = {}  # by the tools
        self._remember()
        self.frame = read_frame(self.shown, self.words, configured, self.name)
        self.calls = read_call_frame(self._shown_with, self.words, self.frame, str(template))
        named = getattr(tokenizer, "init_kwargs", {}).get(FORMAT)
        if named:
            self.calls = replace(self.calls, how=form_of(str(named)))
        ends = {self.words.control[name] for name in [self.calls.end] if name}
        self._turns = any_of(self.frame.turns)
        self.ends, self.closing = self.frame.ends | ends, self.frame.closing
        self._behind = self.ends | set(self.closing)

    def _remember(self) -> None:
        self._forms = lru_cache(SHAPES)(self._find_form)
        self._texts = lru_cache(TEXTS)(self._text_of)

    # --- conversations to ids --------------------------------------------------------------------

    def render(
        self, messages: Sequence[Message], said: Said = {}, tools: Sequence[Any] = ()
    ) -> array[int]:
        """Ids of the conversation up to where the assistant speaks; see the head of this file.

        Raises `ModelError` where the template refuses the messages or leaves out what they say.
        """
        if tools:
            if repr(tools) not in self._told:
                template_tools.refuse_unsound(tools)
            return self.with_tools(tools).render(messages, said)
        if self.untold:
            template_tools.refuse_unshown(self, messages)
        nonce = nonce_in(messages)
        if has_calls(messages):
            done = template_calls.prepare(self, messages, said, nonce)
            return self._joined(done.pieces, [said[n] for n in done.kept], done.names)
        form = self.form([assistant("x") if n in said else m for n, m in enumerate(messages)])
        names: dict[str, str] = {}
        given = [self.guarded(message, names, nonce) for message in messages]
        for n in said:
            given[n] = {"role": given[n]["role"], "content": mark(n, nonce)}
        pieces = self._pieces(self.template_text(given, form.parts), sorted(said), nonce)
        if not form.steady:
            pieces = self._opened(pieces, given, sorted(said), form, nonce)
        return self._joined(pieces, [said[n] for n in sorted(said)], names)

    def _joined(
        self, pieces: Sequence[str], answers: Sequence[Sequence[int]], names: Mapping[str, str]
    ) -> array[int]:
        """Ids of the texts with the answers' between them."""
        out = ids()
        behind: Sequence[int] | None = None
        for piece, answer in zip(pieces, [*answers, ()]):
            out.extend(self._piece(piece, behind, names))
            out.extend(answer)
            behind = answer
        return out

    def guarded(self, message: Message, names: dict[str, str], nonce: str) -> dict[str, Any]:
        """The message with marks for the control tokens that its text names; they go to `names`.

        An assistant may write tags, but not begin or end a turn.
        """
        pattern = self._turns if message["role"] == "assistant" else self.words.names

        def guard(value: Any) -> Any:
            if isinstance(value, str) and pattern.search(value):
                return pattern.sub(lambda found: put(found[0]), value)
            if isinstance(value, dict):
                return {guard(key): guard(each) for key, each in value.items()}
            return [guard(each) for each in value] if isinstance(value, list) else value

        def put(name: str) -> str:
            own = f"\ue002{nonce}:{len(names)}\ue003"
            names[own] = name
            return own

        return {k: v if k == "role" else guard(v) for k, v in message.items()}

    def _piece(
        self, text: str, behind: Sequence[int] | None, names: Mapping[str, str]
    ) -> tuple[int, ...]:
        """Ids of a piece at the beginning (None), or behind the ids of an answer."""
        if behind is None:
            return self.words.ids(text, None, names)
        last = self.words.name_of.get(behind[-1], "") if len(behind) else ""
        if len(behind) and behind[-1] in self.ends:
            text = unclosed(text, last, self.frame.closed, self.words)
        return self.words.ids(text, last, names)

    def _pieces(self, text: str, quoted: Sequence[int], nonce: str) -> list[str]:
        """The rendered text cut at the marks of quoted answers."""
        pieces = []
        for n in quoted:
            own = mark(n, nonce)
            if text.count(own) != 1:
                raise ModelError(
                    f"{self.name}: the chat template rewrites what the assistant said"
                    f" (message {n + 1}): its ids would be lost"
                )
            before, text = text.split(own)
            pieces.append(before)
        return [*pieces, text]

    def _opened(
        self,
        pieces: Sequence[str],
        given: Sequence[Message],
        quoted: Sequence[int],
        form: Form,
        nonce: str,
    ) -> list[str]:
        """The pieces with what each answer's prompt had before it in place of the history's head.

        A template that writes other text into earlier turns (a system text that moves on) has its
        way; only the head is put back.
        """
        out = []
        for at, n in enumerate(quoted):
            start = quoted[at - 1] if at else None
            wanted = self._asked(given[:n], form)
            if start is not None:
                wanted = wanted.partition(mark(start, nonce))[2]
            shared, place = alike(pieces[at], wanted), 0
            for message in given[0 if start is None else start + 1 : n]:
                found = wanted.find(message["content"].strip(), place)
                place = found + len(message["content"].strip()) if found >= 0 else place
            if wanted and place <= shared:
                out.append(wanted)
            elif pieces[at].endswith(self.frame.heading):
                cut = len(pieces[at]) - len(self.frame.heading)
                out.append(pieces[at][:cut] + self.frame.opening)
            else:
                raise ModelError(
                    f"{self.name}: the chat template puts another text before answer {n + 1} of the"
                    " history than before a new one, and the prompt it was sampled in is lost"
                )
        return [*out, pieces[-1]]

    def _asked(self, messages: Sequence[Message], form: Form) -> str:
        """The prompt as it was; "" where the template refuses so much of the conversation alone."""
        try:
            return self.template_text(messages, form.parts)
        except ModelError:
            return ""

    # --- the template ----------------------------------------------------------------------------

    def template_text(
        self, messages: Sequence[Message], parts: frozenset[str], answer: bool = True
    ) -> str:
        """What the template writes; `parts` are roles whose text is given so."""
        given = [
            {**m, "content": [{"type": "text", "text": m["content"]}]}
            if m["role"] in parts
            else {**m}
            for m in messages
        ]
        try:
            return self._rendered(given, answer)
        except Exception as error:  # jinja raises what the template's author chose
            written = [written_out(message) for message in given]
            if written != given:  # some add arguments to a text, most want objects
                with suppress(Exception):
                    return self._rendered(written, answer)
            raise ModelError(f"{self.name}: the chat template refuses: {error}") from error

    def cached_text(self, messages: Sequence[Message], parts: frozenset[str]) -> str:
        """The same, remembered."""
        return self._texts(json.dumps(list(messages), ensure_ascii=False), parts)

    def _text_of(self, messages: str, parts: frozenset[str]) -> str:
        return self.template_text(json.loads(messages), parts)

    def _shown_with(self, messages: Sequence[Message], answer: bool, tools: Sequence[Any]) -> str:
        """A conversation as the template shows it with these tools. `ModelError` for its no."""
        out = copy.copy(self)
        out.tools = list(tools)
        return out.template_text(messages, frozenset(), answer)

    def _rendered(self, given: list[dict[str, Any]], answer: bool) -> str:
        more = {"tools": self.tools} if self.tools else {}
        return str(
            self.tokenizer.apply_chat_template(
                given, tokenize=False, add_generation_prompt=answer, **more
            )
        )

    def with_tools(self, tools: Sequence[Any]) -> TemplateChat:
        """The same chat with tools that the template tells the model of, as JSON schemas.

        Raises `ModelError` where they are none, or name a control token. Where the template leaves
        them out, `render` wants messages that name them.
        """
        if not tools:
            return self
        key = repr(tools)
        if key not in self._told:
            out = copy.copy(self)
            out._remember()
            template_tools.tell(out, tools)
            self._told[key] = out
        return self._told[key]

    def left_out(self) -> str:
        """What to do about tools that it was given and leaves out; "" where it tells of all."""
        return template_tools.left_out(self)

    def spoken(self, messages: Sequence[Message], message: Message) -> str:
        """What an assistant's message is as text behind its prompt: what it says, and its calls as
        the template writes them.

        Raises `ModelError` where the template changes it.
        """
        return template_tools.spoken(self, messages, message)

    def closing_of(self, message: Message) -> tuple[int, ...]:
        """What stands behind an answer that says a message: `closing`, or what ends calls."""
        end = self.words.control.get(self.calls.end)
        if end is None or end in self.closing or not message.get("tool_calls"):
            return self.closing
        return (end,)

    def read(self, tokens: Sequence[int], tools: Sequence[Any] = ()) -> Spoken:
        """What an answer's ids say: text, reasoning, calls as the template writes them."""
        return template_tools.read(self, tokens, tools)

    def rewritten(
        self, messages: Sequence[Message], said: Said = {}, tools: Sequence[Any] = ()
    ) -> Mapping[int, str]:
        """Which messages of `said` the prompt holds as the template writes them, and why."""
        chat = self.with_tools(tools)
        if not said or not has_calls(messages):
            return {}
        return template_calls.prepare(chat, messages, said, nonce_in(messages)).rewritten

    def written(self, messages: Sequence[Message], said: Message, tools: Sequence[Any]) -> str:
        """A message with calls that was said behind these, as the template writes it.

        Raises `ModelError` where it changes what was said.
        """
        return self.with_tools(tools).spoken(messages, said)

    def tool_problem(self, tools: Sequence[Any], messages: Sequence[Message] = ()) -> str:
        """Why these tools cannot be used with this template, and what to do; "" if they can."""
        return template_tools.problem(self, tools, messages)

    def shown(self, messages: Sequence[Message], answer: bool) -> str:
        """A conversation as the template shows it. `ModelError` where it leaves a text out."""
        return self.template_text(messages, self.form(messages).parts, answer)

    def form(self, messages: Sequence[Message]) -> Form:
        """How a conversation like this is given. `ModelError` where a text of it would be lost."""
        return self._forms(shape(messages))

    def _find_form(self, of: Shape) -> Form:
        """How a conversation of this shape is given. `ModelError` where a text of it is lost."""
        messages = [
            {"role": role, "content": mark(n) if full else "", **json.loads(more or "{}")}
            for n, (role, full, more) in enumerate(of)
        ]
        refused: ModelError | None = None
        lost: list[int] = []
        ways = [frozenset[str](), frozenset(role for role, _, _ in of)]
        for parts in ways:
            try:
                text = self.template_text(messages, parts)
            except ModelError as error:
                refused = refused or error
                continue
            missing = [n for n, message in enumerate(messages) if lost_of(message, n, text)]
            if not missing:
                return Form(parts, self._steady(messages, text, parts))
            if not lost:
                lost = missing
                ways.append(frozenset(of[n][0] for n in lost))  # these alone
        if not lost:
            assert refused is not None
            raise refused
        left_out = lost_of(messages[lost[0]], lost[0], self.template_text(messages, frozenset()))
        raise ModelError(
            f"{self.name}: the chat template leaves out {left_out}, and the model would never see"
            " it: say it in a user message, or fix the template (chat_template.jinja)"
        )

    def _steady(self, messages: Sequence[Message], text: str, parts: frozenset[str]) -> bool:
        """Whether every answer stands behind the very prompt in which it was sampled."""
        form = Form(parts, False)
        said = [n for n, m in enumerate(messages) if m["role"] == "assistant" and m["content"]]
        return all(text.partition(mark(n))[0] == self._asked(messages[:n], form) for n in said if n)

    # --- ids and text ----------------------------------------------------------------------------

    def encode(self, text: str) -> array[int]:
        """Ids of what an assistant says, tags as their tokens; no template around it."""
        return ids(self.words.ids(text))

    def quote(self, text: str) -> array[int]:
        """The same of what others said: tags count, but nothing in it ends or begins a turn."""
        names: dict[str, str] = {}
        message = self.guarded({"role": "assistant", "content": text}, names, nonce_of(text))
        return ids(self.words.ids(message["content"], None, names))

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of ids, special tokens left out."""
        return self.words.decode(list(tokens), skip=True)

    def text(self, tokens: Sequence[int]) -> str:
        """Text of an answer's ids: all that was said but the token that ends it."""
        said = list(tokens)
        while said and said[-1] in self._behind:
            said.pop()
        return self.words.decode(said, skip=False)

    def spell(self, tokens: Sequence[int]) -> str:
        """Text of ids, special tokens written out: a prompt for who takes no ids.

        Raises `ModelError` where a message's text would become a control token there.
        """
        text = self.words.decode(list(tokens), skip=False)
        names = self.words.names.findall(text)
        if len(names) > sum(token in self.words.name_of for token in tokens):
            raise ModelError(
                f"a message names a control token ({', '.join(sorted(set(names)))} stand in the"
                " prompt), and a server that takes text would read it as one: take it out of the"
                " text, or use a server that takes ids"
            )
        return text

    def fingerprint(self) -> str:
        """A digest that differs when vocabulary or template differ."""
        vocabulary = sorted(self.tokenizer.get_vocab().items(), key=lambda item: item[1])
        text = repr((vocabulary, self.tokenizer.chat_template))
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def about(self) -> str:
        """What the template does with a conversation, in one line."""
        from hornbeam.chat.template_report import describe

        return describe(self)
