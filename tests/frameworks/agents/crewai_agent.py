"""CrewAI: a crew of one for each question."""

from crewai import LLM, Agent, Crew, Task
from crewai.tools import tool
from two_tools import INSTRUCTIONS, calculator, lookup, questions, told

TOOLS = [tool("calculator")(calculator), tool("lookup")(lookup)]


def run(task, session):
    llm = LLM(model=f"openai/{session.model}", base_url=session.base_url, api_key=session.api_key)
    agent = Agent(
        role="assistant",
        goal="Answer questions.",
        backstory=INSTRUCTIONS,
        tools=TOOLS,
        llm=llm,
        max_iter=4,
        verbose=False,
    )
    answers = []
    for question in questions(task):
        work = Task(description=question, expected_output="A few words.", agent=agent)
        answers.append(Crew(agents=[agent], tasks=[work], verbose=False).kickoff().raw)
    return told(session, answers)
