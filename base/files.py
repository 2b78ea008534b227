"""Files and folders written whole or not at all: a reader sees the old content or the new one.

Nothing is forced to the disk: a write survives a crash of the process, not one of the machine.
"""

import hashlib
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A new path in the folder of `path` to write to. It replaces `path`, keeping its mode, when the
    block ends, and is deleted when the block raises. Makes the folder.

    The new path ends in `.partial`: writers that read a format from the ending must be told theirs. Links
    are followed; what is no regular file, such as `/dev/stdout`, is written to directly.
    """
    if path.exists() and not path.is_file():
        yield path
        return
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name[:200]}.{secrets.token_hex(4)}.partial")
    try:
        yield partial
        if path.exists():
            partial.chmod(path.stat().st_mode)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def write_bytes(content: bytes, path: Path) -> None:
    """Write `content` to `path` in one step. Makes the folder."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def write_text(text: str, path: Path) -> None:
    """Write `text` as UTF-8 to `path` in one step. Makes the folder."""
    write_bytes(text.encode(), path)


@contextmanager
def replacing_folder(folder: Path) -> Iterator[Path]:
    """A new empty folder to fill. It replaces `folder` when the block ends, and is deleted when the block
    raises. Makes the parent; when the new folder cannot be moved, the old one comes back."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name[:200]}-") as scratch:
        made, replaced = Path(scratch) / "made", Path(scratch) / "replaced"
        made.mkdir()
        yield made
        taken = folder.exists()
        if taken:
            folder.rename(replaced)
        try:
            made.rename(folder)
        except BaseException:  # an interrupt too: the old folder would go with the scratch
            if taken and not folder.exists():
                replaced.rename(folder)
            raise


def file_digest(path: Path) -> str:
    """SHA-256 of the file's content, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
