"""CPU seconds before the line that tells of a typo, one a section of a recipe at least.

    python bench/typos.py [--repeats N] [--json FILE] [--docs docs/errors.md]

Each case is a recipe with every section, one thing in it wrong, given to `hornbeam train` as a user
gives it: a process of its own. CPU seconds are user and system time of that process and those it
started, the median of the repeats. The table stands in docs/errors.md between two marks.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

RECIPE = """
[run]
steps = 2
[model]
name = "tiny"
[lora]
rank = 4
[policies.one]
[agents.seeker]
max_tokens = 4
[program]
name = "lookup"
[tools.lookup]
[limits]
turns = 8
[[tasks.train]]
source = "lookup"
count = 1500
[[tasks.eval]]
source = "lookup"
split = "test"
count = 100
[[stages]]
begin = 0
[reward]
rule = "exact"
[grow]
strategy = "branch"
trunks = 4
[credit]
method = "tree_grpo"
[loss]
kl = 0.0
[optim]
lr = 6e-4
[sft]
count = 100
[budget]
tokens = 1000000
[engine]
kind = "local"
[workers]
kind = "local"
[guides.value]
kind = "prm"
model = "runs/prm"
[search]
[[search.methods]]
name = "best of n"
choose = "best"
n = 4
[serve.voted]
choose = "majority"
[label]
strategy = "mcts"
[chunks]
samples = 2
[fit]
epochs = 2
"""
ANCHOR = ["stages=[]", "anchor={}"]  # the two exclude one another
USED = ["credit={method='anchor'}"]

# (section, what is wrong, changes that make it so, a part of the line)
CASES = [
    ("run", "unknown key", ["run.step=3"], "did you mean 'steps'"),
    ("run", "wrong type", ["run.steps='two'"], "expected a whole number"),
    ("run", "unknown device", ["run.device=cdua"], "did you mean 'cuda'"),
    ("model", "unknown name", ["model.name=tinny"], "did you mean 'tiny'"),
    ("model", "unknown option", ["model.options={wdth=32}"], "did you mean 'width'"),
    ("lora", "unknown key", ["lora.rnk=4"], "did you mean 'rank'"),
    ("policies", "unknown key", ["policies.one.optm={}"], "did you mean 'optim'"),
    ("policies", "unknown model", ["policies.one.model=tinny"], "did you mean 'tiny'"),
    ("agents", "unknown key", ["agents.seeker.max_token=4"], "did you mean 'max_tokens'"),
    ("agents", "misnamed", ["agents={seekr={max_tokens=4}}"], "asks agent 'seeker'"),
    ("agents", "unknown policy", ["agents.seeker.policy=on"], "did you mean 'one'"),
    ("program", "unknown name", ["program.name=lokup"], "did you mean 'lookup'"),
    ("program", "missing file", ["program.name=mine.py:run"], "no such file"),
    ("program", "unknown setting", ["program={name='single', agnt='seeker'}"], "'agent'"),
    ("program", "unknown agent", ["program={name='single', agent='sekr'}"], "asks agent 'sekr'"),
    ("program", "unknown preset", ["program={name='team', preset='mth'}"], "did you mean 'math'"),
    ("tools", "unknown name", ["tools.lookup.use=lokup"], "did you mean 'lookup'"),
    ("tools", "misnamed", ["tools={calculator={}}"], "calls tool 'lookup'"),
    ("world", "unknown name", ["world.kind=foldr"], "did you mean 'folder'"),
    ("world", "unknown setting", ["world={kind='folder', copy='safe'}"], "did you mean 'copies'"),
    ("world", "no kind", ["world.keep=1"], "has 'keep' and no kind"),
    ("tools", "missing file", ["tools.own.use=mine.py:find"], "no such file"),
    ("limits", "unknown key", ["limits.turn=8"], "did you mean 'turns'"),
    ("tasks", "unknown source", ["tasks.train.0.source=lokup"], "did you mean 'lookup'"),
    ("tasks", "unknown key", ["tasks.train.0.cont=8"], "did you mean 'count'"),
    ("tasks", "unknown option", ["tasks.train.0.options.dept=3"], "did you mean 'depth'"),
    ("tasks", "unknown split", ["tasks.eval.0={source='svamp', split='tst'}"], "did you mean"),
    ("tasks", "missing file", ["tasks.eval.0={source='jsonl', path='no.jsonl'}"], "no such file"),
    ("stages", "unknown key", ["stages.0.begn=0"], "did you mean 'begin'"),
    ("reward", "unknown rule", ["reward.rule=exakt"], "did you mean 'exact'"),
    ("grow", "unknown strategy", ["grow.strategy=brnch"], "did you mean 'branch'"),
    ("grow", "unknown setting", ["grow.trunk=2"], "did you mean 'trunks'"),
    ("credit", "unknown method", ["credit.method=tree_grop"], "did you mean 'tree_grpo'"),
    ("credit", "unknown setting", ["credit.alpa=1"], "credit method 'tree_grpo'"),
    ("anchor", "unknown key", [*ANCHOR, "anchor.rollout=4"], "did you mean 'rollouts'"),
    ("anchor", "unknown model", [*ANCHOR, *USED, "anchor.model=tinny"], "no such folder"),
    ("loss", "unknown key", ["loss.kll=0.1"], "did you mean 'kl'"),
    ("optim", "unknown key", ["optim.lrr=0.1"], "did you mean 'lr'"),
    ("sft", "unknown key", ["sft.epoch=2"], "did you mean 'epochs'"),
    ("sft", "missing file", ["sft.data=no.jsonl"], "no such file"),
    ("budget", "unknown key", ["budget.token=2"], "did you mean 'tokens'"),
    ("engine", "unknown kind", ["engine.kind=vlm"], "did you mean 'vllm'"),
    ("engine", "unknown setting", ["engine.max_bach=2"], "did you mean 'max_batch'"),
    ("workers", "unknown kind", ["workers.kind=rey"], "did you mean 'ray'"),
    ("guides", "unknown kind", ["guides.value.kind=prn"], "did you mean 'prm'"),
    ("guides", "unknown setting", ["guides.value.modl='x'"], "did you mean 'model'"),
    ("search", "unknown choice", ["search.methods.0.choose=bst"], "did you mean 'best'"),
    ("search", "unknown strategy", ["search.methods.0.strategy=bem"], "did you mean 'beam'"),
    ("search", "unknown setting", ["search.methods.0.m=4"], "has no setting 'm'"),
    ("serve", "unknown choice", ["serve.voted.choose=majorty"], "did you mean 'majority'"),
    ("serve", "name of an agent", ["serve.seeker.n=2"], "an agent has that name"),
    ("label", "unknown strategy", ["label.strategy=mctss"], "did you mean 'mcts'"),
    ("label", "unknown setting", ["label.simulation=4"], "did you mean 'simulations'"),
    ("chunks", "unknown key", ["chunks.sample=4"], "did you mean 'samples'"),
    ("sinks", "unknown name", ["sinks.wand.project=a"], "did you mean 'wandb'"),
    ("sinks", "unknown setting", ["sinks.wandb.projct=a"], "did you mean 'project'"),
    ("fit", "unknown key", ["fit.epoch=4"], "did you mean 'epochs'"),
    ("state", "unknown key", ["state.kee=prompt"], "did you mean 'key'"),
    ("", "unknown section", ["optimiser.lr=1"], "no key 'optimiser'"),
]
BEGIN, END = "<!-- typos -->", "<!-- /typos -->"


def words(recipe, changes):
    """The command line of a case, without `hornbeam`."""
    sets = [word for change in changes for word in ("--set", change)]
    return ["train", str(recipe), "--out", str(recipe.with_name("run")), *sets]


def cpu(command, folder):
    """(CPU seconds, exit code, last line of stderr) of a process."""
    with tempfile.TemporaryFile("w+") as result:
        there = {k: v for k, v in os.environ.items() if k != "HORNBEAM_DATA"}
        out = subprocess.DEVNULL
        process = subprocess.Popen(command, cwd=folder, env=there, stdout=out, stderr=result)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        result.seek(0)
        lines = result.read().strip().splitlines()
    return used.ru_utime + used.ru_stime, process.returncode, lines[-1] if lines else ""


def measured(repeats):
    """A row a case."""
    rows = []
    with tempfile.TemporaryDirectory() as made:
        folder = os.path.realpath(made)
        recipe = Path(folder) / "bad.toml"
        recipe.write_text(RECIPE)
        for section, wrong, changes, part in CASES:
            command = [sys.executable, "-m", "hornbeam.cli.main", *words(recipe, changes)]
            runs = [cpu(command, folder) for _ in range(repeats)]
            seconds, code, line = statistics.median(run[0] for run in runs), *runs[0][1:]
            if code != 2 or part not in line:
                raise SystemExit(f"{section}, {wrong}: exit code {code}: {line}")
            row = {"section": section or "(none)", "wrong": wrong, "cpu_seconds": round(seconds, 2)}
            rows.append({**row, "line": line.replace(folder, ".").removeprefix("hornbeam: ")})
            print(f"{row['section']:10} {wrong:18} {seconds:5.2f}  {rows[-1]['line'][:80]}")
    return rows


def table(rows):
    """The table of the page."""
    lines = ["| section | wrong | CPU s | the line |", "|---|---|---|---|"]
    for row in rows:
        line = row["line"].replace("|", "\\|").replace("<", "&lt;")
        result = line if len(line) <= 90 else f"{line[:87]}..."
        lines.append(f"| {row['section']} | {row['wrong']} | {row['cpu_seconds']:.2f} | {result} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--docs", type=Path)
    args = parser.parse_args()
    rows = measured(args.repeats)
    worst = max(row["cpu_seconds"] for row in rows)
    print(f"{len(rows)} typos, at most {worst:.2f} CPU seconds before the line (target: under 1)")
    if args.json:
        result = {"most": worst, "repeats": args.repeats, "rows": rows}
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    if args.docs:
        before, _, rest = args.docs.read_text("utf-8").partition(BEGIN)
        after = rest.partition(END)[2]
        args.docs.write_text(f"{before}{BEGIN}\n{table(rows)}\n{END}{after}", "utf-8")


if __name__ == "__main__":
    main()
