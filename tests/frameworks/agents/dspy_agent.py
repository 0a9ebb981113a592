"""DSPy's ReAct."""

import dspy
import litellm  # noqa: F401  (DSPy imports it at its first ask, which each run would pay)
from two_tools import INSTRUCTIONS, calculator, lookup, questions, told


class Answer(dspy.Signature):
    history: dspy.History = dspy.InputField()
    question: str = dspy.InputField()
    answer: str = dspy.OutputField()


def run(task, session):
    lm = dspy.LM(
        f"openai/{session.model}",
        api_base=session.base_url,
        api_key=session.api_key,
        cache=False,  # else an equal prompt is not asked again
    )
    agent = dspy.ReAct(
        Answer.with_instructions(INSTRUCTIONS), tools=[calculator, lookup], max_iters=4
    )
    history = dspy.History(messages=[])
    answers = []
    with dspy.context(lm=lm):
        for question in questions(task):
            said = agent(history=history, question=question)
            history.messages.append({"question": question, **said})
            answers.append(said.answer)
    return told(session, answers)
