"""Markup and script in every field of a run, on every page, in a headless Chromium: does it run?

    python bench/hostile_pages.py [--shots DIR] [--json FILE]

Each field holds a payload with its own name in it: it would set a flag, open a dialog, or fetch
something if it became markup, an attribute, a style, a URL or script. Each page is opened, all that
can be chosen on it is chosen, and the payload must be found there as text where the page has a
place for the field. A pair of field and page is "shown", "elsewhere" (no place on that page) or a
fault: "ran", "cut".
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1] / "tests"))
from hornbeam.api.job_results import html_table
from hornbeam.assembly.run_folder import report
from hornbeam.cli.live_server import LiveRun, LiveServer
from hornbeam.jobs.search.readout import write_result
from hornbeam.recipe.toml import to_toml
from hornbeam.store.database import Store, TreeKey
from hornbeam.store.ledger import Entry
from hornbeam.tree.nodes import Call, Node, Origin, Tree, floats, ids
from hornbeam.view import tree_svg, write_trees_page
from view.browser import Browser

BREAKS = (
    "<b>{name}</b></script></style></title></textarea></svg>-->]]>"
    "<script>{hit}</script><img src=x onerror={hit}><svg onload={hit}></svg>"
    "<img src=http://127.0.0.1:9/{name}><iframe src='javascript:{hit}'></iframe>"
    "<link rel=stylesheet href=http://127.0.0.1:9/{name}><style>@import 'http://127.0.0.1:9/{name}'"
    "</style>\"onfocus={hit} autofocus x='\" '-{hit}-' `${{{hit}}}` {{{{{hit}}}}} $data \\u2028"
    "\u2028\u0000\u202e<base href=http://127.0.0.1:9/><meta http-equiv=refresh content=0;url=//x>"
)


def payload(name: str) -> str:
    """The text of a field: it begins with what is looked for on the page."""
    hit = f"hit=self.hurt=[self.hurt]+/{name}/,alert(1)"
    return BREAKS.format(hit=hit, name=name)


def mark(name: str) -> str:
    """What must stand on the page as text; a file's name has no slash."""
    return f"<b>{name}</b>".replace("/", "|" if name == "file name" else "/")


class Fields:
    """Payloads by the names of their fields, in the order in which they were first asked for."""

    def __init__(self) -> None:
        self.names: list[str] = []

    def __call__(self, name: str) -> str:
        """The payload of a field."""
        if name not in self.names:
            self.names.append(name)
        return payload(name)


# --- a run of nothing but payloads ---------------------------------------------------------------


def hostile_tree(of: Fields) -> Tree:
    """A tree with one in each text that a tree holds."""
    data = {of("data key"): of("data value")}
    tree = Tree({"id": of("task id"), "question": of("question"), "answer": of("reference answer"),
                 "source": of("source"), **data})  # fmt: skip
    call = Call(of("tool"), {of("argument name"): of("argument")}, of("tool result"), "")
    failed = Call(of("tool"), {}, None, of("tool error"))
    sampled = {"tokens": ids([1, 2]), "logprobs": floats([-0.5, -1]), "prompt": ids([1])}
    first = tree.append(
        Node(0, of("agent"), text=of("step text"), calls=(call, failed), scope=of("scope"),
             origin=Origin(0, 0), finish="stop", **sampled))  # fmt: skip
    messages = ({"role": of("role"), "content": of("message")},)
    tree.append(Node(first, of("agent"), text=of("last text"), done=True, answer=of("answer"),
                     origin=Origin(0, 1), messages=messages, **sampled))  # fmt: skip
    tree.append(Node(first, of("second agent"), text="", done=True, error=of("step error"),
                     answer={of("answer key"): 1}, origin=Origin(1, 1)))  # fmt: skip
    tree.column("reward")[2], tree.column("reward")[3] = 1.0, 0.0
    tree.column(of("column"))[1] = 0.5
    return tree


def hostile_recipe(of: Fields) -> dict[str, Any]:
    names = ("recipe key", "model name", "recipe value", "recipe title")
    key, model, value, title = map(of, names)
    return {"run": {"title": title, "steps": 3}, "model": {"name": model}, "agents": {key: value}}


def metric_rows(of: Fields) -> Iterator[dict[str, Any]]:
    """Rows whose names are payloads too."""
    for step in range(3):
        yield {"kind": "train", "step": step, "reward": step / 3, "seconds": 1.0 * step, "loss": 1,
               "failed": 1, of("metric"): step, f"reward.{of('part of the reward')}": step,
               f"figure.{of('figure of the reward')}": step, "failure": of("failure line"),
               "a|b|c": step, "__proto__": step}  # fmt: skip
        yield {"kind": of("kind of row"), "step": step, "x": step}
        yield {"kind": "eval", "stage": of("stage"), "step": step, "accuracy": step / 3,
               "figure": of("figure"), "count": 3}  # fmt: skip


