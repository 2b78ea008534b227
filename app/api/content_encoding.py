"""Decodes compressed bodies within a bound. Knows nothing of HTTP's other headers."""

import zlib

from app.errors import ServiceError

ACCEPTED = ("gzip", "deflate")
"""What the standard library decodes; answered in `accept-encoding` to others (RFC 9110, 12.5.3)."""
LAYERS = 4
"""Encodings on top of each other."""
MEMBERS = 1_000
"""Parts of one gzip body: each empty one costs time, and adds nothing to the size."""
PIECE = 16 * 1024

_GZIP, _ZLIB, _RAW = zlib.MAX_WBITS | 16, zlib.MAX_WBITS, -zlib.MAX_WBITS


def decoded(body: bytes, encodings: str, limit: int) -> bytes:
    """`body` without the encodings of a `content-encoding` header, the last one first.

    Raises ServiceError: 415 for one that is not accepted, 413 for more than `limit` bytes at any step, 400
    for data that is damaged or cut off.
    """
    names = [name for each in encodings.lower().split(",") if (name := each.strip()) not in {"", "identity"}]
    names = [name.removeprefix("x-") for name in names]
    if len(names) > LAYERS or not set(names) <= set(ACCEPTED):
        raise ServiceError(
            415,
            "unsupported_content_encoding",
            f"Send the body plain, or in one of these encodings: {', '.join(ACCEPTED)}.",
            headers={"accept-encoding": ", ".join(ACCEPTED)},
        )
    for name in reversed(names):
        try:
            body = _gunzipped(body, limit) if name == "gzip" else _inflated(body, limit)
        except (zlib.error, EOFError):
            raise ServiceError(
                400, "invalid_content_encoding", f"The body is not whole and valid {name} data."
            ) from None
    return body


def too_large(limit: int) -> ServiceError:
    """The refusal of a body of more than `limit` bytes."""
    return ServiceError(
        413,
        "request_too_large",
        f"The body is larger than {limit} bytes, the limit of this service.",
        headers={"connection": "close"},
    )


def _gunzipped(body: bytes, limit: int) -> bytes:
    """All members of a gzip body. Zeros may follow the last one (RFC 1952, 2.2; many writers pad)."""
    found, rest = bytearray(), memoryview(body)
    for _ in range(MEMBERS):
        part, rest = _member(rest, _GZIP, limit - len(found))
        found += part
        if len(found) > limit:
            raise too_large(limit)
        if rest[:1] in {b"", b"\0"}:
            break
    if bytes(rest).strip(b"\0"):
        raise zlib.error("too many members, or something else after the last one")
    return bytes(found)


def _inflated(body: bytes, limit: int) -> bytes:
    """`deflate`: zlib data by the standard, raw deflate data by many clients."""
    try:
        found, rest = _member(memoryview(body), _ZLIB, limit)
    except (zlib.error, EOFError):
        found, rest = _member(memoryview(body), _RAW, limit)
    if rest:
        raise zlib.error("data after the end")
    return found


def _member(body: memoryview, kind: int, limit: int) -> tuple[bytes, memoryview]:
    """One compressed piece, and what follows it. Reads in small pieces: what follows is copied each time."""
    inflate, found, at = zlib.decompressobj(kind), bytearray(), 0
    while not inflate.eof:
        # One byte over the limit tells that there is more.
        room = limit + 1 - len(found)
        waiting = inflate.unconsumed_tail or body[at : at + PIECE]
        if not inflate.unconsumed_tail:
            at += len(waiting)
            if not waiting:
                raise EOFError
        found += inflate.decompress(waiting, room)
        if len(found) > limit:
            raise too_large(limit)
    return bytes(found), body[at - len(inflate.unused_data) :]
