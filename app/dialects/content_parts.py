"""The parts of a message's content, in the forms that clients write them, as chat completions have them.

Text may be called `input_text`, an image `input_image`, and so on: names of the Responses API, of Anthropic's
API and of model servers. A file that holds text is text. Knows nothing of routing.
"""

import base64
import binascii
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from app.errors import ServiceError

Part = Mapping[str, Any]

HEAD = 300
"""Characters before the comma of a data URL."""
_FIELDS = {"type", "text", "annotations", "logprobs"}
_NO_TEXT = ("application/pdf", "application/zip", "image/", "audio/", "video/")


class _DataUrl(NamedTuple):
    """`data:<media>;base64,<data>`"""

    media: str
    base64: bool
    data: str


def _data_url(url: str) -> _DataUrl | None:
    if url[:5].lower() != "data:":
        return None
    # What is no data URL has no comma for megabytes.
    head, comma, _ = url[5 : 5 + HEAD].partition(",")
    if not comma:
        return None
    media, *options = (each.strip().lower() for each in head.split(";"))
    return _DataUrl(media, "base64" in options, url[5 + len(head) + 1 :])


def chat_parts(document: Mapping[str, Any]) -> Mapping[str, Any]:
    """`document` with every content part as chat completions have it; the document itself when they are so
    already. Raises ServiceError (400) for a part of an unknown type, which nobody would read."""
    messages = document.get("messages")
    if not isinstance(messages, list):
        return document
    read = [_message(message, f"messages[{index}]") for index, message in enumerate(messages)]
    changed = any(new is not old for new, old in zip(read, messages, strict=True))
    return {**document, "messages": read} if changed else document


def _message(message: Any, place: str) -> Any:
    content = message.get("content") if isinstance(message, Mapping) else None
    if not isinstance(content, list):
        return message
    parts = [chat_part(part, f"{place}.content[{index}]") for index, part in enumerate(content)]
    changed = any(new is not old for new, old in zip(parts, content, strict=True))
    return {**message, "content": parts} if changed else message


def chat_part(part: Any, place: str) -> Any:
    """One part, see `chat_parts`; `place` is its path in the client's request."""
    if not isinstance(part, Mapping) or not isinstance(kind := part.get("type"), str):
        return part  # The body's own check names it.
    read = _READERS.get(kind)
    if read is None:
        known = ", ".join(_READERS)
        message = f"{place}.type: {kind[:40]!r} is no content part that is known here; there are {known}."
        raise ServiceError(400, "invalid_value", message, param=f"{place}.type")
    found = read(part)
    if found is None:
        message = f"{place}: a part of type {kind} needs {_NEEDS[kind]}."
        raise ServiceError(400, "invalid_value", message, param=place)
    return part if found == part else found


def _text(part: Part) -> Part | None:
    if not isinstance(part.get("text"), str):
        return None
    if part["type"] == "text":
        return part
    # What else stands in an answer's part is no request's, but a mark for a cache is.
    return {"type": "text", "text": part["text"]} | {k: v for k, v in part.items() if k not in _FIELDS}


def _refusal(part: Part) -> Part | None:
    return part if isinstance(part.get("refusal"), str) else None


def _image(part: Part) -> Part | None:
    url = _address(part, "image_url", "image", "source", "url")
    if url is None:
        return None
    given = part.get("image_url")
    more = {k: v for k, v in given.items() if k != "url"} if isinstance(given, Mapping) else {}
    if isinstance(part.get("detail"), str):
        more.setdefault("detail", part["detail"])
    kept = {"cache_control": part["cache_control"]} if "cache_control" in part else {}
    return {"type": "image_url", "image_url": {"url": url, **more}, **kept}


