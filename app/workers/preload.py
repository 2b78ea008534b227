"""What every worker needs and no worker changes: imported once by the process that workers are forked from.

The modules' memory is shared between workers that way, and a worker is there in a fraction of the time. What
starts threads when it is imported (ONNX Runtime) stays out.
"""

import gc
from importlib import import_module

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

# Pages that hold nothing but what was made here are not written to, and stay shared.
gc.collect()
gc.freeze()
