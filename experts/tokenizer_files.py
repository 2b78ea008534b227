"""Where an expert's tokenizer lies on this machine, if it does."""

from collections.abc import Collection
from pathlib import Path

import structlog

from experts.count_cache import CountCache
from experts.expert import Expert
from experts.local.model_folders import model_folder
from experts.model_tokenizer import TOKENIZER_FILE, ModelTokenizer, TokenizerError

log = structlog.get_logger(__name__)


def tokenizer_path(expert: Expert, cache: Path | None = None) -> Path | None:
    """The registry's `tokenizer`, else the folder of the model that is served here; None when there is none.
    `cache`: of fetched models."""
    if expert.tokenizer is not None:
        return expert.tokenizer
    folder = None if expert.local is None else model_folder(expert.local.source, cache)
    return folder if folder is not None and (folder / TOKENIZER_FILE).is_file() else None


def read_tokenizers(experts: Collection[Expert], counts: CountCache) -> dict[str, ModelTokenizer]:
    """The tokenizers of `experts` by name, each file read once. Blocks for up to a second for each. One that
    comes with a model and cannot be read is left out, which is logged. Raises TokenizerError for one that the
    registry names."""
    read: dict[Path, ModelTokenizer | None] = {}
    for expert in experts:
        path = tokenizer_path(expert)
        if path is None or path in read:
            continue
        try:
            read[path] = ModelTokenizer.read(path, counts)
        except TokenizerError as error:
            if expert.tokenizer is not None:
                raise
            log.warning("tokenizer_unreadable", expert=expert.name, error=str(error))
            read[path] = None
    found = {expert.name: read.get(tokenizer_path(expert) or Path()) for expert in experts}
    return {name: tokenizer for name, tokenizer in found.items() if tokenizer is not None}
