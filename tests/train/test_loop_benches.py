"""The benches of the whole step and of a GPU: what they check, and that they run here."""

import importlib.util
from pathlib import Path

import pytest
import torch

from hornbeam.models import tiny_model
from hornbeam.train import forward, weights

BENCH = Path(__file__).parents[2] / "bench"


def bench(name):
    spec = importlib.util.spec_from_file_location(f"bench_of_{name}", BENCH / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_step_of_the_job_samples_what_the_bench_says(tmp_path):
    loop = bench("loop")
    model = tiny_model.make(tmp_path / "model")
    job = {"model": str(model), "texts": loop.texts(2, 0), "tokens": 6, "steps": 2}
    side = loop.Side("hornbeam", loop.sys.executable, job, str(tmp_path))
    try:
        first = side.do()
        second = side.do()
    finally:
        side.end()
    loop.check(first, second, 6)
    assert first["sampled"] == [6] * 16
    lm, _ = weights.load(model)
    for row in first["said"]:
        told = forward.score(lm, row["prompt"], row["tokens"], 1.0)
        assert row["logprobs"] == pytest.approx(told, abs=1e-4)
    assert min(first["sample"], first["learn"]) > 0
    assert first["sample"] + first["learn"] < first["seconds"]


@pytest.mark.parametrize(
    "wrong, what",
    [
        ({"prompts": [[1, 2], [4]]}, "the prompts differ"),
        ({"sampled": [3] * 15 + [2]}, "sampled"),
        ({"mixed": 1}, "1 of 2 groups teach"),
    ],
)
def test_steps_of_unequal_work_are_refused(wrong, what):
    loop = bench("loop")
    row = {"prompts": [[1, 2], [3]], "sampled": [3] * 16, "mixed": 2}
    loop.check(row, dict(reversed(row.items())), 3)
    with pytest.raises(AssertionError, match=what):
        loop.check(row, {**row, **wrong}, 3)


on_a_cpu = pytest.mark.skipif(torch.cuda.is_available(), reason="the toy size is that of a CPU")


@on_a_cpu
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
def test_the_script_for_gpus_runs_at_toy_size():
    gpu = bench("gpu")
    (kernels,) = gpu.kernels(lambda: 60.0)
    assert kernels["agree"] and kernels["outputs_apart"] <= 1e-5
    rows = list(gpu.one_level(lambda: 60.0))
    assert [(row["asked"], row["said"], row["leaves"]) for row in rows] == [
        (16, 4, 8), (64, 4, 8), (128, 4, 8),
    ]  # fmt: skip
    for row in rows:
        flat, unique = 8 * (row["asked"] + 4), row["asked"] + 32
        assert row["sharing"] == pytest.approx(flat / unique)
        assert row["packed"]["norm"] == pytest.approx(row["flat"]["norm"], rel=1e-3)


@on_a_cpu
def test_without_time_cells_are_told_as_not_measured():
    gpu = bench("gpu")
    rows = list(gpu.one_level(lambda: 0.0))
    assert {row["not_measured"] for row in rows} == {"no time was left"} and len(rows) == 3
    assert bench("gpu").told("f", 0.01)["ended"] == "stopped"
