"""What every worker needs and no worker changes: loaded once by the process that workers are forked from.

Modules and the experts' tokenizers are in memory once that way, and a worker is there in a fraction of the
time. What starts threads when it is imported (ONNX Runtime) stays out.
"""

from contextlib import suppress
from importlib import import_module

import structlog
from pydantic import ValidationError

from app.server import settle_memory
from app.settings import Settings
from experts.count_cache import CountCache
from experts.model_tokenizer import TokenizerError
from experts.registry import RegistryError, load_registry
from experts.tokenizer_files import read_tokenizers

MODULES = (
    "app.workers.worker",
    "aiohttp",
    "aiosqlite",
    "faiss",
    "lmdb",
    "routers.canary",
    "routers.router",
    "safetensors.numpy",
    "sqlalchemy.dialects.sqlite.aiosqlite",
    "tokenizers",
    "uvicorn.protocols.http.httptools_impl",
    "uvloop",
)

for module in MODULES:
    import_module(module)

structlog.configure(logger_factory=structlog.ReturnLoggerFactory())  # the workers say what is wrong
with suppress(ValidationError, RegistryError, TokenizerError):
    read_tokenizers(load_registry(Settings().experts).experts.values(), CountCache(1))
structlog.reset_defaults()

# What was made here is not looked through, and so not written to, by the workers' garbage collection.
settle_memory()
