"""An agent of pydantic-ai (pip install "pydantic-ai-slim[openai]")."""

from arithmetic import INSTRUCTIONS, calculate
from pydantic_ai import Agent, UnexpectedModelBehavior, UsageLimitExceeded, UsageLimits


def run(task, session):
    """The answer to the task's question."""
    agent = Agent("openai-chat:solver", instructions=INSTRUCTIONS, tools=[calculate])
    try:
        return agent.run_sync(task.question, usage_limits=UsageLimits(request_limit=4)).output
    except (UnexpectedModelBehavior, UsageLimitExceeded):
        return None
