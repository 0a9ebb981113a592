"""Models to and from disk: loaded from a Hugging Face folder, saved as one, trainer state kept."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from hornbeam.errors import ModelError, StoreError
from hornbeam.models.catalogue import AS_DATA, check_folder, reading
from hornbeam.train import onednn
from hornbeam.train.train_settings import LoraSettings

NAMED = "; name others, such as lora.targets = ['q_proj', 'v_proj']"


def load(folder: Path) -> tuple[Any, Any]:
    """(causal LM in float32, tokenizer) of a folder; `ModelError` in one line where unfit."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    check_folder(folder)
    with reading(f"{folder}: the model"):
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **AS_DATA)
    with reading(f"{folder}: the tokenizer"):
        tokenizer = AutoTokenizer.from_pretrained(folder, **AS_DATA)
    fits(model, tokenizer, str(folder))
    return model, tokenizer


def fits(model: Any, tokenizer: Any, name: str) -> None:
    """Raise `ModelError` where the tokenizer knows ids for which the model has no embedding."""
    rows = model.get_input_embeddings().weight.shape[0]
    ids = max(tokenizer.get_vocab().values(), default=-1) + 1
    if ids > rows:
        raise ModelError(
            f"{name}: tokenizer and model disagree: {ids} ids, {rows} embeddings; take the"
            " tokenizer that came with the model, or resize the model's embeddings"
        )


def twin(model: Any) -> Any:
    """The same model as modules of their own on the same weights: no memory but for the shells."""
    shared = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in shared})


def add_lora(model: Any, lora: LoraSettings, seed: int, task: str | None = "CAUSAL_LM") -> Any:
    """The model with fresh adapters (which change nothing yet), all else frozen.

    `task` is peft's name of what the model does; None for a body without a head.
    """
    from peft import LoraConfig, get_peft_model

    targets = lora.targets if isinstance(lora.targets, str) else list(lora.targets)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        target_modules=targets,
        exclude_modules=_routers(model) if targets == "all-linear" else None,
        task_type=task,
    )
    with torch.random.fork_rng(), warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft reads a name transformers deprecates
        warnings.filterwarnings("ignore", r"Model has `tie_word_embeddings", UserWarning)  # refused
        torch.manual_seed(seed)
        try:
            adapted = get_peft_model(model, config)
        except ValueError as error:
            raise ModelError(
                f"lora.targets = {lora.targets!r}: {line(error).rstrip('.')}{NAMED}"
            ) from error
    _refuse_tied(adapted, f"lora.targets = {lora.targets!r}")
    try:
        _glance(adapted.get_base_model())
    except (AttributeError, TypeError, ValueError, RuntimeError) as error:
        raise ModelError(
            f"lora.targets = {lora.targets!r}: the model does not run with adapters there:"
            f" {type(error).__name__}: {line(error)}{NAMED}"
        ) from error
    return adapted


def _glance(model: Any) -> None:
    """Run two tokens."""
    with torch.no_grad():
        device = model.get_input_embeddings().weight.device
        model(input_ids=torch.tensor([[0, 1]], device=device), use_cache=False)


def _routers(model: Any) -> list[str] | None:
    """Layers that are linear by class but give more than one tensor (Llama 4's, PhiMoE's)."""
    plain, found, hooks = torch.nn.Linear, [], []  # type: Any, list[str], list[Any]
    for name, module in model.named_modules():
        if isinstance(module, plain) and type(module).forward is not plain.forward:

            def look(_: Any, __: Any, out: Any, name: str = name) -> None:
                if not isinstance(out, Tensor):
                    found.append(name)

            hooks.append(module.register_forward_hook(look))
    if hooks:
        try:
            _glance(model)
        finally:
            for hook in hooks:
                hook.remove()
    return found or None


def _refuse_tied(adapted: Any, targets: str) -> None:
    """Adapters on one of two layers that share a matrix make two, which no folder says."""
    inner = adapted.get_base_model()
    ends = inner.get_input_embeddings(), inner.get_output_embeddings()
    shared = ends[1] is not None and ends[0].weight is ends[1].weight
    if shared and any(hasattr(layer, "get_delta_weight") for layer in ends):
        raise ModelError(
            f"{targets}: names an embedding or output layer, which share one matrix in this model:"
            " merged they would be two under a configuration that says one; leave it out"
        )


