"""Settings of `hornbeam gateway`."""

from __future__ import annotations

from dataclasses import dataclass

from hornbeam.errors import HornbeamError
from hornbeam.gateway.session import HOST, LOOPBACK


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """Where it listens, who may open sessions, and when one that nobody ends is ended."""

    port: int = 0
    host: str = HOST
    token: str = ""
    idle: float = 3600.0  # seconds

    def __post_init__(self) -> None:
        if self.host not in LOOPBACK and not self.token:
            raise HornbeamError(
                f"--host {self.host}: others reach it there: give it a --token too, or leave it on"
                f" {HOST}"
            )
