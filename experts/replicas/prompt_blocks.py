"""A request's prompt as a chain of block hashes, by which two requests with the same beginning are
recognised.

Each hash stands for its block and all before it, as in vLLM's automatic prefix caching. It hashes the text
that is sent, not tokens: no tokenizer is needed, and a block is about 128 tokens of English. Hashes hold in
one process.
"""

from collections.abc import Mapping
from typing import Any

from base.json_documents import json_bytes

BLOCK_BYTES = 512
MAX_BLOCKS = 512
"""Of a longer prompt (some 64,000 tokens) the beginning counts."""
PROMPT_FIELDS = (
    *("tools", "functions", "system", "instructions"),
    *("messages", "input", "prompt"),
)
"""What chat templates render, of every dialect, in the order in which they do."""


def prompt_blocks(model: str, body: Mapping[str, Any]) -> tuple[int, ...]:
    """The block hashes of an outgoing request; a prompt shorter than a block has none. Adapters of one base
    do not share a cache: the `model` counts."""
    parts = [body[name] for name in PROMPT_FIELDS if body.get(name) is not None]
    # The closing bracket would differ from the comma of the next request.
    data = json_bytes(parts)[: MAX_BLOCKS * BLOCK_BYTES].rstrip(b']}"')
    before, blocks = hash(model), []
    for start in range(0, len(data) - BLOCK_BYTES + 1, BLOCK_BYTES):
        before = hash((before, data[start : start + BLOCK_BYTES]))
        blocks.append(before)
    return tuple(blocks)
