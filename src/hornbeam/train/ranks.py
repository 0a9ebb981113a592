"""The processes that train together, by torch.distributed: rank 0 gives orders, the others serve.

A process finds its place in the variables that torchrun sets (RANK, WORLD_SIZE, LOCAL_RANK,
MASTER_ADDR, MASTER_PORT). Tensors on CPUs travel by gloo, on GPUs by nccl, one GPU a process.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from hornbeam.errors import RankError, RankLost
from hornbeam.train.weights import line

PATIENCE = 600.0  # seconds that a rank waits for another inside an order
IDLE = timedelta(days=14)  # that ranks wait for an order: growing a step may take long


class Ranks:
    """This process among those of its group. Join once, `close` at the end.

    On rank 0 a method of a policy is called and the others run it too; they do so inside `serve`.
    """

    def __init__(self, device: str = "cpu", patience: float = PATIENCE) -> None:
        self.device = torch.device(device).type
        self.policies: list[Any] = []
        with self.together("come together"):
            local = int(os.environ.get("LOCAL_RANK", "0"))
            if self.device == "cuda":
                torch.cuda.set_device(local)
            kind = "cpu:gloo,cuda:nccl" if self.device == "cuda" else "gloo"
            dist.init_process_group(kind, timeout=timedelta(seconds=patience))
            self.rank, self.size = dist.get_rank(), dist.get_world_size()
            self.mesh: DeviceMesh = init_device_mesh(self.device, (self.size,))
            self._orders = dist.new_group(backend="gloo", timeout=IDLE)

    @property
    def leads(self) -> bool:
        """Whether this process gives the orders."""
        return self.rank == 0

    def join(self, policy: Any) -> int:
        """The number of a policy: all ranks make the same ones in the same order."""
        self.policies.append(policy)
        return len(self.policies) - 1

    def share(self, value: Any = None) -> Any:
        """What rank 0 gives, on every rank."""
        held = [value]
        with self.together("share what they work on"):
            dist.broadcast_object_list(held, src=0, group=self._orders)
        return held[0]

    def order(self, number: int, what: str, given: tuple[Any, ...]) -> None:
        """On rank 0: have all others call a method of policy `number`."""
        if self.leads:
            self.share((number, what, given))

    def serve(self) -> None:
        """Do what rank 0 says until it closes."""
        while (order := self.share()) is not None:
            number, what, given = order
            getattr(self.policies[number], what)(*given)

    def sum(self, values: Tensor) -> Tensor:
        """The sum over ranks, where the values lie."""
        if values.device.type == "cpu":
            total = values.clone()
            dist.all_reduce(total)
            return total
        return self.sum(values.cpu()).to(values.device)

    @contextmanager
    def together(self, what: str) -> Iterator[None]:
        """What fails in here is one line: another rank is lost, or there is none."""
        try:
            yield
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError) as error:
            why = line(error)
            if "/gloo/" not in why and not isinstance(error, dist.DistError):
                raise RankError(f"the ranks cannot {what}: {why}") from error
            why = "waited too long for another" if "imed out" in why else "one of them was lost"
            raise RankLost(
                f"the ranks cannot {what}: {why}; the same command goes on from the last checkpoint"
            ) from error

    def close(self) -> None:
        """Let the others go, and leave."""
        if self.leads:
            self.share(None)
        dist.destroy_process_group()


def world_size() -> int:
    """How many processes train together, as torchrun told this one: 1 where it did not."""
    return int(os.environ.get("WORLD_SIZE", "1"))
