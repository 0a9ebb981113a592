"""The smallest agent on OpenAI's client: one question, one answer."""

from openai import OpenAI


def run(task, session):
    client = OpenAI(base_url=session.base_url, api_key=session.api_key)
    messages = [{"role": "user", "content": task.question}]
    return (
        client.chat.completions.create(model="solver", messages=messages).choices[0].message.content
    )
