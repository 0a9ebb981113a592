"""Answers and digests of conversations that go on from one another, against the plain rules."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from hornbeam.chat import Answers, assistant, system, user
from hornbeam.episode.record import Digests, digest

WORDS = st.sampled_from(["4", "5", "a", 'é "\\\n', "\ud800"])
MESSAGE = st.builds(lambda say, text: say(text), st.sampled_from([user, assistant, system]), WORDS)
# An ask goes on from an earlier one (which, and how much of it is let go), and may be answered.
ASKS = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.integers(0, 3),
        st.lists(MESSAGE, max_size=3),
        st.one_of(st.none(), WORDS),
    ),
    max_size=12,
)


def conversations(asks):
    """(messages, answer or None) of each ask."""
    talks = [[]]
    for back, less, more, said in asks:
        before = talks[-1 - back % len(talks)]
        talk = [*before[: max(0, len(before) - less)], *more]
        yield talk, said
        talks.append(talk if said is None else [*talk, assistant(said)])


class Plain:
    """The rule of `Answers` as it reads, all looked at anew each time."""

    def __init__(self):
        self.given = []  # (messages, text, kept), oldest first
        self.seen = []  # conversations whose last message is the program's own

    def find(self, talk):
        found, taken = {}, set()
        quotes = [n for n, m in enumerate(talk) if m["role"] == "assistant"]
        quotes = [n for n in quotes[::-1] if talk[: n + 1] not in self.seen]
        for near in (
            lambda before, n: before == talk[:n],
            lambda before, n: n > 0 and before[-1:] == talk[n - 1 : n],
            lambda before, n: True,
        ):
            for n in (n for n in quotes if n not in found):
                for at in range(len(self.given) - 1, -1, -1):
                    before, text, _ = self.given[at]
                    if at not in taken and text == talk[n]["content"] and near(before, n):
                        found[n] = at
                        taken.add(at)
                        break
        return {n: self.given[at][2] for n, at in found.items()}

    def add(self, talk, text, kept):
        found = self.find(talk)
        for n, message in enumerate(talk):
            if message["role"] == "assistant" and n not in found:
                self.seen.append(talk[: n + 1])
        self.given.append((talk, text, kept))


@given(ASKS)
def test_answers_are_found_as_the_rule_reads(asks):
    answers, plain = Answers(), Plain()
    for number, (talk, said) in enumerate(conversations(asks)):
        assert answers.find(talk) == plain.find(talk)
        if said is not None:
            answers.add(talk, said, number)
            plain.add(talk, said, number)


@given(ASKS, st.dictionaries(st.sampled_from(["stop", "top_p"]), st.sampled_from([1, "x", None])))
def test_digests_of_asks_that_go_on_are_those_of_their_own(asks, settings):
    """Messages of more than a role and a text among them."""
    digests = Digests()
    for talk, said in conversations(asks):
        odd = [{**m, "calls": [said, 1.5]} if m["role"] == "system" else m for m in talk]
        assert digests.of((odd, settings)) == digest((odd, settings))
        assert digest((odd, settings)) == digest(json.loads(json.dumps((odd, settings))))
