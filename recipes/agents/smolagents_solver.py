"""An agent of smolagents (pip install "smolagents[openai]")."""

from arithmetic import INSTRUCTIONS, calculate
from smolagents import AgentError, OpenAIModel, ToolCallingAgent, tool


def run(task, session):
    """The answer to the task's question."""
    model = OpenAIModel("solver", api_base=session.base_url, api_key=session.api_key)
    more = {"max_steps": 4, "verbosity_level": 0, "instructions": INSTRUCTIONS}
    try:
        return ToolCallingAgent([tool(calculate)], model, **more).run(task.question)
    except AgentError:
        return None
