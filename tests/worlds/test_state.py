"""Tools that say nothing of their state: what keeps some is an error where a fork passes it."""

import functools
import itertools
import warnings

import pytest

import hornbeam as hb
from hornbeam.errors import StateError
from hornbeam.workers.tool_state import copied_tool, visible_state

from .test_case import grown

NOTES = []
COUNT = 0


def in_a_closure():
    notes = []

    def note(text):
        notes.append(text)
        return len(notes)

    return note, "the variable notes of its closure, a list"


def in_a_global():
    def note(text):
        NOTES.append(text)
        return len(NOTES)

    return note, "the global NOTES, a list"


def in_a_number():
    def note(text):
        global COUNT
        COUNT += 1
        return COUNT

    return note, "the global COUNT, an int"


def in_a_default():
    def note(text, notes=[]):
        notes.append(text)
        return len(notes)

    return note, "a default argument, a list"


def in_an_object():
    class Note:
        def __init__(self):
            self.notes = []

        def __call__(self, text):
            self.notes.append(text)
            return len(self.notes)

    return Note(), "its attribute notes, a list"


def in_a_method():
    class Notes(list):
        def note(self, text):
            self.append(text)
            return len(self)

    return Notes().note, "its object, a Notes"


def in_a_partial():
    def note(notes, text):
        notes.append(text)
        return len(notes)

    return functools.partial(note, []), "an argument of its partial, a list"


def helped(text):
    NOTES.append(text)
    return len(NOTES)


def in_a_helper():
    def note(text):
        return helped(text)

    return note, "the global NOTES, a list"


def in_an_iterator():
    counter = itertools.count(1)
    return lambda text: next(counter), "the variable counter of its closure, a count"


KINDS = [
    *(in_a_closure, in_a_global, in_a_number, in_a_default, in_an_object, in_a_method),
    *(in_a_partial, in_a_helper, in_an_iterator),
]


@pytest.mark.parametrize("kind", KINDS)
def test_state_outside_a_world_is_an_error_that_names_it(kind):
    NOTES.clear()
    note, named = kind()
    assert visible_state(note) == [named]
    with warnings.catch_warnings(), pytest.raises(StateError) as error:
        warnings.simplefilter("ignore")
        grown({"note": note})
    line = str(error.value)
    assert "\n" not in line and "tool 'note' keeps state" in line and f"(it keeps {named})" in line
    assert "`world`" in line and "@hb.pure" in line


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_keeps_its_own_state(kind):
    NOTES.clear()
    note, _ = kind()
    first = note("a") if not isinstance(note, functools.partial) else note(text="a")
    copy = copied_tool(note)
    assert [copy(text="b"), copy(text="c")] == [first + 1, first + 2]
    assert note(text="b") == first + 1  # which the copy did not change


def test_what_keeps_no_state_passes_and_is_called_once_more_at_most_twice():
    heard = []

    def note(text):
        heard.append(text)
        return text.upper()

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        (tree,) = grown({"note": note})
    assert [tree.nodes[leaf].answer for leaf in tree.leaves()] == [["X"] * 3] * 3
    (line,) = [str(each.message) for each in warned]
    assert "(note: the variable heard of its closure, a list)" in line  # seen, whatever it is for
    calls = sum(len(node.calls) for node in tree.nodes)
    assert len(heard) == calls  # those of the look were made in a copy


def test_a_tool_that_varies_by_itself_may_be_marked():
    numbers = itertools.count(1)
    (tree,) = grown({"note": hb.pure(lambda text: next(numbers))})
    assert not any(tree.nodes[leaf].error for leaf in tree.leaves())


def test_without_forks_nothing_is_looked_at():
    note, _ = in_a_closure()
    (tree,) = grown({"note": note}, strategy=hb.Independent(n=2))
    assert len(tree.leaves()) == 2
