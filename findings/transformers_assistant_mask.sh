#!/bin/sh
# transformers 5.23.0: the mask of assistant tokens, which trainers go by for `assistant_only_loss`, takes in the template's own text before an answer.
#
# apply_chat_template(return_assistant_tokens_mask=True) finds the first token of what stands between {% generation %} marks by char_to_token. A Unigram
# tokenizer with byte fallback joins neighbouring characters that are not in its vocabulary to one unknown piece, and gives all its bytes the offsets of
# the whole. The line feed before an answer is such a character; where the answer begins with another (an accented letter, a CJK sign), the line feed
# counts as the assistant's and is trained. So it goes by how an answer begins: "Yes." is masked as it should, "é." has one token too many. Where prompt
# and answer are encoded apart and put together as ids it does not arise.
# Exits 0 while that is so, 1 when it has changed. Needs Python 3.11 or later and a package index.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check transformers==5.23.0 tokenizers==0.23.3 jinja2==3.1.6
"$place/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

from tokenizers import AddedToken, Tokenizer, models
from transformers import PreTrainedTokenizerFast

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
PIECES = ["<unk>", *BYTES, *"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.,?!", "assistant", "user"]
TEMPLATE = (
    "{% for m in messages %}{{ '<|start|>' + m['role'] + '\n' }}{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ m['content'] + '<|end|>' }}{% endgeneration %}{% else %}"
    "{{ m['content'] + '<|end|>' }}{% endif %}{% endfor %}"
)
inner = Tokenizer(models.Unigram([(piece, -1.0) for piece in PIECES], 0, byte_fallback=True))
tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<unk>")
marks = [AddedToken(name, special=True, normalized=False) for name in ("<|start|>", "<|end|>")]
tokenizer.add_tokens(marks)
print("transformers", version("transformers"), "tokenizers", version("tokenizers"))


def trained(said):
    """The tokens that the mask says are the assistant's."""
    talk = [{"role": "user", "content": "Sure?"}, {"role": "assistant", "content": said}]
    told = tokenizer.apply_chat_template(
        talk, chat_template=TEMPLATE, return_dict=True, return_assistant_tokens_mask=True
    )
    pairs = zip(told["input_ids"], told["assistant_masks"])
    return [tokenizer.convert_ids_to_tokens(number) for number, own in pairs if own]


plain, accented = trained("Yes."), trained("é.")
print("'Yes.' trains", plain)
print("'é.' trains  ", accented)
same = plain == ["Y", "e", "s", ".", "<|end|>"]
raise SystemExit(0 if same and accented == ["<0x0A>", "<0xC3>", "<0xA9>", ".", "<|end|>"] else 1)
PYTHON
