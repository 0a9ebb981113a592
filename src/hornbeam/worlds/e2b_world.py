"""Worlds that are sandboxes of E2B, or of what speaks its HTTP interface."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field

from hornbeam.errors import RecipeError, WorldError
from hornbeam.worlds.e2b_service import E2bAddress, E2bService, service_at
from hornbeam.worlds.remote_world import RemoteWorld

ADDRESS = r"^https?://[^\s/@?#]+(/[^\s@?#]*)?$"


class E2bWorld(RemoteWorld):
    """A sandbox for each episode. Times in seconds.

    `url` is that of the API, `sandbox_url` one that leads to all sandboxes ("": each has its own).
    The key stands in the variable `key_env` of the environment ("": none). Commands run as `user`
    in `workdir` ("": its home); a request may take `timeout`, and a sandbox that nobody uses ends
    after `lifetime`.
    """

    url: str = Field("https://api.e2b.app", pattern=ADDRESS)
    sandbox_url: str = Field("", pattern=rf"^$|{ADDRESS}")
    template: str = "base"
    key_env: str = "E2B_API_KEY"
    user: str = "user"
    workdir: str = ""
    timeout: float = Field(60.0, gt=0)
    lifetime: int = Field(3600, ge=1)
    network: bool = False

    def beside(self, base: Path) -> Self:
        """As it is. Raises `RecipeError` where the environment has no key."""
        try:
            self._address().key()
        except WorldError as error:
            raise RecipeError(f"world.key_env = {self.key_env!r}: {error}") from error
        return self

    def _address(self) -> E2bAddress:
        names = E2bAddress.model_fields
        found = {name: getattr(self, name) for name in names}
        return E2bAddress(**{**found, "url": self.url.rstrip("/")})

    def service(self) -> E2bService:
        """That of this process."""
        return service_at(self._address())