def without_noise(model: Any) -> None:
    """Set every dropout to 0: a ratio compares the same function at two times.

    Families read the number from a module's own attribute as well as from `nn.Dropout`. A router's
    jitter stays: it acts in training mode only, which no router is put into (`keeping_inputs`), and
    PhiMoE's routing reads the same number in evaluation mode, as the width of a tie.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.modules.dropout._DropoutNd):
            module.p = 0.0
        for name, value in vars(module).items():
            if "drop" in name and isinstance(value, float):
                setattr(module, name, 0.0)


@contextmanager
def training(model: Any) -> Iterator[None]:
    """The model as it learns in this block: products by oneDNN, activations kept where set."""
    with onednn.linear_layers(model), keeping_inputs(model):
        yield


@contextmanager
def keeping_inputs(model: Any) -> Iterator[None]:
    """Activation checkpointing acts inside this block, where `checkpoint_activations` set it up.

    It looks at `training` of the module that holds the layers or is one; nothing else goes into
    training mode, so no layer draws random numbers or changes its own statistics.
    """
    held = [m for m in model.modules() if getattr(m, "gradient_checkpointing", False)]
    for module in held:
        module.training = True
    try:
        yield
    finally:
        for module in held:
            module.training = False


def checkpoint_activations(model: Any, name: str) -> None:
    """Keep only the layers' inputs in the forward pass and compute the rest again.

    No state of random numbers is kept: there is no dropout. `ModelError` where it has no way to.
    """
    old = "gradient_checkpointing_enable"  # what earlier releases of transformers 5 call it
    enable = getattr(model, "activation_checkpointing_enable", None) or getattr(model, old)
    try:
        enable({"use_reentrant": False, "preserve_rng_state": False})
    except ValueError as error:
        raise ModelError(f"{name}: {line(error)}; set optim.checkpointing = false") from error


def trained(model: Any) -> dict[str, Any]:
    """What learns of a model, by its own names: float32 arrays that may share its memory."""
    return {
        name: parameter.detach().float().cpu().numpy()
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
    }


def take(model: Any, values: Mapping[str, Any]) -> None:
    """Write what `trained` told of a model into its like. `ModelError` where that is another."""
    own = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if {n: tuple(p.shape) for n, p in own.items()} != {n: v.shape for n, v in values.items()}:
        raise ModelError("weights of another model, or of other adapters, were sent to a copy")
    with torch.no_grad():
        for name, parameter in own.items():
            parameter.copy_(torch.tensor(values[name]))


def base(model: Any) -> Any:
    """The causal LM itself, below what peft wraps around it."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def merged(causal: Any) -> dict[str, Tensor]:
    """The weights by their Hugging Face names, adapters added in; the model stays as it is."""
    causal = causal.get_base_model() if hasattr(causal, "get_base_model") else causal
    deltas = {
        f"{name}.weight": module.get_delta_weight("default").detach()
        for name, module in causal.named_modules()
        if hasattr(module, "get_delta_weight")
    }
    out = {}
    for key, value in causal.state_dict().items():
        if ".lora_" in key:
            continue
        name = key.replace(".base_layer.", ".")
        out[name] = value + deltas[name] if name in deltas else value
    return out


def save(causal: Any, tokenizer: Any, folder: Path) -> None:
    """Write the model (adapters merged) and the tokenizer in Hugging Face layout."""
    try:
        causal.save_pretrained(folder, state_dict=merged(causal))
        if tokenizer is not None:
            tokenizer.save_pretrained(folder)
    except OSError as error:
        raise StoreError(f"{folder}: the model cannot be written: {line(error)}") from error


def write_state(state: dict[str, Any], path: Path) -> None:
    """Write a trainer's state under a temporary name, then rename; `StoreError` where it fails."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.unlink(missing_ok=True)
    try:
        torch.save(state, part)
        os.replace(part, path)
    except (OSError, RuntimeError) as error:  # torch tells a full disk as RuntimeError
        part.unlink(missing_ok=True)
        raise StoreError(f"{path}: cannot be written: {line(error)}; free space?") from error


def read_state(path: Path, *, mmap: bool = False) -> dict[str, Any]:
    """What `write_state` wrote; `StoreError` where there is none or it is damaged."""
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # a damaged pickle raises anything
        raise StoreError(f"{path}: no readable trainer state: {line(error)}") from error
    return state


def line(error: Exception) -> str:
    """The first line of an error's message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
