#!/bin/sh
# math-verify 0.9.0: the last variable of an expression is taken for a unit where a blank stands before it, and goes.
#
# Its parser takes off what looks like a unit at the end of a text: c, d, h, m and other letters, if there is a blank before them. So `$1 + d$` is read as 1
# and equal to 1, `$a + c$` is no expression (`a +`), and `$a + b + c$` is not equal to `$a+b+c$`. Without blanks all of them are read as they stand.
# Exits 0 while that is so, 1 when it has changed. Needs Python 3.11 or later and a package index.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check \
    math-verify==0.9.0 latex2sympy2_extended==1.11.0 antlr4-python3-runtime==4.13.2 sympy==1.14.0
"$place/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

from math_verify import parse, verify

pairs = {("$1$", "$1 + d$"): True, ("$1$", "$1+d$"): False}
pairs |= {("$a+b+c$", "$a + b + c$"): False, ("$a+b+c$", "$c+b+a$"): True}
seen = {pair: verify(*map(parse, pair)) for pair in pairs}
print("math-verify", version("math-verify"))
for (gold, said), equal in seen.items():
    print(f"{gold} and {said}: {'equal' if equal else 'not equal'}; read as {parse(said)}")
raise SystemExit(seen != pairs)
PYTHON
