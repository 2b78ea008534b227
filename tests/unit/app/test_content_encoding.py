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


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("encodings", "body"),
    [
        ("gzip", gzip.compress(TEXT)),
        ("X-GZip", gzip.compress(TEXT)),
        ("gzip", gzip.compress(TEXT[:50]) + gzip.compress(TEXT[50:])),
        ("gzip", gzip.compress(TEXT) + b"\0" * 50_000),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", raw_deflate(TEXT)),
        ("deflate, gzip", gzip.compress(zlib.compress(TEXT))),
        ("gzip,deflate", zlib.compress(gzip.compress(TEXT))),
        ("identity", TEXT),
        (" , gzip", gzip.compress(TEXT)),
    ],
)
def test_what_the_header_says_is_undone(encodings: str, body: bytes) -> None:
    assert decoded(body, encodings, LIMIT) == TEXT


@given(st.binary(max_size=LIMIT))
def test_any_data_comes_back(data: bytes) -> None:
    for encodings, packed in (
        ("gzip", gzip.compress(data)),
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
        ("gzip", gzip.compress(TEXT)[:-1], 400),
        ("gzip", gzip.compress(TEXT)[:40] + b"?" + gzip.compress(TEXT)[41:], 400),
        ("gzip", gzip.compress(TEXT) + b"\0more", 400),
        ("gzip", gzip.compress(b"") * (MEMBERS + 1), 400),
        ("deflate", zlib.compress(TEXT)[:-1], 400),
        ("deflate", zlib.compress(TEXT) + b"more", 400),
        ("deflate", raw_deflate(TEXT)[:-1], 400),
        ("gzip", gzip.compress(b"x" * (LIMIT + 1)), 413),
        ("gzip", gzip.compress(b"x" * 60_000) * 2, 413),
        ("deflate", zlib.compress(b"x" * (LIMIT + 1)), 413),
        ("deflate", raw_deflate(b"x" * (LIMIT + 1)), 413),
        ("gzip, gzip", gzip.compress(gzip.compress(b"x" * 100_000_000, 1)), 413),
    ],
)
def test_what_cannot_be_decoded_is_refused(encodings: str, body: bytes, status: int) -> None:
    with pytest.raises(ServiceError) as refused:
        decoded(body, encodings, LIMIT)
    assert refused.value.status == status
    assert ("accept-encoding" in refused.value.headers) is (status == 415)
