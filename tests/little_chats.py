"""Small tokenizers with chat templates in the manner of the families, for tests of chats."""

import json

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from hornbeam.chat import TemplateChat

BYTES = [f"<0x{byte:02X}>" for byte in range(256)]

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
GEMMA = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] not in ['user', 'assistant'] %}"
    "{{ raise_exception('System role not supported') }}{% endif %}{{ '<start_of_turn>' +"
    " ('model' if m['role'] == 'assistant' else 'user') + '\n' + m['content'] | trim +"
    " '<end_of_turn>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}"
)
PHI3 = (
    "{% for m in messages %}{% if m['role'] in ['user', 'assistant', 'system'] %}"
    "{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}"
)
LLAMA2 = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + m['content'] +"
    " ' [/INST]' }}{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] + ' ' + eos_token }}"
    "{% endif %}{% endfor %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m['role'] +"
    " '<|end_header_id|>\n\n' + m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"
)
GLM = (
    "{{ '[gMASK]<sop>' }}{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
HARMONY = (
    "{{ '<|start|>system<|message|>You are.<|end|>' }}{% for m in messages %}"
    "{% if m['role'] == 'user' %}{{ '<|start|>user<|message|>' + m['content'] + '<|end|>' }}"
    "{% elif loop.last and not add_generation_prompt %}"
    "{{ '<|start|>assistant<|channel|>final<|message|>' + m['content'] + '<|return|>' }}"
    "{% else %}{{ '<|start|>assistant<|channel|>final<|message|>' + m['content'] + '<|end|>' }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant' }}{% endif %}"
)
THINKING = (  # opens the thought in the prompt, and takes thoughts out of earlier turns
    "{% for m in messages %}{% if m['role'] == 'assistant' %}{{ '<|im_start|>assistant\n' +"
    " m['content'].split('</think>')[-1].lstrip('\n') + '<|im_end|>\n' }}{% else %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
)
EMPTY_THOUGHT = (  # writes an empty thought before an answer behind the last question
    "{% set ns = namespace(last=-1) %}{% for m in messages %}{% if m['role'] == 'user' %}"
    "{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}"
    "{% if m['role'] == 'assistant' and loop.index0 > ns.last %}{{ '<think>\n\n</think>\n\n' }}"
    "{% endif %}{{ m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
PARTS = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% for part in m['content'] %}"
    "{% if part['type'] == 'text' %}{{ part['text'] }}{% endif %}{% endfor %}{{ '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CALLS = (  # tools in front, calls as JSON between tags, results as the user's: as Hermes and Qwen
    "{% if tools %}{{ '<|im_start|>system\n' + (tools | tojson) + '<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}{% if m['role'] == 'tool' %}{{ '<|im_start|>user\n<tool_response>' +"
    " m['content'] + '</tool_response><|im_end|>\n' }}{% else %}{{ '<|im_start|>' + m['role'] +"
    " '\n' + m['content'] }}{% for c in m['tool_calls'] or [] %}{{ '\n<tool_call>' +"
    " ({'name': c['function']['name'], 'arguments': c['function']['arguments']} | tojson) +"
    " '</tool_call>' }}{% endfor %}{{ '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
QWEN = (  # as that of Qwen2.5: tools behind the system text, results side by side as a user's
    "{% for m in messages %}{% set own = m['role'] == 'tool' %}"
    "{% if own %}{% if messages[loop.index0 - 1]['role'] != 'tool' %}{{ '<|im_start|>user' }}"
    "{% endif %}{{ '\n<tool_response>\n' + m['content'] + '\n</tool_response>' }}"
    "{% if loop.last or messages[loop.index0 + 1]['role'] != 'tool' %}{{ '<|im_end|>\n' }}"
    "{% endif %}{% else %}{{ '<|im_start|>' + m['role'] }}"
    "{% if m['content'] or not m['tool_calls'] %}{{ '\n' + m['content'] }}{% endif %}"
    "{% if loop.first and tools %}{{ '\n\n# Tools\n\nYou may call one or more functions to assist"
    " with the user query.\n\nYou are provided with function signatures within <tools></tools> XML"
    " tags:\n<tools>' }}{% for tool in tools %}{{ '\n' + (tool | tojson) }}{% endfor %}"
    "{{ '\n</tools>\n\nFor each function call, return a json object with function name and"
    " arguments within <tool_call></tool_call> XML tags:\n<tool_call>\n"
    '{"name": <function-name>, "arguments": <args-json-object>}\n</tool_call>\' }}{% endif %}'
    "{% for c in m['tool_calls'] or [] %}{{ '\n<tool_call>\n{\"name\": \"' +"
    " c['function']['name'] + '\", \"arguments\": ' + (c['function']['arguments'] | tojson)"
    " + '}\n</tool_call>' }}{% endfor %}{{ '<|im_end|>\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
JOINED_CALLS = (  # adds arguments to a text, and looks at ids: as DeepSeek and Mistral
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] }}"
    "{% for c in m['tool_calls'] or [] %}{% if c['id'] | length != 9 %}"
    "{{ raise_exception('an id of 9') }}{% endif %}{{ '[CALL]' + c['function']['name'] +"
    " c['function']['arguments'] }}{% endfor %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
