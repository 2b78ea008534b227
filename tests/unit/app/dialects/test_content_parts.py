"""Content parts under every name that clients use come to chat's own; nothing is passed over in silence."""

import base64
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.dialects.chat_completions import to_chat
from app.dialects.content_parts import chat_parts
from app.errors import ServiceError
from tests.growth import grows_no_faster_than_linear

PNG = "data:image/png;base64,iVBORw0K"
PDF = f"data:application/pdf;base64,{base64.b64encode(b'%PDF-1.4').decode()}"
NOTES = base64.b64encode(b"Flour and paint.").decode()
TEXT = {"type": "text", "text": "hello"}
IMAGE = {"type": "image_url", "image_url": {"url": PNG}}
SOUND = {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}}
VIDEO = {"type": "video_url", "video_url": {"url": "https://x/v.mp4"}}
BASE64 = {"type": "base64", "media_type": "image/png", "data": "iVBORw0K"}
NOTE = {"type": "text", "text": '<file name="notes.txt">\nFlour and paint.\n</file>'}


def read(part: Any) -> Any:
    message = {"role": "user", "content": [TEXT, part]}
    return chat_parts({"model": "coterie", "messages": [message]})["messages"][0]["content"][1]


@pytest.mark.parametrize(
    ("part", "found"),
    [
        ({"type": "input_text", "text": "hello"}, TEXT),
        ({"type": "output_text", "text": "hello", "annotations": [], "logprobs": []}, TEXT),
        ({"type": "input_image", "image_url": PNG}, IMAGE),
        ({"type": "image_url", "image_url": PNG}, IMAGE),
        ({"type": "image", "source": BASE64}, IMAGE),
        ({"type": "image", "image": PNG}, IMAGE),
        ({"type": "image", "url": PNG}, IMAGE),
        (
            {"type": "input_image", "image_url": PNG, "detail": "low"},
            {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
        ),
        ({"type": "audio", "audio": {"data": "UklG", "format": "wav"}}, SOUND),
        ({"type": "audio_url", "audio_url": {"url": "data:audio/x-wav;base64,UklG"}}, SOUND),
        ({"type": "audio", "url": "https://x/a"}, {"type": "audio_url", "audio_url": {"url": "https://x/a"}}),
        ({"type": "input_video", "video_url": "https://x/v.mp4"}, VIDEO),
        ({"type": "video", "video": {"url": "https://x/v.mp4"}}, VIDEO),
        (
            {"type": "input_file", "filename": "notes.txt", "file_data": f"data:text/plain;base64,{NOTES}"},
            NOTE,
        ),
        ({"type": "file", "file": {"filename": "notes.txt", "file_data": NOTES}}, NOTE),
        (
            {"type": "file", "file": {"filename": "notes.txt", "file_data": "data:,Flour%20and%20paint."}},
            NOTE,
        ),
        (
            {
                "type": "document",
                "title": "notes.txt",
                "source": {"type": "text", "media_type": "text/plain", "data": "Flour and paint."},
            },
            NOTE,
        ),
        ({"type": "input_file", "file_data": PNG}, IMAGE),
        ({"type": "input_file", "file_data": PDF}, {"type": "file", "file": {"file_data": PDF}}),
        (
            {
                "type": "document",
                "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
            },
            {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBE"}},
        ),
        (
            {"type": "input_file", "file_url": "https://x/a.pdf"},
            {"type": "file", "file": {"file_data": "https://x/a.pdf"}},
        ),
    ],
)
def test_a_part_comes_to_chats_own_form(part: dict[str, Any], found: dict[str, Any]) -> None:
    assert read(part) == found


def test_a_document_in_chats_own_form_stays_itself() -> None:
    parts = [
        {**TEXT, "cache_control": {"type": "ephemeral"}},
        {"type": "image_url", "image_url": {"url": PNG, "detail": "low"}},
        SOUND,
        VIDEO,
        {"type": "file", "file": {"filename": "a.pdf", "file_data": PDF}},
        {"type": "file", "file": {"file_id": "file-1"}},
        {"type": "refusal", "refusal": "no"},
        {"type": "thinking", "thinking": "hm", "signature": "s"},
    ]
    document = {"messages": [{"role": "user", "content": parts}, {"role": "user", "content": "hi"}, 5]}
    assert chat_parts(document) is document
    assert chat_parts({"messages": "hi"}) == {"messages": "hi"}


@pytest.mark.parametrize(
    ("part", "param"),
    [
        ({"type": "smell", "smell": "rose"}, "messages[0].content[1].type"),
        ({"type": "tool_result", "content": "x"}, "messages[0].content[1].type"),
        ({"type": "input_text"}, "messages[0].content[1]"),
        ({"type": "image_url", "image_url": {}}, "messages[0].content[1]"),
        ({"type": "input_image", "file_id": "file-1"}, "messages[0].content[1]"),
        ({"type": "input_audio"}, "messages[0].content[1]"),
        ({"type": "video_url", "video_url": None}, "messages[0].content[1]"),
        ({"type": "file", "file": {}}, "messages[0].content[1]"),
    ],
)
def test_a_part_that_nobody_would_read_is_refused_by_its_place(part: dict[str, Any], param: str) -> None:
    with pytest.raises(ServiceError) as refused:
        read(part)
    assert (refused.value.status, refused.value.param) == (400, param)
    assert "rose" not in refused.value.message


KINDS = [
    "text",
    "input_text",
    "image",
    "input_image",
    "audio",
    "input_audio",
    "video",
    "document",
    "file",
    "x",
]
NAMES = [
    "text",
    "image_url",
    "source",
    "url",
    "data",
    "file",
    "file_data",
    "input_audio",
    "function_call",
    "name",
]
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from([PNG, PDF, NOTES, "", "x", "data:;base64,@"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=6,
)
typed = st.builds(
    lambda kind, part: {**part, "type": kind},
    st.sampled_from(KINDS),
    st.dictionaries(st.sampled_from(NAMES), anything, max_size=4),
)
messages = st.builds(
    lambda role, content, call: {"role": role, "content": content, **call},
    st.sampled_from(["user", "assistant", "function"]),
    st.lists(typed | anything, max_size=3) | anything,
    st.just({}) | st.builds(lambda each: {"function_call": each}, anything),
)


def test_a_long_address_takes_no_more_than_its_length() -> None:
    def read_everywhere(url: str) -> None:
        for kind in ("file", "audio_url", "image_url"):
            read({"type": kind, "url": url, "image_url": url})

    for url in (
        "data:;" + "=" * 4_000_000,
        "data:" + ";a=b" * 1_000_000,
        "data:image/png;base64," + "A" * 4_000_000,
    ):
        assert grows_no_faster_than_linear(read_everywhere, url)


@given(st.lists(messages | anything, max_size=3) | anything, anything)
def test_whatever_a_client_sends_is_read_or_refused(sent: Any, functions: Any) -> None:
    with suppress(ServiceError):
        to_chat({"messages": sent, "functions": functions})
