"""How a model writes for agents that read its text: code, ReAct, fields, a call for the answer.

Texts that are no final answer are written as they are: where an action was wanted, none is there.
"""

import json

FINAL = "The answer is"  # how a final answer begins (variations.final)


def answer_by_call(saying, prompt, hermes):
    """Native calls, the final answer one too."""
    if not saying.text.startswith(FINAL):
        return hermes(saying)
    arguments = json.dumps({"answer": saying.text})
    return f'<tool_call>\n{{"name": "final_answer", "arguments": {arguments}}}\n</tool_call>'


def code(saying, prompt, hermes):
    """Python between tags."""
    if saying.text.startswith(FINAL):
        return f"Thought: done.\n<code>\nfinal_answer({saying.text!r})\n</code>"
    if not saying.calls:
        return saying.text
    lines = "\n".join(f"print({name}(**{arguments}))" for name, arguments in saying.calls)
    return f"{_thought(saying)}\n<code>\n{lines}\n</code>"


def react(saying, prompt, hermes):
    """One action, or the answer."""
    if saying.text.startswith(FINAL):
        return f"Thought: I can answer without using any more tools.\nAnswer: {saying.text}"
    if not saying.calls:
        return saying.text
    name, arguments = saying.calls[0]
    return f"{_thought(saying)}\nAction: {name}\nAction Input: {arguments}"


def fields(saying, prompt, hermes):
    """DSPy's fields: a thought and a tool, in the end the answer."""
    if "next_tool_name" not in prompt:
        return _fields(reasoning=_thought(saying), answer=saying.text)
    name, arguments = saying.calls[0] if saying.calls else ("finish", "{}")
    if not saying.calls and not saying.text.startswith(FINAL):
        return saying.text
    return _fields(next_thought=_thought(saying), next_tool_name=name, next_tool_args=arguments)


def _thought(saying):
    return f"Thought: {saying.reasoning or saying.text or 'I work it out.'}"


def _fields(**said):
    written = [f"[[ ## {name} ## ]]\n{text}\n" for name, text in said.items()]
    return "\n".join([*written, "[[ ## completed ## ]]"])


TEXT_WRITERS = {
    "answer_by_call": answer_by_call,
    "code": code,
    "react": react,
    "fields": fields,
}
