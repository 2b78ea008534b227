"""The base of pydantic models of configuration files: frozen, no unknown fields, no infinities, and error
messages without the input, which may hold a secret in the wrong field."""

from pydantic import BaseModel, ConfigDict


class StrictModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)
