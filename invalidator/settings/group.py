"""What all groups of settings have in common."""

from pydantic import BaseModel, ConfigDict


class Group(BaseModel):
    """Frozen; and its errors never quote a value, which may be a password."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)
