"""Engines on vLLM: in process, or a `vllm serve` whose weights follow the trainer's."""
