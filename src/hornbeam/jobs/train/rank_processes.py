"""One run over several processes: rank 0 runs the loop, the others take its steps with it.

`hornbeam train RECIPE --ranks N` starts them on this machine; over several machines torchrun does
(docs/cluster.md). Torch's elastic agent starts, watches and ends them: where one dies all end, and
the same command goes on from the last checkpoint. What it says of that is left to our one line.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from hornbeam.assembly.loading import Load, Say, model_folders
from hornbeam.assembly.policies import MakeEngine, Policies, load_policy
from hornbeam.errors import RankError, RankLost
from hornbeam.recipe.recipe import Recipe
from hornbeam.train.ranks import Ranks, world_size
from hornbeam.workers.parent import LAUNCHER, live_with

GRACE = 2.0  # seconds: who watches the ranks knows better which was lost, and ends the others
LOST = 3  # exit code of a rank that lost another


def launch(arguments: Sequence[str], count: int) -> bool:
    """Run this command in `count` processes to its end; False where this is one of them.

    Raises `RankError` where one is killed; an exit code of its own is passed on, as it said why.
    """
    if world_size() > 1:
        return False
    from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.disable(logging.ERROR)  # the agent says in many lines what we say in one
    cores = os.cpu_count() or 1
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, cores // count)))
    os.environ[LAUNCHER] = str(os.getpid())
    try:
        with TemporaryDirectory() as logs:
            config = LaunchConfig(
                min_nodes=1,
                max_nodes=1,
                nproc_per_node=count,
                run_id=str(os.getpid()),
                rdzv_backend="c10d",
                rdzv_endpoint="localhost:0",
                local_addr="127.0.0.1",
                max_restarts=0,
                logs_specs=DefaultLogsSpecs(logs),
            )
            elastic_launch(config, sys.executable)("-P", "-m", "hornbeam.cli.main", *arguments)
    except SignalException as stopped:
        raise SystemExit(130) from stopped
    except ChildFailedError as error:
        codes = {rank: failure.exitcode for rank, failure in error.failures.items()}
        for rank, code in codes.items():
            if code < 0:
                raise RankError(
                    f"rank {rank} of {count} was killed (signal {-code}; 9 is often a lack of"
                    " memory): the same command goes on from the last checkpoint"
                ) from error
        raise SystemExit(min(codes.values())) from error
    finally:
        logging.disable(logging.NOTSET)
    return True


@contextmanager
def ranked(recipe: Recipe) -> Iterator[Ranks | None]:
    """This process's place among those that were started together; None where it is alone."""
    if world_size() == 1:
        yield None
        return
    if LAUNCHER in os.environ:  # torchrun ends its own
        live_with(int(os.environ[LAUNCHER]))
    try:
        ranks = Ranks(recipe.run.device)
        yield ranks
    except RankError:
        time.sleep(GRACE)
        raise
    ranks.close()


def lead(ranks: Ranks) -> Load:
    """How rank 0 loads policies: it makes or finds the models, then all load them."""

    def load(
        recipe: Recipe, folder: Path, say: Say, make_engine: MakeEngine | None = None
    ) -> Policies:
        folders = model_folders(recipe, folder, say)
        ranks.share(folders)
        return Policies(recipe, folders, make_engine, ranks)

    return load


def follow(recipe: Recipe, ranks: Ranks) -> None:
    """Load the policies that rank 0 has found, and take part in what it does with them.

    Ctrl-C is for rank 0; when that ends, this process does too, and leaves the word to it.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        folders = ranks.share()
        bases: dict[Path, tuple[object, object]] = {}
        for name, folder in folders.items():
            load_policy(recipe.of(name), folder, bases, ranks)
        ranks.serve()
    except RankLost:
        time.sleep(GRACE)
        raise SystemExit(LOST) from None
