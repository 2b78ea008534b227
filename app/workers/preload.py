"""What every worker needs and no worker changes: imported once by the process that workers are forked from.

The modules' memory is shared between workers that way, and a worker is there in a fraction of the time. What
starts threads when it is imported (ONNX Runtime) or is fitted to one process stays out.
"""

import gc

import aiohttp  # noqa: F401
import faiss  # noqa: F401
import lmdb  # noqa: F401
import safetensors.numpy  # noqa: F401
import tokenizers  # noqa: F401
import uvicorn.protocols.http.httptools_impl  # noqa: F401
import uvloop  # noqa: F401

import routers.canary
import routers.router  # noqa: F401

# Pages that hold nothing but what was made here are not written to, and stay shared.
gc.collect()
gc.freeze()
