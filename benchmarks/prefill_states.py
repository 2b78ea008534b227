"""Hidden states of a small language model that reads prompts as its expert sees them.

The states are of the chat template's last token, where the model is about to answer. Knows nothing of scores.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from base.cache_folder import cache_folder
from base.files import replacing
from routers.request import Matrix

LAYERS = (15, 22)
"""Of SmolLM2's 30: those that a first look found to hold most."""
BATCH_TOKENS = 3_000
BLOCK = 500
"""Prompts per cache file, so that a run can resume."""


def prefill_states(model: Path, prompts: Sequence[str], tokens: int) -> Matrix:
    """The states of LAYERS side by side, (prompts, layers · hidden size), float32. Of a longer prompt the
    first and last `tokens`/2 tokens are read."""
    reader: _Reader | None = None
    blocks = []
    for start in range(0, len(prompts), BLOCK):
        block = prompts[start : start + BLOCK]
        key = hashlib.sha256(json.dumps([model.name, tokens, LAYERS, *block]).encode()).hexdigest()
        path = cache_folder() / "prefill" / f"{key[:32]}.npy"
        if not path.exists():
            reader = reader or _Reader(model)
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as partial, partial.open("wb") as file:
                np.save(file, reader.states(block, tokens), allow_pickle=False)
        blocks.append(np.load(path, allow_pickle=False))
    return np.concatenate(blocks).astype(np.float32)


class _Reader:
    def __init__(self, model: Path) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self._tokenizer: Any = AutoTokenizer.from_pretrained(model)
        self._model: Any = AutoModelForCausalLM.from_pretrained(model, dtype=torch.bfloat16).eval()
        # One more than is read: the model normalises what its last layer gives.
        self._model.model.layers = self._model.model.layers[: max(LAYERS) + 1]
        template = self._tokenizer.apply_chat_template(
            [{"role": "user", "content": "@@"}], tokenize=False, add_generation_prompt=True
        )
        self._before, self._after = (self._ids(part) for part in template.split("@@"))

    def _ids(self, text: str) -> list[int]:
        found: list[int] = self._tokenizer(text, add_special_tokens=False).input_ids
        return found

    def states(self, prompts: Sequence[str], tokens: int) -> Matrix:
        import torch

        asked = []
        for prompt in prompts:
            ids = self._ids(prompt)
            if len(ids) > tokens:
                ids = [*ids[: tokens // 2], *ids[-tokens // 2 :]]
            asked.append([*self._before, *ids, *self._after])
        order = sorted(range(len(asked)), key=lambda row: len(asked[row]))
        width = self._model.config.hidden_size
        found = np.zeros((len(asked), len(LAYERS) * width), dtype=np.float16)
        with torch.inference_mode():
            while order:
                rows = [order.pop(0)]
                while order and (len(rows) + 1) * len(asked[order[0]]) <= BATCH_TOKENS:
                    rows.append(order.pop(0))
                longest = max(len(asked[row]) for row in rows)
                ids = torch.zeros((len(rows), longest), dtype=torch.long)
                mask = torch.zeros_like(ids)
                for number, row in enumerate(rows):
                    ids[number, : len(asked[row])] = torch.tensor(asked[row])
                    mask[number, : len(asked[row])] = 1
                states = self._model.model(
                    ids, attention_mask=mask, output_hidden_states=True, use_cache=False
                ).hidden_states
                last = mask.sum(1) - 1
                for place, layer in enumerate(LAYERS):
                    picked = states[layer][torch.arange(len(rows)), last].float().numpy()
                    found[rows, place * width : (place + 1) * width] = picked
        return found.astype(np.float32)
