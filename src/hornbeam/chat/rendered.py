"""Trees of text in the ids of a model, by its own chat template: for who reads ids.

A tree that was recorded elsewhere tells what was said and what came back, and no ids, or those of
another model. The conversation before a step is the one that the tree keeps (`history`); where it
keeps none, it is the question, and what was said and came back since. Steps of one answer go on in
its ids, a line end between two that have no blank there, as `tasks.steplabels` writes them.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Sequence
from dataclasses import replace

from hornbeam.chat.byte_chat import Chat, Message, assistant, end_of_answer, user
from hornbeam.chat.history import history
from hornbeam.chat.tool_text import calls_in_text, hinted
from hornbeam.errors import ModelError
from hornbeam.tree.nodes import Node, Placed, Tree, floats, ids

BETWEEN = "\n"  # stands between the ids of two steps of an answer


def has_ids(tree: Tree) -> bool:
    """Whether any step has token ids."""
    return any(node.tokens for node in tree.nodes)


def has_text(tree: Tree) -> bool:
    """Whether any step says something."""
    return any(node.text.strip() for node in tree.nodes[1:])


def foreign(tree: Tree, chat: Chat) -> bool:
    """Whether the ids of a tree spell other texts than its steps say: they are another model's."""
    turns = [node for node in tree.nodes[1:] if node.tokens and node.text.strip()]
    return sum(_spelled(node, chat) != node.text for node in turns) > len(turns) / 2


def _spelled(node: Node, chat: Chat) -> str:
    try:
        return chat.text(node.tokens)
    except (IndexError, KeyError, OverflowError, TypeError, ValueError):  # no such id
        return ""


def goes_on(tree: Tree, i: int) -> bool:
    """Whether node i goes on with the answer of the node above it."""
    node, above = tree.nodes[i], tree.nodes[tree.nodes[i].parent]
    if node.parent < 1 or above.agent != node.agent or node.messages or above.calls:
        return False
    return above.finish == "chunk" or (not above.finish and not above.done and not above.error)


def conversation(tree: Tree, i: int) -> tuple[list[Message], dict[int, int]]:
    """(all messages before node i spoke, the last node of each of its agent's own answers there).

    Where the tree keeps no messages, others' words are a user's, behind their names.
    """
    if any(node.messages for node in tree.nodes):
        return history(tree, i), _quoted(tree, i)
    turns: list[tuple[str, str, int]] = []  # role, text, node
    question = str(tree.task.get("question") or "").strip()
    for role, text in (("user", question), ("user", heard(tree.nodes[0]))):
        _say(turns, role, text)
    agent = tree.nodes[i].agent
    for k in tree.path(i)[:-1]:
        node = tree.nodes[k]
        if goes_on(tree, k) and turns and turns[-1][2] == node.parent:
            role, text, above = turns[-1]
            turns[-1] = (role, text + between(tree.nodes[above], node) + node.text, k)
        elif node.text.strip() and not node.error:
            own = node.agent == agent
            text = node.text if own or not node.agent else f"{node.agent}: {node.text}"
            _say(turns, "assistant" if own else "user", text, k)
        _say(turns, "user", heard(node))
    messages = [assistant(text) if role == "assistant" else user(text) for role, text, _ in turns]
    return messages, {n: k for n, (role, _, k) in enumerate(turns) if role == "assistant"}


def _say(turns: list[tuple[str, str, int]], role: str, text: str, node: int = 0) -> None:
    """Add what was said; what one user says after another is one message."""
    if not text:
        return
    if role == "user" and turns and turns[-1][0] == "user":
        turns[-1] = (role, f"{turns[-1][1]}\n{text}", 0)
    else:
        turns.append((role, text, node))


def _quoted(tree: Tree, i: int) -> dict[int, int]:
    """Where in the history of a node its agent's own answers stand whose calls are text."""
    out, place, in_text = {}, len(tree.nodes[0].messages), calls_in_text(tree)
    for k in tree.path(i)[:-1]:
        place += len(tree.nodes[k].messages)
        if tree.nodes[k].agent == tree.nodes[i].agent and (in_text or not tree.nodes[k].calls):
            out[place] = k
        place += 1
    return out


def heard(node: Node) -> str:
    """What a node's calls brought back, a line each."""
    results = [f"error: {call.error}" if call.error else call.result for call in node.calls]
    texts = [r for r in results if r is not None]
    return "\n".join(r if isinstance(r, str) else json.dumps(r, ensure_ascii=False) for r in texts)


def between(above: Node, node: Node) -> str:
    """What stands between two steps of an answer."""
    blank = above.text[-1:].isspace() or node.text[:1].isspace() or not above.text or not node.text
    return "" if blank else BETWEEN


def with_ids(tree: Tree, chat: Chat) -> Tree:
    """The tree with prompts and tokens of a chat in place of those it may have; the same nodes.

    Steps that say nothing get none. Raises `ModelError` where the template refuses a conversation.
    """
    first = replace(tree.nodes[0], prompt=ids(), tokens=ids(), logprobs=floats())
    columns = {name: list(column) for name, column in tree.columns.items()}
    out = Tree(tree.task, [first], {}, tree.seed)
    answers: dict[int, array[int]] = {}  # node -> the ids of its answer so far
    for i, node in enumerate(tree.nodes[1:], 1):
        bare = replace(node, tokens=ids(), logprobs=floats())
        if not node.text.strip() or node.error:
            out.append(bare.placed(node.parent, Placed(ids())))
            answers[i] = answers.get(node.parent, ids()) if goes_on(tree, i) else ids()
            continue
        tokens = chat.quote(node.text)
        if _ends(tree, i):
            tokens = tokens + ids([end_of_answer(chat)])
        if goes_on(tree, i) and answers[node.parent]:
            prompt = chat.encode(between(tree.nodes[node.parent], node))
            answers[i] = answers[node.parent] + prompt + tokens
            where = Placed(prompt)
        else:
            messages, quoted = conversation(tree, i)
            said = {n: answers[k] for n, k in quoted.items() if answers[k]}
            try:
                context = chat.render(messages, said)
            except ModelError as error:
                raise hinted(error, messages) from error
            answers[i], where = tokens, out.place(node.parent, node.agent, context)
        out.append(replace(bare, tokens=tokens).placed(node.parent, where))
    out.columns.update(columns)
    return out


def _ends(tree: Tree, i: int) -> bool:
    """Whether the answer ends with node i."""
    if tree.nodes[i].finish in ("chunk", "length"):
        return False
    return not any(goes_on(tree, c) for c in tree.children(i))


def texts_of(trees: Sequence[Tree]) -> int:
    """How many trees hold text and no ids."""
    return sum(not has_ids(tree) and has_text(tree) for tree in trees)
