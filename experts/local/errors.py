"""What goes wrong with models and servers on this machine, each with its cause and what to do.

LocalError
├── ModelError          a model could not be made ready
│   ├── UnknownModel        the name is neither shipped, nor a folder, nor a hub repository
│   ├── FetchFailed         pip could not download a wheel
│   ├── DigestMismatch      what was downloaded is not what was published
│   ├── ConversionFailed    GGUF to safetensors did not finish
│   └── NoSpace             the disk would fill up
└── ServerError         a server did not start, or stopped (see `Cause`)
"""

from enum import StrEnum


class LocalError(Exception):
    """Anything of `experts.local`; the message is for the person at the terminal."""


class ModelError(LocalError):
    """A model could not be made ready."""


class UnknownModel(ModelError):
    """The name is neither a shipped model, nor a folder, nor a hub repository."""


class FetchFailed(ModelError):
    """pip could not download a wheel."""


class DigestMismatch(ModelError):
    """What was downloaded is not what was published."""


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
    """It runs but did not answer within the time limit."""
    CRASHED = "crashed"


class ServerError(LocalError):
    """A server did not start, or stopped: which one, why, and where its log is."""

    def __init__(self, server: str, cause: Cause, message: str, *, exit_code: int | None = None) -> None:
        super().__init__(f"{server}: {message}")
        self.server = server
        self.message = message
        self.cause = cause
        self.exit_code = exit_code
