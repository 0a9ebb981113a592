"""Gold expressions out of worked solutions, by hand."""

import pytest

from hornbeam.tasks.gold import compose

CASES = [
    # a result stands for what it was worked out from
    ("48 and half of it?", "<<48/2=24>>24 <<48+24=72>>72", "72", "48 + (48 / 2)"),
    # the same result twice: both times, as the question does not hold it
    ("12 among 3, two of them?", "<<12/3=4>>4 <<4+4=8>>8", "8", "(12 / 3) + (12 / 3)"),
    # 4 is a result (used once) and a number of the question (used after that)
    ("8 less 4, by 4?", "<<8-4=4>>4 <<4*4=16>>16", "16", "(8 - 4) * 4"),
    # of two equal results the latest fresh one first
    ("1, 2, 3 and 6?", "<<1+5=6>>6 <<2*3=6>>6 <<6+6=12>>12", "12", "(2 * 3) + (1 + 5)"),
    # what leads nowhere is left out
    ("5 and 2?", "<<5*9=45>>45 <<5+2=7>>7", "7", "5 + 2"),
    # a step without an operation adds no brackets
    ("7 and 2?", "<<7=7>>7 <<7+2=9>>9", "9", "7 + 2"),
    ("20% of $1,000?", "<<20*.01*1000=200>>", "200", None),  # .01 is no number of the question
    ("20% of $1,000?", "<<.20*1000=200>>", "200", ".20 * 1000"),
    ("fifteen more than 30?", "<<30+15=45>>", "45", "30 + 15"),
    ("No notes?", "It is 3.", "3", None),
    ("The last note is not the answer?", "<<1+2=3>> so 4", "4", None),
    ("Not arithmetic? 3", "<<3*x=9>>", "9", None),
    ("Only a number? 6", "<<6=6>>6", "6", None),
    ("A number from nowhere?", "14 * 60 = 840 <<840-25=815>>", "815", None),
    ("1 by 3?", "<<1/3=.33>>.33 <<.33*3=1>>1", "1", "(1 / 3) * 3"),
    ("divided by 0?", "<<1/0=0>>", "0", None),
]


@pytest.mark.parametrize(("question", "solution", "answer", "expression"), CASES)
def test_compose(question, solution, answer, expression):
    assert compose(question, solution, answer) == expression
