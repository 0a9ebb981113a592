"""The smallest agent of openai-agents."""

from agents import Agent, OpenAIChatCompletionsModel, Runner, set_tracing_disabled
from openai import AsyncOpenAI

set_tracing_disabled(True)
CLIENT = AsyncOpenAI()  # of the environment of a run, although it is made as the file is loaded
AGENT = Agent(
    name="solver",
    instructions="Answer with a number.",
    model=OpenAIChatCompletionsModel("solver", CLIENT),
)


async def run(task, session):
    return (await Runner.run(AGENT, task.question)).final_output