FIRST_SYSTEM = (  # knows a system text in front only, and neither tools nor developers
    "{% if messages[0]['role'] == 'system' %}{{ '<|im_start|>system\n' + messages[0]['content'] +"
    " '<|im_end|>\n' }}{% endif %}{% for m in messages %}{% if m['role'] in ['user', 'assistant']"
    " %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def words(template, eos="<|im_end|>", special=(), added=(), pieces=(), blank="", normal=None):
    """A tokenizer of bytes and some words.

    `special` and `added` become special and other added tokens; `pieces` are words of the
    vocabulary alone. `blank` puts one before a text's beginning: "first", or behind control tokens
    too: "always", or so by the normaliser: "normal". "byte level" is another kind, without blanks.
    """
    known = dict.fromkeys(["<pad>", eos, "<bos>", *BYTES, "▁", *pieces])
    inner = Tokenizer(models.Unigram([(p, -1.0) for p in known], 0, byte_fallback=True))
    decode = [decoders.ByteFallback(), decoders.Fuse()]
    if blank == "byte level":  # as GPT-2's and its many heirs; whole words before merges
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        numbers = {p: n for n, p in enumerate(dict.fromkeys([*known, *alphabet, "Ġa", "it"]))}
        merges = [("Ġ", "a"), ("i", "t")]
        inner = Tokenizer(models.BPE(numbers, merges, ignore_merges=True))
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        decode = [decoders.ByteLevel()]
    elif blank == "normal":  # as tokenizers made of older sentencepiece files have it
        normal = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        decode = [decoders.Replace("▁", " "), *decode, decoders.Strip(" ", 1, 0)]
    elif blank:
        inner.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=blank, split=False)
        decode = [decoders.Replace("▁", " "), *decode, decoders.Strip(" ", 1, 0)]
    if normal:
        inner.normalizer = normal
    inner.decoder = decoders.Sequence(decode)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=inner,
        pad_token="<pad>",
        eos_token=eos,
        bos_token="<bos>",
        clean_up_tokenization_spaces=False,
        model_max_length=4096,
    )
    fast.add_tokens([AddedToken(name, special=True, normalized=False) for name in special])
    fast.add_tokens([AddedToken(n, special=False, normalized=normal is not None) for n in added])
    fast.chat_template = template
    return fast


def chat_of(template, eos="<|im_end|>", special=("<|im_start|>",), **more):
    """The chat of such a tokenizer."""
    return TemplateChat(words(template, eos, special, **more), "it")


def saved(folder, tokenizer, ends=None, config=None):
    """A tokenizer read from a folder, with what a model's own files there say of ends."""
    from transformers import AutoTokenizer

    tokenizer.save_pretrained(folder)
    for name, result in (("generation_config.json", ends), ("config.json", config)):
        if result is not None:
            numbers = tokenizer.convert_tokens_to_ids(result)
            (folder / name).write_text(json.dumps({"eos_token_id": numbers, "model_type": "llama"}))
    return AutoTokenizer.from_pretrained(folder)


def lower():
    """A normaliser that makes control tokens of text that does not name them."""
    return normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
