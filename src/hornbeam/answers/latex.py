r"""Mathematics as people and models write it, brought into one spelling that numbers are read off.

`boxed` finds what stands in the last box, brackets counted. `tidy` makes Unicode and LaTeX plain:
`\frac` for every fraction, `-` for every minus, `*` for every product sign, `^{3}` for `³`, nothing
of what only keeps things apart in print.

Left out: which number a text says (numerals), what an answer is worth (score).
"""

from __future__ import annotations

import re
import unicodedata

MAX_TEXT = 20_000  # characters from the end of a text that are read
MOST_BETWEEN = 200  # characters between boxes that are read together
WORD = "\x01"  # stands before a word that LaTeX was told to print as text
SCALE = "\x02"  # stands around the power of ten of "thousand", "million" ...

_BRACKETS = re.compile(r"\\(?:f?boxed|fbox)\s*\{|\\f?boxed(?=[\s\d-])|\\[{}]|[{}]")
_FINAL = re.compile(r"final answer(?: is)?\s*:?[^\w]{0,9}[-$\\\d]", re.IGNORECASE)
_WORDS_BETWEEN = r"\\(?:text|mbox|mathrm)\s*\{\s*(?:and|or)\s*\}|\band\b|\bor\b"
_BETWEEN = re.compile(
    rf"\}}(?:[\s$,;.&~]|\\[\[\](),;: ]|\\q?quad|{_WORDS_BETWEEN})*"
    r"(?:[a-zA-Z](?:_\w|_\{[^{}]{1,9}\})?\s*=\s*)?\s*\\(?:f?boxed|fbox)\s*\{"
)
_BARE_BOX = re.compile(r"\s*-?[^\s{}$\\]+|\s*\\[a-zA-Z]+")


def boxes(text: str) -> list[tuple[int, int]]:
    r"""Where the insides of all closed `\boxed{...}` begin and end, brackets counted, in order."""
    opened: list[int] = []  # where the inside of each open bracket begins; -1 if not a box
    found = []
    for bracket in _BRACKETS.finditer(text):
        sign = bracket[0]
        if sign == "}" and opened:
            start = opened.pop()
            if start >= 0:
                found.append((start, bracket.start()))
        elif sign[-1] == "{" and sign != "\\{":
            opened.append(bracket.end() if len(sign) > 1 else -1)
        elif sign[-1] == "d" and (bare := _BARE_BOX.match(text, bracket.end())):
            found.append(bare.span())
    return sorted(found)


def boxed(text: str) -> str | None:
    r"""What stands in the last closed `\boxed{...}` of a text (or `\boxed 5`).

    A sentence behind it that begins "final answer" takes its place: then there is none.
    """
    found = boxes(text)
    if not found or _FINAL.search(text, found[-1][1]):
        return None
    return text[slice(*found[-1])]


def joined(text: str) -> str | None:
    r"""The insides of the boxes that a text ends on, where only "and", "or", marks and names stand
    between them: `x = \boxed{1}` or `x = \boxed{2}` is `1, 2`. None for fewer than two.
    """
    found = boxes(text)
    first = len(found) - 1
    while first > 0:
        between = found[first - 1][1], found[first][0]
        if between[1] - between[0] > MOST_BETWEEN or not _BETWEEN.fullmatch(text, *between):
            break
        first -= 1
    many = [text[slice(*place)].strip() for place in found[first:]]
    return ", ".join(many) if len(many) > 1 else None


# --- Unicode -------------------------------------------------------------------------------------

