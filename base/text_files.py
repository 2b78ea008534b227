"""Text files that people wrote: UTF-8, with or without a byte order mark. Errors name the file and the line.

Knows nothing of what stands in them.
"""

import codecs
from pathlib import Path

_OTHER_ENCODINGS = (
    ("UTF-32", codecs.BOM_UTF32_LE),
    ("UTF-32", codecs.BOM_UTF32_BE),
    ("UTF-16", codecs.BOM_UTF16_LE),
    ("UTF-16", codecs.BOM_UTF16_BE),
)
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"PK\x03\x04": "zip", b"(\xb5/\xfd": "Zstandard"}


class TextFileError(ValueError):
    """The file cannot be read as text; the message begins with `file:line:`, or `file:` where no line of it
    could be read."""


def read_text(path: Path) -> str:
    """The text of `path` without its byte order mark, its line ends as they are. Raises TextFileError."""
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise TextFileError(f"{path}: cannot be read: no such file") from error
    except OSError as error:
        raise TextFileError(f"{path}: cannot be read: {error.strerror}") from error
    return decoded_text(content, path)


def decoded_text(content: bytes, path: Path) -> str:
    """The same for the bytes of `path`."""
    for start, name in _COMPRESSED.items():
        if content.startswith(start):
            raise TextFileError(f"{path}: is compressed ({name}): unpack it first")
    for name, mark in _OTHER_ENCODINGS:
        if content.startswith(mark):
            raise TextFileError(f"{path}:1: is {name}, not UTF-8 text: save it as UTF-8")
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise TextFileError(f"{path}:{line}: is not UTF-8 text") from error
    if (place := text.find("\0")) >= 0:
        line = text.count("\n", 0, place) + 1
        raise TextFileError(f"{path}:{line}: holds a NUL character: is it UTF-16? Save it as UTF-8")
    return text.removeprefix("\ufeff")