def hostile_run(of: Fields, folder: Path) -> None:
    """A run folder with all of it."""
    with Store(folder) as store:
        store.set("recipe", hostile_recipe(of))
        for step in range(2):
            for stage in ("train", "eval"):
                store.begin(key := TreeKey(stage, step, 0), tree := hostile_tree(of))
                store.columns(key, dict(tree.columns))
                store.done(key)
        for row in metric_rows(of):
            store.metric(row)
        kinds = (of("cost"), f"client_tokens_{of('client')}", f"turn_tokens_{of('turn')}")
        store.enter([Entry("train/0/0", 0, 0, kind, 3.0) for kind in kinds])
        store.flush()
    (folder / "recipe.toml").write_text(to_toml(hostile_recipe(of)), "utf-8")


def hostile_search(of: Fields) -> dict[str, Any]:
    """A result with one in each text."""
    nodes = [{"parent": -1}]
    for place, more in enumerate(({"text": of("step text")}, {"error": of("step error")})):
        nodes.append({"parent": place, "agent": of("agent"), "value": 0.5, "visits": 2, **more})
    nodes[-1] |= {"done": True, "answer": of("answer"), "chosen": True}
    point = {"label": of("label"), "accuracy": 0.5, "low": 0.4, "high": 0.6, "total_tokens": 9,
             "left_out": {of("reading"): of("why left out")}}  # fmt: skip
    searched = {"method": of("method"), "label": of("label"), "answer": of("answer"), "tokens": 5,
                "correct": True, "nodes": nodes}  # fmt: skip
    question = {"id": of("task id"), "question": of("question"), "gold": of("reference answer")}
    return {
        "title": of("recipe title"), "baseline": of("baseline"), "command": of("command"), "k": 1,
        "figure": of("figure"), "left_out": [{"method": of("method"), "why": of("why left out")}],
        "methods": [{"name": of("method"), "points": [point, {**point, "accuracy": 0.4}]}],
        "questions": [question | {"searches": [searched, {**searched, "method": "b"}]}],
    }  # fmt: skip


# --- the pages -----------------------------------------------------------------------------------

RUN = """
for (let s = 0; s < DATA.steps.length; s++) { chooseStep(s);
  for (const chip of document.querySelectorAll('.chip input')) { chip.click();
    for (let i = 0; i < drawing.marks.length; i++) { choose(drawing, i, true); keep(); } } }
for (const one of parts.column.options) { parts.column.value = one.value;
  parts.column.dispatchEvent(new Event('change')); keep(); }
const chosen = document.getElementById('chosen');
for (const one of chosen ? chosen.options : []) { chosen.value = one.value;
  chosen.dispatchEvent(new Event('change')); keep(); }
for (const fold of document.querySelectorAll('details')) { fold.open = true;
  fold.dispatchEvent(new Event('toggle')); }
for (const plot of document.querySelectorAll('.chart')) { plot.focus(); keep(); }
"""
SEARCH = """
for (let q = 0; q < DATA.questions.length; q++) { chooseQuestion(q);
  for (const side of sides) for (let i = 0; i < side.search.nodes.length; i++) {
    choose(side.drawing, i, true); keep(); } }
for (const radio of document.querySelectorAll('#axis input')) { radio.click(); keep(); }
document.querySelector('.chart').focus(); keep();
"""
# All text of the page now: text nodes, and attributes that are read out or shown.
SEEN = """
self.seen = new Set();
function keep() {
  const walk = document.createTreeWalker(document, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    if (!walk.currentNode.parentNode.closest('script, style')) seen.add(walk.currentNode.data);
  }
  for (const one of document.querySelectorAll('[aria-label], [title], option')) {
    for (const name of ['aria-label', 'title', 'value']) seen.add(one.getAttribute(name) ?? '');
  }
}
keep();
"""
EXTRA = "img, iframe, link, base, object, embed, form, [onerror], [onload], [onfocus]"