_TRANSLATE = str.maketrans(
    {
        **dict.fromkeys("−﹣－‒‐‑", "-"),
        **dict.fromkeys(map(chr, (0xA0, 0x202F, 0x205F, 0x3000, *range(0x2000, 0x200B))), " "),
        **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff", ""),
        **dict.fromkeys("×✕✖·⋅∙", "*"),
        **dict.fromkeys("⁄∕÷", "/"),
        **dict.fromkeys("°º˚", r"\degree "),
        "℃": r"\degree C",
        "℉": r"\degree F",
        **dict.fromkeys("’‘′", "'"),
        **dict.fromkeys("“”", '"'),
        **dict.fromkeys("→⇒⟹—", "; "),
        **dict.fromkeys("≤≥≠⩽⩾≦≧", "<"),
        **dict.fromkeys("≈≅≃", "≈"),
        **dict.fromkeys("€£¥₹＄", "$"),
        **dict(zip("％＝＋．，：。（）", "%=+.,:.()")),
        **dict.fromkeys("±∓", r"\pm "),
        "√": r"\sqrt ",
        "π": r"\pi ",
        "∞": r"\infty ",
        "…": "...",
        "•": "- ",
        **dict.fromkeys("\x01\x02", ""),
    }
)
_RAISED = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻", "0123456789+-")
_LOWERED = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")
_RAISED_RUN = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻]+")
_LOWERED_RUN = re.compile("[₀₁₂₃₄₅₆₇₈₉]+")
_BARRED_RUN = re.compile("(?:[0-9][\u0304\u0305])+")
_STRANGE = re.compile(r"[^\x00-\x7f]")


def _ascii(text: str) -> str:
    """Digits of all scripts, raised and lowered ones, one-character fractions, signs, blanks."""
    if text.isascii():
        return text
    text = _RAISED_RUN.sub(lambda m: "^{" + m[0].translate(_RAISED) + "}", text)
    text = _LOWERED_RUN.sub(lambda m: "_{" + m[0].translate(_LOWERED) + "}", text)
    text = _BARRED_RUN.sub(lambda m: "(" + re.sub("[\u0304\u0305]", "", m[0]) + ")", text)
    return _STRANGE.sub(_plain_character, text.translate(_TRANSLATE))


def _plain_character(found: re.Match[str]) -> str:
    sign = found[0]
    if sign.isdecimal():
        return str(unicodedata.decimal(sign))
    above, slash, below = unicodedata.normalize("NFKC", sign).partition("⁄")
    return f"\\frac{{{above}}}{{{below}}}" if slash and above.isdigit() and below else sign


# --- LaTeX ---------------------------------------------------------------------------------------

