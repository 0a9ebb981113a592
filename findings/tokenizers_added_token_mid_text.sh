#!/bin/sh
# tokenizers 0.23.3 (transformers 5.23.0): a token added by its name is not found behind a line feed or a letter where the normaliser puts a blank in
# front of texts (Prepend, as in the tokenizer.json of Llama 2, Mistral 7B, Phi-3 and their heirs).
#
# `add_tokens(["<tool_call>"])` is the usual way to teach a model a tag. A token that is not special is normalised by default, and the normaliser turns
# its name into "▁<tool_call>": it is found at the beginning of a text, behind a blank and behind a control token, but "\n<tool_call>", as chat templates
# write it, and "a<tool_call>" become letters. Nothing is said; training and prompts then hold the tag in two spellings. With special=True, or with
# AddedToken(..., normalized=False), it is found everywhere.
# Exits 0 while that is so, 1 when it has changed. Needs Python 3.11 or later and a package index.
set -eu
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
"${PYTHON:-python3}" -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check transformers==5.23.0 tokenizers==0.23.3
"$place/venv/bin/python" - <<'PYTHON'
from importlib.metadata import version

from tokenizers import AddedToken, Tokenizer, models, normalizers
from transformers import PreTrainedTokenizerFast

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
TEXTS = ("<tool_call>x", "a <tool_call>x", "</s><tool_call>x", "a\n<tool_call>x", "a<tool_call>x")


def found(added):
    """In which of the texts the added token is found."""
    pieces = [(piece, -1.0) for piece in ("<unk>", "</s>", "▁", *BYTES)]
    inner = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=True))
    inner.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    words = PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>", unk_token="<unk>")
    words.add_tokens([added])
    number = words.convert_tokens_to_ids("<tool_call>")
    return [number in words(text, add_special_tokens=False)["input_ids"] for text in TEXTS]


print("tokenizers", version("tokenizers"), "transformers", version("transformers"))
by_name, plain = found("<tool_call>"), found(AddedToken("<tool_call>", normalized=False))
for text, once, always in zip(TEXTS, by_name, plain):
    print(f"{text!r:22} added by name: {once!s:5} normalized=False: {always}")
raise SystemExit(0 if by_name == [True, True, True, False, False] and all(plain) else 1)
PYTHON