@contextmanager
def pages(folder: Path, of: Fields) -> Iterator[dict[str, tuple[Any, str]]]:
    """Page -> (where it is, the script that chooses all there is)."""
    run = folder / "run"
    hostile_run(of, run)
    trees = [hostile_tree(of), hostile_tree(of)]
    with Store(run, read_only=True) as store:
        title = (store.get("recipe") or {})["run"]["title"]
        whole = report(run, store, title)
    name = of("file name").replace("/", "|").replace("\0", "")[:120]
    found = write_trees_page(folder / "trees.html", name, trees)
    solved = write_trees_page(folder / "solved.html", of("question"), trees[:1])
    search = write_result(hostile_search(of), folder / "search").with_name("search.html")
    (folder / "tree.svg").write_text(tree_svg(trees[0]), "utf-8", "replace")
    rows = [(of("result name"), of("result text"))]
    notebook = f"<!doctype html><meta charset=utf-8>{html_table(rows)}{trees[0]._repr_html_()}"
    (folder / "notebook.html").write_text(notebook, "utf-8", "replace")
    with LiveServer(LiveRun(run)) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with_trees = {"run": whole, "live": server.url, "trees": found, "solve": solved}
            drawn = {name: (folder / name, "") for name in ("tree.svg", "notebook.html")}
            yield {name: (where, RUN) for name, where in with_trees.items()} | {
                "search": (search, SEARCH), **drawn
            }  # fmt: skip
        finally:
            server.shutdown()
            thread.join()


def look(tab: Browser, where: Any, choose: str, shot: Path | None) -> tuple[list[str], str]:
    """(what went wrong, all text that was seen) of one page."""
    tab.events.clear()
    tab.open(where)
    broken = [e for e in tab.events if e.get("method") == "Runtime.exceptionThrown"]
    if broken:
        return [f"a script failed: {json.dumps(broken)[:700]}"], ""
    if choose:
        tab.run(f"{SEEN}{choose}keep(); 1")
        seen = "\n".join(tab.run("[...seen]"))
    else:
        seen = tab.run("document.documentElement.textContent")
    wrong = []
    if hurt := tab.run("self.hurt === undefined ? '' : String(self.hurt)"):
        wrong.append(f"ran: {hurt[:100]}")
    own = "document.documentElement.namespaceURI.endsWith('svg') ? 0 : "
    if count := tab.run(f"{own}document.querySelectorAll('{EXTRA}').length"):
        wrong.append(f"{count} elements of the payloads")
    for event in tab.events:
        method, about = event.get("method"), event.get("params", {})
        asked = about.get("request", {}).get("url", "")
        here = where if isinstance(where, str) else where.as_uri()
        if method == "Page.javascriptDialogOpening":
            wrong.append("a dialog")
        elif method == "Network.requestWillBeSent" and not asked.startswith(here):
            wrong.append(f"a request: {asked[:80]}")
        elif method in ("Runtime.exceptionThrown", "Log.entryAdded"):
            wrong.append(f"{method}: {json.dumps(about)[:300]}")
    if shot:
        tab.run("scrollTo(0, 0)")
        tab.picture(shot)
    return wrong, seen


def study(shots: Path | None, say: Callable[[str], None]) -> dict[str, Any]:
    """What became of every field on every page."""
    folder, of, result = Path(tempfile.mkdtemp(prefix="pages-")), Fields(), {}
    try:
        with pages(folder, of) as places, Browser() as tab:
            tab.send("Network.enable")
            for page, (where, choose) in places.items():
                shot = shots / f"{page.replace(' ', '-')}.png" if shots else None
                wrong, seen = look(tab, where, choose, shot)
                shown = [name for name in of.names if mark(name) in seen]
                result[page] = {"shown": shown, "faults": wrong}
                say(f"{page:14} {len(shown):3} of {len(of.names)} fields shown; faults: {wrong}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    never = [n for n in of.names if not any(n in each["shown"] for each in result.values())]
    return {"fields": of.names, "pages": result, "never": never}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shots", type=Path, help="folder for a screenshot of each page")
    parser.add_argument("--json", type=Path)
    how = parser.parse_args()
    if how.shots:
        how.shots.mkdir(parents=True, exist_ok=True)
    found = study(how.shots, lambda line: print(line, flush=True))
    pairs = sum(len(page["shown"]) for page in found["pages"].values())
    faults = sum(len(page["faults"]) for page in found["pages"].values())
    told = f"{len(found['fields'])} fields x {len(found['pages'])} pages"
    print(f"{told}: {pairs} shown as text, {faults} faults; on no page: {found['never']}")
    if how.json:
        record = {"fields": len(found["fields"]), "pages": len(found["pages"]), "shown": pairs}
        record |= {"faults": faults, "command": "python bench/hostile_pages.py"}
        how.json.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    sys.exit(bool(faults))


if __name__ == "__main__":
    main()