_END = r"(?![A-Za-z])"  # of a command
_TEXT = re.compile(
    r"\\(?:text|textrm|textit|textbf|textsf|texttt|textnormal|mbox|hbox|mathrm|operatorname|emph|unit)"
    r"\s*\{([^{}]*)\}"
)
_STYLE = re.compile(
    r"\\(?:mathbf|mathit|mathsf|mathtt|boldsymbol|bm|underline|ensuremath)\s*\{([^{}]*)\}"
)
_LETTERS = re.compile(r"(?<![A-Za-z0-9\\])[A-Za-z]+(?![A-Za-z0-9])")
_BASES = {"two": 2, "three": 3, "four": 4, "five": 5, "six": 6, "seven": 7, "eight": 8, "nine": 9}
_BASES |= {"ten": 10, "eleven": 11, "twelve": 12, "sixteen": 16}
_SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_SCALES |= {"quadrillion": 15, "lakh": 5, "crore": 7, "mln": 6, "bn": 9}
_SCALES |= {"ten-thousandth": -4, "hundred-thousandth": -5}
_SCALES |= {"tenth": -1, "hundredth": -2, "thousandth": -3, "millionth": -6}
_EARLY = [  # read before commands for text are
    (re.compile(pattern), by)
    for pattern, by in (
        (r"\\(?:text|mathrm|mathord|mathpunct)\s?\{([,.])\}", r"\1"),
        (r"\\(?:num|ang)\s?\{([^{}]{1,100})\}", r"\1"),
        (r"\\(?:SI|qty)\s?\{([^{}]{1,100})\}\s?\{[^{}]{0,100}\}", r"\1"),
        (r"(?<=\d)\s?\\(?:text|mathrm)\s?\{[eE]\}\s?(?=[-+]?\d)", "e"),
    )
]
_UNITS = "cm|mm|km|kg|mg|lbs?|oz|ft|in|yd|mi|m[lL]|mins?|secs?|hrs?|mph|kph|USD|EUR|GBP|[a-z]{5,}"
_RULES = [
    (re.compile(pattern), by)
    for pattern, by in (
        (r"</?[A-Za-z][^<>\n]{0,40}>", " "),  # tags around an answer
        (r",\s{0,3}\\!\s{0,3}", ","),
        (r"\s{0,3}\\!\s{0,3}|\{\}", ""),
        (r"\{([-+.,])\}", r"\1"),
        (r"\\(?:text)?color\s?\{[^{}]{1,40}\}", ""),
        (r"\\(?:[hv]space\*?|h?phantom|tag\*?|label)\s?\{[^{}]{0,40}\}", " "),
        (rf"\\(?:tiny|small|normalsize|large|Large|LARGE|huge|Huge|bold){_END}", ""),
        (r"\\(?:mathbf|mathrm|text|textbf)(?=\s?[-\d])", ""),
        (rf"\{{([^{{}}]{{1,200}})\\over{_END}([^{{}}]{{1,200}})\}}", r"\\frac{\1}{\2}"),
        (r"(\d{1,100})\s?\\over\s?(\d{1,100})", r"\\frac{\1}{\2}"),
        (rf"\\(?:left|right|[bB]ig+[lr]?){_END}\s?\.?", ""),
        (rf"\\(?:display|text)style{_END}|\\(?:limits|rm|bf|it){_END}", ""),
        (rf"\\[,;: ]|\\(?:q?quad|thinspace|enspace|space){_END}|~", " "),
        (r"\\[()\[\]]", " "),
        (r"[ \t]{2,}", " "),
        (rf"\\\$|\\(?:textdollar|dollar|pounds|euro|texteuro){_END}", "$"),
        (r"\\%", "%"),
        (rf"\\(?:[dtc]|nice|s)frac{_END}", r"\\frac"),
        (rf"\\(?:cdot|times|ast){_END}", "*"),
        (rf"\\(?:approx|approxeq|simeq|sim|doteq){_END}", "≈"),
        (rf"\\(?:leq?|geq?|[lg]eqslant|lt|gt|neq?|in|notin|equiv){_END}", "<"),
        (rf"\\(?:implies|iff|(?:Long)?[Rr]ightarrow|to|therefore|because){_END}|[-=]>", "; "),
        (rf"\\[lc]?dots{_END}", "..."),
        (
            rf"\^\s?\{{\s?\\circ\s?\}}|\^\s?\\(?:circ|degree){_END}|\\deg(?:rees?)?{_END}",
            f" {WORD}degrees ",
        ),
        (rf"(?<=[\d.])\s?\^\s?\{{?\s?{WORD}?o\s?\}}?{_END}", f" {WORD}degrees "),
        (r"\\dot\s?\{?(\d)\}?(\d{0,99})\\dot\s?\{?(\d)\}?", r"(\1\2\3)"),
        (r"\\(?:overline|bar|dot)\s?\{(\d{1,100})\}", r"(\1)"),
        (r"\\(?:overline|bar|dot)\s?(\d)", r"(\1)"),
        (r"(?<=\d) times (?=10\s?\^)", "*"),
        (r"(?:^|(?<=[*=$(]))\s?\{(\d{1,99}(?:\.\d{1,99})?)\}(?=\s?[*^])", r"\1"),
        (r"(?<=\d)\*\*(?=\s?[-\d(])", "^"),
        (r"\*\*|__|`", " "),
        (rf"(?<=\d)(?:\s?\^\s?\{{?\s?)?{WORD}?(?:st|nd|rd|th){_END}\s?\}}?", " "),
        (rf"(?<=\d)({_UNITS}){_END}", rf" {WORD}\1"),
        (
            rf"(?<=[\d}})])\s?{WORD}?(?:per\s?{WORD}?cent|percent|pct|%\s?{WORD}?percent){_END}",
            "%",
        ),
        (rf"(?<=\d)\s?{WORD}?[aApP]\.?\s?{WORD}?[mM]{_END}\.?|(?<=\d)\s?o'clock", f" {WORD}clock "),
        (r"[ \t]{2,}", " "),
        (r"\s_\s?(?=[{\d])", "_"),
        (r"(?<=\d) : ?(?=\d)", ":"),  # a ratio
        (rf"\b(?:[mM]inus|[nN]egative) ?{WORD}?(?=[\d$.\\])", "-"),
    )
]
_ANY_SCALE = "|".join(sorted(_SCALES, key=len, reverse=True)).replace("-", r"[\s-]")
_SCALE_WORD = re.compile(
    rf"(?<=[\d}})])(?:[\s-]?\s?{WORD}?(?:{_ANY_SCALE})s?{_END})+", re.IGNORECASE
)
_ONE_SCALE = re.compile(rf"({_ANY_SCALE})s?{_END}", re.IGNORECASE)
_BASE_WORD = re.compile(
    rf"(?<=[0-9A-Z])\s?\(?\s?(?:{WORD}?in\s)?{WORD}?base[\s-]?({WORD}?[a-z]+|\d+)\s?\)?"
    rf"|_\s?\{{?\s?{WORD}?({'|'.join(_BASES)})\s?\}}?{_END}"
)
_BASE_FORMS = [  # of what is written with its base
    (re.compile(pattern), by)
    for pattern, by in (
        (rf"_\s?\{{\s?\(?\s?(?:{WORD}?base\s?)?(\d{{1,2}})\s?\)?\s?\}}", r"_{\1}"),
        (r"(?<![\w)])[({]([0-9A-Z]{1,400})[)}]\s?_(?=[{\d])", r"\1_"),
        (r"(?<=\d),(?=\d{3}(?:,\d{3})*_[{\d])", ""),
        (r"(?<![\w\\])0[xX]([0-9a-fA-F]{1,100})(?!\w)", r"0\1_{16}"),
        (r"(?<![\w\\])0[bB]([01]{1,400})(?!\w)", r"0\1_{2}"),
        (r"(?<![\w\\])([A-F]{2,8}_(?:\{16\}|16))(?!\w|\s?=)", r"0\1"),
    )
]
_BULLET = re.compile(r"^\s{0,8}[-*]\s+", re.MULTILINE)
_DASH = re.compile(r"(?:(?<=[\s($\[{=,])|^)–(?=\s?[\d.$\\])")


