"""Text to vectors: all-MiniLM-L6-v2 through ONNX Runtime, one core, no torch.

The whole text is read. Up to 256 tokens go through the model at once, exactly as
sentence-transformers does it. Longer text is cut into windows of 64 tokens that are encoded in small
batches and averaged by their number of tokens: short windows cost less attention, so 2,000 words
stay affordable, and no part of the request is ever dropped.

Texts never share a batch: int8 scales activations by the largest of the batch, so a neighbour would
change a text's vector (by up to 0.02 of cosine), to save a fifth of the time at most.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np

from base.cache_folder import cache_folder
from routers.request import Matrix, Vector

if TYPE_CHECKING:
    from tokenizers import Encoding

ENCODER_NAME = "all-MiniLM-L6-v2"
DIMENSION = 384
"""Numbers of an embedding."""
MIDDLE_LAYERS = (4,)
"""Hidden layers (0: token embeddings, 6: the last) whose pooled states are read beside the embedding. The
last layer was trained to tell topics apart; those before it also hold what is to be done."""
WIDTH = DIMENSION * (1 + len(MIDDLE_LAYERS))
"""Numbers of `states`."""
FORMAT = 4
"""Of the exported files and of the windowing: a change makes other vectors. It is part of the folder's name,
so that versions of the project share a cache without exporting over each other."""

WHOLE_TOKENS = 256
"""Longest text, special tokens included, that is encoded in one piece."""
WINDOW_TOKENS = 64
"""Window of longer texts, special tokens included."""
BATCH_TOKENS = 512
"""Tokens that go through the model at once: its activations then stay in the core's cache."""

Precision = Literal["int8", "float32"]


class EncoderMissing(Exception):
    """The exported encoder is not there; the message says which command makes it."""


class Encoder(Protocol):
    """Anything that turns texts into unit vectors."""

    @property
    def name(self) -> str: ...
    @property
    def revision(self) -> str: ...
    @property
    def dimension(self) -> int: ...
    @property
    def width(self) -> int:
        """Numbers of `states`, a multiple of `dimension`."""
        ...

    def encode(self, texts: Sequence[str]) -> Matrix:
        """Embeddings of `texts`: float32, shape (len(texts), dimension), rows of unit length."""
        ...

    def states(self, texts: Sequence[str]) -> Matrix:
        """Embedding and pooled states of middle layers, each of unit length, side by side: float32, shape
        (len(texts), width)."""
        ...

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text, without special ones."""
        ...


def default_encoder_folder() -> Path:
    """Where `encoder_export` writes and `load_encoder` looks: `$COTERIE_CACHE/encoders/...`."""
    return cache_folder() / "encoders" / f"{ENCODER_NAME}-{FORMAT}"


def load_encoder(
    folder: Path | None = None, *, precision: Precision = "int8", threads: int = 1
) -> "OnnxEncoder":
    """Load the exported encoder; `threads` bounds the cores one call may use.

    Raises EncoderMissing when the export is absent or of another format.
    """
    folder = folder or default_encoder_folder()
    try:
        card = json.loads((folder / "encoder.json").read_text())
        current = card["format"] == FORMAT
        complete = (folder / f"{precision}.onnx").exists() and (folder / "tokenizer.json").exists()
    except (FileNotFoundError, json.JSONDecodeError, KeyError, TypeError):
        current = complete = False
    if not (current and complete):
        raise EncoderMissing(f"no usable encoder in {folder}: run `python -m routers.encoder_export`")
    return OnnxEncoder(folder, card["name"], card["revision"], card["dimension"], precision, threads)


class OnnxEncoder:
    """A BERT-like sentence encoder with mean pooling. Thread-safe: sessions and tokenizers are."""

    def __init__(
        self, folder: Path, name: str, revision: str, dimension: int, precision: Precision, threads: int
    ) -> None:
        import onnxruntime
        from tokenizers import Tokenizer

        self.name = name
        self.revision = f"{revision}-{precision}-{FORMAT}"
        self.dimension = dimension
        self.width = dimension * (1 + len(MIDDLE_LAYERS))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(
            str(folder / f"{precision}.onnx"),
            options,
            providers=["CPUExecutionProvider"],
            # On CPUs the fused kernel is slower than its parts: a sixth of the time of long texts.
            disabled_optimizers=["SkipLayerNormFusion"],
        )
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        start, end = (self._tokenizer.token_to_id(token) for token in ("[CLS]", "[SEP]"))
        if start is None or end is None:
            raise EncoderMissing(f"{folder / 'tokenizer.json'} has no [CLS] and [SEP]: export it again")
        self._start, self._end = start, end

    def encode(self, texts: Sequence[str]) -> Matrix:
        """Embeddings of `texts`: float32, shape (len(texts), dimension), rows of unit length."""
        return self.states(texts)[:, : self.dimension]

    def states(self, texts: Sequence[str]) -> Matrix:
        """Embedding and pooled states of MIDDLE_LAYERS, each of unit length, side by side: float32, shape
        (len(texts), width)."""
        encodings = self._tokenized(texts)
        sums = np.zeros((len(texts), self.width), dtype=np.float32)
        for row, encoding in enumerate(encodings):
            for batch in _batches(_windows(encoding.ids)):
                sums[row] += self._pooled_sums(batch)
        layers = sums.reshape(len(texts), self.width // self.dimension, self.dimension)
        norms = np.linalg.norm(layers, axis=2, keepdims=True)
        vectors: Matrix = (layers / np.maximum(norms, 1e-12)).reshape(sums.shape)
        return vectors

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The tokens of each text, without special ones."""
        return [len(encoding.ids) for encoding in self._tokenized(texts)]

    def _tokenized(self, texts: Sequence[str]) -> "list[Encoding]":
        # Half a surrogate pair is no character; the tokenizer refuses it.
        clean = [text.encode("utf-8", "replace").decode() for text in texts]
        return self._tokenizer.encode_batch_fast(clean, add_special_tokens=False)

    def _pooled_sums(self, windows: Sequence[Sequence[int]]) -> Vector:
        """Sum of all token states: their total over a long text is the pool weighted by length."""
        longest = max(len(ids) for ids in windows) + 2
        ids = np.zeros((len(windows), longest), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, window in enumerate(windows):
            length = len(window) + 2
            ids[row, :length] = [self._start, *window, self._end]
            mask[row, :length] = 1
        (states,) = self._session.run(None, {"input_ids": ids, "attention_mask": mask})
        sums: Vector = np.einsum("wtd,wt->d", states, mask.astype(np.float32))
        return sums


def _windows(ids: Sequence[int]) -> Sequence[Sequence[int]]:
    if len(ids) <= WHOLE_TOKENS - 2:
        return [ids]
    room = WINDOW_TOKENS - 2
    # Windows of equal size, so that no short last one weighs a few words with little context.
    count = -(-len(ids) // room)
    size = -(-len(ids) // count)
    return [ids[start : start + size] for start in range(0, len(ids), size)]


def _batches(windows: Sequence[Sequence[int]]) -> Iterable[Sequence[Sequence[int]]]:
    """Consecutive windows, at most BATCH_TOKENS a batch; all but the last window are of one length."""
    room = max(1, BATCH_TOKENS // (len(windows[0]) + 2))
    for start in range(0, len(windows), room):
        yield windows[start : start + room]
