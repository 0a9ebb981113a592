"""The cost account as an HTML table: every kind that was counted, and totals that leave none out.

Kinds are grouped by unit (tokens, calls, seconds). A kind is in its unit's total when it was paid
for: prompt tokens from the cache, replayed tool calls and the flat count of packed training tokens
were not, and the table says so. What a stop made necessary again was. Kinds that are not known here
are shown under their own name and counted.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from html import escape

from hornbeam.store.ledger import (
    CLIENT_KEPT,
    CLIENT_TOKENS,
    IGNORED,
    REDONE,
    REFUSED,
    REWRITTEN,
    TURN_TOKENS,
)

# `TURNS_UNIT` is told apart: what stands in prompts is among their tokens.
TURNS_UNIT, CLIENTS_UNIT = "tokens of earlier answers in prompts", "the same by who asks"
PAID = ("tokens", "calls", "seconds")
UNITS = ("tokens", TURNS_UNIT, CLIENTS_UNIT, "calls", "seconds", "other")

# Why sampled tokens of an earlier answer stand in a prompt otherwise.
WHY = {
    "kept": "as they were sampled",
    "reasoning": "the chat template drops reasoning",
    "place": "the chat template moves the answer",
    "reasoning_dropped": "came back without their reasoning",
    "other_reasoning": "came back with other reasoning",
    "text_dropped": "came back without their text",
    "other_text": "came back with another text",
    "other_arguments": "came back with other arguments",
    "other_calls": "came back with other calls",
    "text_added": "came back with more text",
    "calls_as_text": "came back with their calls as text",
    "not_ours": "turns that were not sampled here",
}

# kind -> (name on the page, why it is not in the total; "" where it is)
KNOWN = {
    "sampled_tokens": ("sampled", ""),
    "prompt_tokens_computed": ("prompt, computed", ""),
    "prompt_tokens_cached": ("prompt, from the cache", "not computed again"),
    "tool_calls": ("tool calls run", ""),
    "tool_calls_replayed": ("tool calls replayed", "answered from the record"),
    "stateful_calls_replayed": ("of tools not marked pure", "among the tool calls replayed"),
    "world_seconds": ("forking and reopening worlds", "within the wall clock"),
    "world_bytes": ("snapshots of worlds, bytes", "kept while forks may begin there"),
    "world_calls_again": (
        "calls made again in fresh worlds",
        "answered before, not counted as run",
    ),
    "rewritten_reasoning": ("earlier answers written anew", "the chat template drops reasoning"),
    "rewritten_place": ("earlier answers written anew", "the chat template moves them"),
    "tokens_unique": ("trainer, unique", ""),
    "tokens_flat": ("trainer, as flat rows", "what training without packing would run"),
    "seconds": ("wall clock of the run", "the others lie within it"),
    "seconds_grow": ("growing, wall clock of steps", ""),
    "seconds_train": ("training, wall clock of steps", ""),
}


def unit(kind: str) -> str:
    """Which unit a kind is counted in, read off its name."""
    kind = kind.removeprefix(REDONE)
    if kind.startswith(
        (REWRITTEN, IGNORED, REFUSED)
    ):  # "rewritten_other_calls": answers, not calls
        return "other"
    if kind.startswith(TURN_TOKENS):
        return TURNS_UNIT
    if kind.startswith((CLIENT_TOKENS, CLIENT_KEPT)):
        return CLIENTS_UNIT
    if "token" in kind:
        return "tokens"
    if "call" in kind:
        return "calls"
    return "seconds" if "second" in kind else "other"


def why_free(kind: str, costs: Mapping[str, float]) -> str:
    """Why a kind is not in its unit's total; "" where it is."""
    kind = kind.removeprefix(REDONE)
    if kind == "tokens_flat" and "tokens_unique" not in costs:
        return ""
    if kind in KNOWN:
        return KNOWN[kind][1]
    if "cached" in kind:
        return "not computed again"
    if "total" in kind:
        return "a sum of other kinds"
    return "answered from the record" if "replayed" in kind else ""


def totals(costs: Mapping[str, float]) -> dict[str, float]:
    """What was paid for in each unit that adds up."""
    out: dict[str, float] = {}
    for kind, amount in costs.items():
        if unit(kind) in PAID and not why_free(kind, costs) and math.isfinite(amount):
            out[unit(kind)] = out.get(unit(kind), 0.0) + amount
    return out


def cost_table(costs: Mapping[str, float]) -> str:
    """The table, or a sentence where nothing was counted."""
    if not costs:
        return "<p class=note>No costs were handed to this report.</p>"
    total = totals(costs)
    total[TURNS_UNIT] = sum(n for kind, n in costs.items() if unit(kind) == TURNS_UNIT)
    bodies = []
    for one in UNITS:
        kinds = [kind for kind in costs if unit(kind) == one]
        rows = [_row(kind, costs, total.get(one, 0.0)) for kind in kinds]
        if one == CLIENTS_UNIT:
            rows = _clients(costs)
        elif one == TURNS_UNIT:
            rows.sort(key=lambda row: WHY["kept"] not in row)
        elif len(kinds) > 1 and one in total:
            amount = f"<td>{amount_text(total[one])}</td><td></td>"
            name = "seconds of steps, summed" if one == "seconds" else f"all {one} paid for"
            rows.append(f"<tr class=total><th scope=row>{name}</th>{amount}</tr>")
        if rows:
            head = f"<tr><th colspan=3 scope=rowgroup class=unit>{one}</th></tr>"
            bodies.append("<tbody>" + head + "".join(rows) + "</tbody>")
    head = "<th scope=col>kind</th><th scope=col>amount</th><th scope=col>share</th>"
    return f"<table class=costs><thead><tr>{head}</tr></thead>{''.join(bodies)}</table>"


def _row(kind: str, costs: Mapping[str, float], total: float) -> str:
    free, amount = why_free(kind, costs), costs[kind]
    why = kind.removeprefix(TURN_TOKENS) if kind.startswith(TURN_TOKENS) else ""
    plain = WHY.get(why, "") or kind.removeprefix(REDONE).replace("_", " ")
    name = escape(KNOWN.get(kind.removeprefix(REDONE), (plain, ""))[0])
    if kind.startswith(REDONE):
        name = f"redone after a stop: {name}"
    if free:
        name += f" <small>{free}</small>"
    paid = unit(kind) in (*PAID, TURNS_UNIT) and not free and total and math.isfinite(amount)
    share = f"{100 * amount / total:.0f} %" if paid else "–"
    return f"<tr><th scope=row>{name}</th><td>{amount_text(amount)}</td><td>{share}</td></tr>"


def _clients(costs: Mapping[str, float]) -> list[str]:
    """A row for each client: the tokens of earlier answers that it sent, the share that is kept."""
    rows = []
    for kind, amount in costs.items():
        if kind.startswith(CLIENT_TOKENS):
            client = kind.removeprefix(CLIENT_TOKENS)
            kept = 100 * costs.get(CLIENT_KEPT + client, 0.0) / amount if amount else 0.0
            cells = f"<td>{amount_text(amount)}</td><td>{kept:.0f} % kept</td>"
            rows.append(f"<tr><th scope=row>{escape(client)}</th>{cells}</tr>")
    return rows


def amount_text(amount: float) -> str:
    """An amount with thousands apart; one decimal where it is below a hundred and not whole."""
    if not math.isfinite(amount):
        return "not a number"
    whole = amount == round(amount) or abs(amount) >= 100
    return f"{amount:,.0f}" if whole else f"{amount:,.1f}"