def tidy(text: str) -> str:
    """The end of a text in one plain spelling; a few characters stand for what is not a sign."""
    text = _DASH.sub("-", _ascii(text[-MAX_TEXT:]))
    if "\n" in text.strip():
        text = _BULLET.sub(" ", text)
    for pattern, by in _EARLY:
        text = pattern.sub(by, text)
    for _ in range(4):  # text in text
        plain = _STYLE.sub(r"\1", _TEXT.sub(_as_words, text))
        if plain == text:
            break
        text = plain
    for pattern, by in _RULES:
        text = pattern.sub(by, text)
    text = _BASE_WORD.sub(_subscript, _SCALE_WORD.sub(_scaled, text))
    for pattern, by in _BASE_FORMS:
        text = pattern.sub(by, text)
    return text


def _scaled(found: re.Match[str]) -> str:
    """The power of ten of "hundred thousand", "Million" or "ten-thousandths"."""
    words = (re.sub(r"\s", "-", each.lower()) for each in _ONE_SCALE.findall(found[0]))
    return f"{SCALE}{sum(map(_SCALES.__getitem__, words))}{SCALE}"


def _as_words(found: re.Match[str]) -> str:
    """The inside of a command for text: its words marked as such."""
    return f" {_LETTERS.sub(lambda m: WORD + m[0], found[1])} "


def _subscript(found: re.Match[str]) -> str:
    word = (found[1] or found[2]).strip(WORD)
    base = _BASES.get(word, word)
    return f"_{{{base}}}" if str(base).isdigit() else found[0]