def _audio(part: Part) -> Part | None:
    given = part.get("input_audio", part.get("audio"))
    if isinstance(given, Mapping) and isinstance(given.get("data"), str) and "format" in given:
        return {"type": "input_audio", "input_audio": given}
    url = _address(part, "audio_url", "input_audio", "audio", "source", "url")
    if url is None:
        return None
    found = _data_url(url)
    if found is None or not found.base64:
        return {"type": "audio_url", "audio_url": {"url": url}}
    kind = found.media.partition("/")[2].removeprefix("x-")
    return {
        "type": "input_audio",
        "input_audio": {"data": found.data, "format": {"mpeg": "mp3", "wave": "wav"}.get(kind, kind)},
    }


def _video(part: Part) -> Part | None:
    url = _address(part, "video_url", "video", "source", "url")
    given = part.get("video_url")
    more = given if isinstance(given, Mapping) else {}
    return None if url is None else {"type": "video_url", "video_url": {**more, "url": url}}


def _file(part: Part) -> Part | None:
    given = part["file"] if isinstance(part.get("file"), Mapping) else part
    name = next((given[k] for k in ("filename", "title", "name") if isinstance(given.get(k), str)), None)
    source = part.get("source")
    if isinstance(source, Mapping) and source.get("type") == "text" and isinstance(source.get("data"), str):
        return _file_text(name, source["data"])
    data = _address(given, "file_data", "source", "file_url", "url", "data")
    if data is None:
        return {"type": "file", "file": given} if isinstance(given.get("file_id"), str) else None
    found = _data_url(data)
    if found is not None:
        if found.media.startswith("image/"):
            return {"type": "image_url", "image_url": {"url": data}}
        if (text := _read(found.media, found.data, encoded=found.base64)) is not None:
            return _file_text(name, text)
    elif "://" not in data[:16] and (text := _read("", data, encoded=True)) is not None:
        return _file_text(name, text)
    return {"type": "file", "file": {**({"filename": name} if name else {}), "file_data": data}}


def _file_text(name: str | None, text: str) -> Part:
    title = "" if name is None else f' name="{name[:200]}"'
    return {"type": "text", "text": f"<file{title}>\n{text}\n</file>"}


def _read(media: str, data: str, *, encoded: bool) -> str | None:
    """The text of a file, None when it is something else."""
    if media.lower().startswith(_NO_TEXT):
        return None
    if not encoded:
        from urllib.parse import unquote

        return unquote(data)
    try:
        raw = base64.b64decode(data, validate=True)
        text = raw.decode("utf-8-sig")
    except (binascii.Error, ValueError):
        return None
    return None if "\0" in text or text.startswith("%PDF") else text


def _address(part: Part, *names: str) -> str | None:
    """The first of the fields that has a URL, or data with its media type, as a (data) URL."""
    for name in names:
        value = part.get(name)
        if isinstance(value, str) and value:
            return value
        if isinstance(value, Mapping):
            if isinstance(url := value.get("url"), str) and url:
                return url
            data, media = value.get("data"), value.get("media_type")
            if isinstance(data, str) and isinstance(media, str):
                return f"data:{media};base64,{data}"
    return None


def _kept(part: Part) -> Part:
    return part


_READERS: Mapping[str, Callable[[Part], Part | None]] = {
    **dict.fromkeys(("text", "input_text", "output_text"), _text),
    "refusal": _refusal,
    **dict.fromkeys(("image_url", "input_image", "image"), _image),
    **dict.fromkeys(("input_audio", "audio_url", "audio"), _audio),
    **dict.fromkeys(("video_url", "input_video", "video"), _video),
    **dict.fromkeys(("file", "input_file", "document"), _file),
    # Parts of an assistant's own turns, which no request is read for.
    **dict.fromkeys(("thinking", "redacted_thinking", "reasoning"), _kept),
}
_NEEDS = {
    **dict.fromkeys(("text", "input_text", "output_text"), "a text"),
    "refusal": "a refusal",
    **dict.fromkeys(("image_url", "input_image", "image"), "the image's URL, or its data as a data: URL"),
    **dict.fromkeys(("input_audio", "audio_url", "audio"), "data and format, or a URL"),
    **dict.fromkeys(("video_url", "input_video", "video"), "the video's URL"),
    **dict.fromkeys(("file", "input_file", "document"), "file_data, a URL or a file_id"),
}
