"""EM and F1 against the published definitions, over every accepted answer of the QA sets.

    HORNBEAM_DATA=... python bench/answers_f1.py [--peers FOLDER]

HotpotQA's and SQuAD's rules are written out here from their papers and scripts, apart from ours.
With `--peers` (a folder that `pip install --no-deps --target FOLDER torchmetrics==1.9.0
lightning-utilities flashrag-dev==0.1.2` filled) SQuAD's script of torchmetrics and HotpotQA's rule
of FlashRAG are asked as well. Every accepted answer meets replies made of it and of its neighbours.
"""

import argparse
import importlib
import json
import re
import string
import sys
import types
from collections import Counter
from pathlib import Path

from hornbeam.score.rules import rule_of
from hornbeam.tasks.families import families, family_file, read_family
from hornbeam.tasks.task_sources import data_directory

OUT = Path(__file__).parents[1] / "docs" / "results" / "answers_f1.json"
YES_NO = ["yes", "no", "noanswer"]


def plain(text):
    kept = "".join(sign for sign in text.lower() if sign not in string.punctuation)
    return re.sub(r"\b(a|an|the)\b", " ", kept).split()


def squad(reply, gold):
    """SQuAD 2.0's script, MuSiQue's too: (EM, F1)."""
    said, wanted = plain(reply), plain(gold)
    if not said or not wanted:
        return float(said == wanted), float(said == wanted)
    same = sum((Counter(said) & Counter(wanted)).values())
    precision, recall = same / len(said), same / len(wanted)
    return float(said == wanted), 2 * precision * recall / (precision + recall) if same else 0.0


def hotpot(reply, gold):
    """HotpotQA's script, 2WikiMultihopQA's too: no F1 for words around yes, no and noanswer."""
    em, f1 = squad(reply, gold)
    said, wanted = (" ".join(plain(text)) for text in (reply, gold))
    closed = said != wanted and (said in YES_NO or wanted in YES_NO)
    return em, 0.0 if closed or not said or not wanted else f1


def peers(folder):
    """(name, sets it speaks for, (reply, gold) -> F1) of what is installed there."""
    sys.path.insert(0, str(folder))
    from torchmetrics.functional.text.squad import _compute_f1_score

    for name in ("flashrag", "flashrag.evaluator"):  # not their heads, which import all of it
        package = sys.modules[name] = types.ModuleType(name)
        package.__path__ = [str(Path(folder, *name.split(".")))]
    metrics = importlib.import_module("flashrag.evaluator.metrics")
    score = metrics.F1_Score({"dataset_name": ""}).token_level_scores
    return [
        ("torchmetrics", "squad", lambda reply, gold: float(_compute_f1_score(reply, gold))),
        ("FlashRAG", "hotpotqa", lambda reply, gold: float(score(reply, gold)["f1"])),
    ]


def replies(gold, other):
    words = gold.split()
    return [
        *(gold, f"The {gold.upper()}.", f"{gold} it is", f"  {gold}\n", gold.replace(" ", "-")),
        *(" ".join(words[: len(words) // 2 + 1]), " ".join(reversed(words)), other, "", "the", "?"),
        *YES_NO,
    ]


def count(name, result, others):
    """Agreements of one set, and the pairs in which we and somebody else part."""
    tasks, golds = result
    seen = Counter()
    difference = {}
    for number, (task, gold) in enumerate(zip(tasks, golds)):
        how = task.data.get("scoring", {}).get("f1", "squad")
        f1, em = rule_of("f1", task.data), rule_of("em", task.data)
        published = hotpot if how == "hotpotqa" else squad
        for reply in replies(gold, golds[(number + 1) % len(golds)]):
            ours = em(reply, gold), f1(reply, gold)
            theirs = published(reply, gold)
            views = {"published EM": (ours[0], theirs[0]), "published F1": (ours[1], theirs[1])}
            views |= {who: (ours[1], ask(reply, gold)) for who, of, ask in others if of == how}
            for who, (left, right) in views.items():
                same = abs(left - right) < 1e-6
                seen[who, same] += 1
                if not same:
                    difference.setdefault(who, []).append([reply, gold, left, right])
    who = sorted({key for key, _ in seen})
    return {
        "set": name,
        "f1": how,
        "answers": len(golds),
        "pairs": sum(seen[who[0], same] for same in (True, False)),
        "agree": {key: seen[key, True] for key in who},
        "apart": {key: len(pairs) for key, pairs in difference.items()},
        "examples": {key: pairs[:5] for key, pairs in difference.items()},
    }


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--peers", type=Path)
    given = parser.parse_args()
    others = peers(given.peers) if given.peers else []
    data = data_directory()
    rows = []
    print(f"{'set':<18}{'F1 as':>10}{'pairs':>8}  agreements")
    for name, family in families.items():
        for split in family.files:
            path = family_file(name, split, data)
            tasks = read_family(name, split, path) if path else []
            pairs = [(t, gold) for t in tasks if isinstance(t.answer, list) for gold in t.answer]
            if pairs:
                rows.append(count(f"{name} {split}", tuple(zip(*pairs)), others))
                result = ", ".join(f"{who} {n}" for who, n in rows[-1]["agree"].items())
                print(f"{rows[-1]['set']:<18}{rows[-1]['f1']:>10}{rows[-1]['pairs']:>8}  {result}")
                for who, examples in rows[-1]["examples"].items():
                    print(f"    apart from {who}: {examples[:3]}")
    OUT.write_text(json.dumps({"peers": [name for name, _, _ in others], "sets": rows}, indent=1))


if __name__ == "__main__":
    main()
