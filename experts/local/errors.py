"""Errors of local models and servers: LocalError ← ModelError (five kinds) and ServerError."""

from enum import StrEnum


class LocalError(Exception):
    """Base class; the message says what to do."""


class ModelError(LocalError):
    """A model could not be fetched or converted."""


class UnknownModel(ModelError):
    """The name is neither a shipped model, nor a folder, nor a hub repository."""


class FetchFailed(ModelError):
    """pip could not download a wheel."""


class DigestMismatch(ModelError):
    """The download does not have the published digest."""


class ConversionFailed(ModelError):
    """GGUF to safetensors did not finish."""


class NoSpace(ModelError):
    """The disk has too little room for the model."""


class Cause(StrEnum):
    """Why a server is not running."""

    OUT_OF_MEMORY = "out_of_memory"
    PORT_TAKEN = "port_taken"
    WRONG_MODEL = "wrong_model"
    NO_ENVIRONMENT = "no_environment"
    """The Python of the vLLM environment, or vLLM in it, is missing."""
    NOT_READY = "not_ready"
    """No answer within the time limit."""
    CRASHED = "crashed"


class ServerError(LocalError):
    """A server did not start, or stopped."""

    def __init__(self, server: str, cause: Cause, message: str, *, exit_code: int | None = None) -> None:
        super().__init__(f"{server}: {message}")
        self.server = server
        self.message = message
        self.cause = cause
        self.exit_code = exit_code
