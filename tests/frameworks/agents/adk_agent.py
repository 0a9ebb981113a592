"""Google's agent development kit, by litellm."""

import litellm  # noqa: F401  (ADK imports it at its first ask, which each run would pay)
from google.adk.agents import LlmAgent
from google.adk.models.lite_llm import LiteLlm
from google.adk.runners import InMemoryRunner
from google.genai import types
from two_tools import INSTRUCTIONS, calculator, lookup, questions, told


async def run(task, session):
    model = LiteLlm(
        model=f"openai/{session.model}", api_base=session.base_url, api_key=session.api_key
    )
    agent = LlmAgent(
        name="assistant", model=model, instruction=INSTRUCTIONS, tools=[calculator, lookup]
    )
    runner = InMemoryRunner(agent=agent, app_name="app")
    await runner.session_service.create_session(app_name="app", user_id="u", session_id="s")
    answers = []
    for question in questions(task):
        message = types.Content(role="user", parts=[types.Part(text=question)])
        answers.append("")
        async for event in runner.run_async(user_id="u", session_id="s", new_message=message):
            if event.is_final_response() and event.content and event.content.parts:
                answers[-1] = "".join(part.text or "" for part in event.content.parts)
    return told(session, answers)
