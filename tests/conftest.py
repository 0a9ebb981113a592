"""Every test runs on one thread and without a network, whatever the machine."""

import os

# Set before torch is imported: two torch processes of several threads each collapse on two cores.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"

import pytest
from hypothesis import settings

# No deadline: a machine that does other work is no failure.
settings.register_profile("hornbeam", deadline=None, max_examples=40)
settings.load_profile("hornbeam")


@pytest.fixture(scope="session", autouse=True)
def one_thread():
    """torch uses one thread."""
    import torch

    torch.set_num_threads(1)
