"""The base of all settings: frozen, and an unknown key is an error."""

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Frozen settings; unknown keys and wrong types are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")
