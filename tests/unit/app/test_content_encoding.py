"""Compressed bodies are decoded within their bound, or refused with the status that says why."""

import gzip
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.content_encoding import MEMBERS, decoded
from app.errors import ServiceError

LIMIT = 100_000
TEXT = b'{"model": "coterie"}' * 100


def gzipped(data: bytes) -> bytes:
    """Without the time, which would be in the tests' names: they must be the same in every process."""
    return gzip.compress(data, 1, mtime=0)


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encodings", "body"),
    [
        ("gzip", gzipped(TEXT)),
        ("X-GZip", gzipped(TEXT)),
        ("gzip", gzipped(TEXT[:50]) + gzipped(TEXT[50:])),
        ("gzip", gzipped(TEXT) + b"\0" * 50_000),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", raw_deflate(TEXT)),
        ("deflate, gzip", gzipped(zlib.compress(TEXT))),
        ("gzip,deflate", zlib.compress(gzipped(TEXT))),
        ("identity", TEXT),
        (" , gzip", gzipped(TEXT)),
    ],
)
def test_what_the_header_says_is_undone(encodings: str, body: bytes) -> None:
    assert decoded(body, encodings, LIMIT) == TEXT


@given(st.binary(max_size=LIMIT))
def test_any_data_comes_back(data: bytes) -> None:
    for encodings, packed in (
        ("gzip", gzipped(data)),
        ("deflate", zlib.compress(data)),
        ("deflate", raw_deflate(data)),
    ):
        assert decoded(packed, encodings, LIMIT) == data


@pytest.mark.parametrize(
    ("encodings", "body", "status"),
    [
        ("br", b"whatever", 415),
        ("zstd", b"whatever", 415),
        ("gzip, br", b"whatever", 415),
        ("gzip, " * 20, b"whatever", 415),
        ("gzip", b"", 400),
        ("gzip", TEXT, 400),
        ("gzip", zlib.compress(TEXT), 400),
        ("gzip", gzipped(TEXT)[:-1], 400),
        ("gzip", gzipped(TEXT)[:40] + b"?" + gzipped(TEXT)[41:], 400),
        ("gzip", gzipped(TEXT) + b"\0more", 400),
        ("gzip", gzipped(b"") * (MEMBERS + 1), 400),
        ("deflate", zlib.compress(TEXT)[:-1], 400),
        ("deflate", zlib.compress(TEXT) + b"more", 400),
        ("deflate", raw_deflate(TEXT)[:-1], 400),
        ("gzip", gzipped(b"x" * (LIMIT + 1)), 413),
        ("gzip", gzipped(b"x" * 60_000) * 2, 413),
        ("deflate", zlib.compress(b"x" * (LIMIT + 1)), 413),
        ("deflate", raw_deflate(b"x" * (LIMIT + 1)), 413),
        ("gzip, gzip", gzipped(gzipped(b"x" * 20_000_000)), 413),
    ],
)
def test_what_cannot_be_decoded_is_refused(encodings: str, body: bytes, status: int) -> None:
    with pytest.raises(ServiceError) as refused:
        decoded(body, encodings, LIMIT)
    assert refused.value.status == status
    assert ("accept-encoding" in refused.value.headers) is (status == 415)
