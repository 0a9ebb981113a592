"""A small tree to look at: `python -m hornbeam.view.example FILE.svg` draws it as a picture.

An agent with a calculator answers one word problem; two trunks, branches at inner steps. What the
agent says is written here; rewards come from its answers, credit from Tree-GRPO.
"""

from __future__ import annotations

import sys
from pathlib import Path

from hornbeam.credit import credit
from hornbeam.tree.nodes import Call, Node, Tree
from hornbeam.view.picture import tree_svg

QUESTION = (
    "A baker sells 14 trays of 6 rolls and gives 9 rolls away. She baked 120. How many are left?"
)
GOLD = "27"

# parent, what is said; a step that ends in CALC[...] is answered by the calculator
STEPS = [
    (0, "Sold: CALC[14 * 6]"),
    (1, "Gone: CALC[84 + 9]"),
    (2, "Left: CALC[120 - 93]"),
    (3, "Answer: 27"),
    (2, "Answer: 93"),
    (1, "Left: CALC[120 - 84]"),
    (6, "Less gifts: CALC[36 - 9]"),
    (7, "Answer: 27"),
    (6, "Answer: 36"),
    (0, "All: CALC[14 + 6 + 9]"),
    (10, "Left: CALC[120 - 29]"),
    (11, "Answer: 91"),
    (10, "Answer: 29"),
]
RESULTS = {"14 * 6": 84, "84 + 9": 93, "120 - 93": 27, "120 - 84": 36, "36 - 9": 27}
RESULTS |= {"14 + 6 + 9": 29, "120 - 29": 91}


def example_tree() -> Tree:
    """The tree with columns reward and credit."""
    tree = Tree({"id": "rolls", "question": QUESTION, "answer": GOLD})
    for parent, text in STEPS:
        answer = text.removeprefix("Answer: ") if text.startswith("Answer: ") else None
        calls: tuple[Call, ...] = ()
        if answer is None:
            sum_ = text[text.index("[") + 1 : -1]
            calls = (Call("calculator", {"expression": sum_}, RESULTS[sum_]),)
        tree.append(
            Node(parent, "solver", text=text, calls=calls, done=bool(answer), answer=answer)
        )
    reward = tree.column("reward")
    for leaf in tree.leaves():
        reward[leaf] = float(tree.nodes[leaf].answer == GOLD)
    credit([tree], "tree_grpo")
    return tree


def main() -> None:
    """Draw the tree into the file that is named."""
    if len(sys.argv) != 2:
        sys.exit("usage: python -m hornbeam.view.example FILE.svg")
    Path(sys.argv[1]).write_text(tree_svg(example_tree()), encoding="utf-8")


if __name__ == "__main__":
    main()
