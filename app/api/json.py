"""Reading and writing JSON: strict on input, safe on output."""

import json
import re
from contextlib import suppress
from typing import Any

import orjson
from starlette.responses import Response

from base.json_documents import LONG_NUMBER, DocumentError, json_bytes, refuse_constant

HALF_PAIR = re.compile(r"\\u[dD][89a-fA-F]")
"""An escaped surrogate. Most belong to whole pairs, which `_mended` leaves alone."""


_DECODER = json.JSONDecoder(parse_constant=refuse_constant)
"""Made once: `json.loads` with an option makes one for each document."""


class BadJson(ValueError):
    """The text is no JSON document that we take; the message holds a position, never the text."""


def read_json(raw: bytes) -> Any:
    """Parse a JSON document in UTF-8, or in UTF-16 or UTF-32 as RFC 4627 tells them apart; a byte order mark
    is passed over. Raises BadJson, also for NaN, Infinity and too deep nesting.

    Half a surrogate pair, which JSON can say and no text can hold, becomes U+FFFD: experts fail on it.
    """
    if not LONG_NUMBER.search(raw):
        # What it does not take is read again, for the reason, or to be mended.
        with suppress(orjson.JSONDecodeError):
            return orjson.loads(raw)
    try:
        text = raw.decode(json.detect_encoding(raw))
        document = _DECODER.decode(text)
        return _mended(document) if HALF_PAIR.search(text) else document
    except UnicodeDecodeError:
        raise BadJson("the body is not UTF-8") from None
    except json.JSONDecodeError as error:
        raise BadJson(f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise BadJson("the body is nested too deeply") from None
    except DocumentError as error:
        raise BadJson(str(error)) from None
    except ValueError:  # an integer with more digits than Python reads
        raise BadJson("a number in the body is too long") from None


def _mended(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_mended(each) for each in value]
    if isinstance(value, dict):
        return {_mended(name): _mended(each) for name, each in value.items()}
    return value


class JsonResponse(Response):
    """A JSON answer."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return json_bytes(content)
