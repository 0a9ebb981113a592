"""What is mixed into vLLM's worker class, and so runs in vLLM's processes, called by name."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hornbeam.engine.weight_transfer import read_weights
from hornbeam.workers.parent import live_with


class WeightReceiver:
    """Methods for vLLM's `collective_rpc`; vLLM is told of it by `worker_extension_cls`."""

    model_runner: Any
    reload_weights: Callable[..., None]

    def hornbeam_start(self, pid: int) -> None:
        """Tell log-probs over the whole vocabulary; end when the process `pid` has ended."""
        sampler = self.model_runner.sampler
        if hasattr(sampler, "topk_topp_sampler"):
            sampler.topk_topp_sampler.logprobs_mode = "raw_logprobs"  # none of its own
            _keep_logprobs(sampler.topk_topp_sampler, "forward")
        else:  # vLLM's second model runner
            _keep_logprobs(sampler, "_sample_random")
        live_with(pid)

    def hornbeam_load(self, folder: str) -> float:
        """Reload the weights in place from the safetensors of a folder; the seconds it took.

        On a CPU vLLM 0.32 packs every layer's weights again, but for those of a tied head.
        """
        start = time.perf_counter()
        self.reload_weights(weights_iterator=read_weights(Path(folder)))
        for module in self.model_runner.get_model().modules():
            if type(module).__name__ == "ParallelLMHead":
                module.quant_method.process_weights_after_loading(module)
        return time.perf_counter() - start


def _keep_logprobs(holder: Any, name: str) -> None:
    """Let vLLM's draw return log-softmax(logits / temperature) as it was before top-k and top-p.

    Of itself it tells the log-probs of what they left. The first argument of `holder.name` are the
    logits, already divided by the temperature.
    """
    draw = getattr(holder, name)

    def whole(logits: Any, *rest: Any) -> tuple[Any, Any]:
        logprobs = logits.float().log_softmax(-1)  # first: the draw works in place
        return draw(logits, *rest)[0], logprobs

    setattr(holder, name, whole)
