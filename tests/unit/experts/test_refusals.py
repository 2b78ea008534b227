"""What servers' refusals mean, whatever shape they come in."""

import time
from typing import Any

import pytest

from experts.errors import (
    ContextTooLong,
    ExpertBadReply,
    ExpertBusy,
    ExpertError,
    ExpertRejected,
    ExpertTimeout,
    ExpertUnavailable,
)
from experts.expert import Expert
from experts.refusals import MAX_RETRY_AFTER_S, body_of, error_in, refusal, reported_error, retry_after_in

EXPERT = Expert(name="a", endpoint="http://h/v1", model="m", params_b=1, context_length=8)
PAGE = "<html><title>502</title></html>"


def said(message: str, **more: Any) -> dict[str, Any]:
    return {"error": {"message": message, **more}}


@pytest.mark.parametrize(
    "body",
    [
        b'{"estimated_time": Infinity}',
        b'{"estimated_time": 1' + b"0" * 400 + b"}",
        b'{"error": {"message": "Try again in ' + b"9" * 400 + b's"}}',
    ],
)
def test_a_wait_without_end_is_a_day(body: bytes) -> None:
    assert refusal(EXPERT, 503, body_of(body)).retry_after_s in (None, MAX_RETRY_AFTER_S)
    assert refusal(EXPERT, 503, None, retry_after_s=1e300).retry_after_s == MAX_RETRY_AFTER_S


@pytest.mark.parametrize("opened", ['{"error": ', '{"detail": [', '{"errors": ['])
def test_an_error_nested_without_end_is_an_error_like_any_other(opened: str) -> None:
    levels = 400
    closed = "".join({"{": "}", "[": "]"}[each] for each in reversed(opened) if each in "{[")
    body = body_of((opened * levels + '"no"' + closed * levels).encode())
    assert isinstance(body, dict)
    assert isinstance(refusal(EXPERT, 503, body), ExpertUnavailable)


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (302, PAGE, ExpertBadReply),
        (400, PAGE, ExpertBadReply),
        (400, None, ExpertRejected),
        (400, said("bad top_k"), ExpertRejected),
        (400, said("Model is loading, try again"), ExpertUnavailable),
        (400, said("The model 'm' is not loaded yet"), ExpertUnavailable),
        (400, said("Model m is currently being loaded"), ExpertUnavailable),
        (400, said("Server is still initializing"), ExpertUnavailable),
        (400, said("Model loading in progress"), ExpertUnavailable),
        (400, said("model must be loaded with trust_remote_code"), ExpertRejected),
        (400, said("This model has no images, which come with those starting with 3"), ExpertRejected),
        (400, said("no such model", code="model_not_found"), ExpertUnavailable),
        (400, said("Your credit balance is too low to access the API"), ExpertUnavailable),
        (400, said("This model's maximum context length is 8 tokens"), ContextTooLong),
        (400, said("too long", type="exceed_context_size_error"), ContextTooLong),
        (400, said("the request exceeds the available context size"), ContextTooLong),
        (400, said("The input token count (9) exceeds the maximum number of tokens"), ContextTooLong),
        (
            400,
            {"message": "Input length (9 tokens) exceeds the maximum allowed length (8 tokens)."},
            ContextTooLong,
        ),
        (
            422,
            {"error": "`inputs` tokens + `max_new_tokens` must be <= 8. Given: 9 `inputs` tokens"},
            ContextTooLong,
        ),
        (400, said("Please reduce the length of the messages or completion."), ContextTooLong),
        (400, said("输入长度超过模型最大上下文长度"), ContextTooLong),
        (
            400,
            said("Provider returned error", metadata={"raw": '{"error": {"message": "prompt is too long"}}'}),
            ContextTooLong,
        ),
        (413, said("Request too large for m on tokens per minute (TPM): Limit 8, Requested 9"), ExpertBusy),
        (400, said("Rate limit reached"), ExpertBusy),
        (400, said("The model is currently overloaded, please retry"), ExpertBusy),
        (400, said("Selected model is at capacity"), ExpertBusy),
        (400, {"object": "error", "message": "CUDA out of memory"}, ExpertBusy),
        (400, {"message": "Service under maintenance"}, ExpertBusy),
        (400, {"detail": "model warming up"}, ExpertUnavailable),
        (400, {"error": "Model unloaded."}, ExpertUnavailable),
        (400, {"error": "No models loaded. Please load a model"}, ExpertUnavailable),
        (400, said("invalid model: no endpoints found for m"), ExpertUnavailable),
        (400, said("The model `m` does not exist."), ExpertUnavailable),
        (400, "Client sent an HTTP request to an HTTPS server.", ExpertUnavailable),
        (400, [said("API key not valid. Please pass a valid API key.")], ExpertUnavailable),
        (400, [said("User location is not supported for the API use.")], ExpertUnavailable),
        (400, said("The model does not support tools"), ExpertRejected),
        (400, said("Tool f was not found in the tools of the request"), ExpertRejected),
        (400, said("temperature must not exceed 2"), ExpertRejected),
        (401, said("no"), ExpertUnavailable),
        (402, said("pay"), ExpertUnavailable),
        (403, PAGE, ExpertUnavailable),
        (404, said("no"), ExpertUnavailable),
        (405, None, ExpertUnavailable),
        (408, None, ExpertTimeout),
        (409, said("conflict"), ExpertUnavailable),
        (413, PAGE, ContextTooLong),
        (415, PAGE, ExpertUnavailable),
        (417, None, ExpertUnavailable),
        (422, {"detail": [{"loc": ["body", "n"], "msg": "too many"}]}, ExpertRejected),
        (425, None, ExpertUnavailable),
        (429, said("slow down"), ExpertBusy),
        (429, said("pay", code="insufficient_quota"), ExpertUnavailable),
        (500, "boom", ExpertUnavailable),
        (503, said("Loading model"), ExpertUnavailable),
        (529, said("Overloaded", type="overloaded_error"), ExpertUnavailable),
    ],
)
def test_a_status_and_its_body_are_one_kind_of_failure(
    status: int, body: Any, kind: type[ExpertError]
) -> None:
    error = refusal(EXPERT, status, body)
    assert type(error) is kind
    assert error.replaceable == (kind is not ExpertRejected)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": "bad top_k"}, "bad top_k"),
        ({"error": {"message": "bad top_k"}}, "bad top_k"),
        ({"message": "bad top_k"}, "bad top_k"),
        ({"detail": "bad top_k"}, "bad top_k"),
        ({"detail": [{"loc": ["body", "top_k"], "msg": "bad"}, {"msg": "worse"}]}, "body.top_k: bad; worse"),
        ({"errors": ["bad", {"message": "worse"}]}, "bad; worse"),
        ([{"error": {"message": "bad top_k"}}], "bad top_k"),
        ({"type": "error", "error": {"type": "invalid_request_error", "message": "bad top_k"}}, "bad top_k"),
        ({"error": {"error": {"message": "bad top_k"}}}, "bad top_k"),
        ("bad top_k", "bad top_k"),
        ({}, "The expert's server gave no reason."),
        (None, "The expert's server gave no reason."),
        (7, "The expert's server gave no reason."),
    ],
)
def test_a_refusals_reason_is_found_in_any_shape(body: Any, message: str) -> None:
    error = refusal(EXPERT, 400, body)
    assert isinstance(error, ExpertRejected)
    assert error.error["message"] == message
    assert error.error["code"] == "expert_rejected"
    assert "top_k" not in error.message


@pytest.mark.parametrize(
    ("document", "status"),
    [
        ({"error": "overloaded"}, 503),
        ({"error": {"message": "overloaded", "code": "429"}}, 429),
        ({"error": {"message": "no", "code": 400}}, 400),
        ({"error": {"message": "no", "status": 503}}, 503),
        ({"error": {"message": "no", "type": "invalid_request_error"}}, 400),
        ({"type": "error", "error": {"type": "rate_limit_error", "message": "slow"}}, 429),
        ({"error": {"message": "Rate limit reached"}}, 429),
        ({"detail": [{"msg": "no"}]}, 422),
        ({"object": "error", "message": "no", "code": 400}, 400),
        ([{"error": {"code": 429, "message": "slow"}}], 429),
    ],
)
def test_an_error_inside_a_200_has_the_status_that_it_names(document: Any, status: int) -> None:
    found = error_in(document)
    assert found is not None
    assert reported_error(EXPERT, found).status == status


@pytest.mark.parametrize(
    "document",
    [{}, [], None, "x", {"error": None, "choices": [1]}, {"choices": [], "error": ""}, {"type": "message"}],
)
def test_what_holds_no_error_is_none(document: Any) -> None:
    assert error_in(document) is None


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "30"}, 30),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "3", "retry-after-ms": "2500"}, 2.5),
        ({"retry-after-ms": "-1", "retry-after": "3"}, 3),
        ({"x-ratelimit-reset": "12"}, 12),
        ({"x-ratelimit-reset-requests": "6m0s", "x-ratelimit-remaining-requests": "0"}, 360),
        ({"x-ratelimit-reset-requests": "1s", "x-ratelimit-reset-tokens": "20ms"}, 1),
        ({"x-ratelimit-reset-requests": "9s", "x-ratelimit-remaining-requests": "5"}, None),
        ({"x-ratelimit-reset": "later"}, None),
    ],
)
def test_the_wait_is_read_from_every_header_that_says_it(
    headers: dict[str, str], seconds: float | None
) -> None:
    assert retry_after_in(headers) == seconds


def test_a_reset_may_be_a_time_in_seconds_or_milliseconds() -> None:
    for reset in (time.time() + 60, (time.time() + 60) * 1000):
        assert retry_after_in({"x-ratelimit-reset": f"{reset:.0f}"}) == pytest.approx(60, abs=2)


def test_a_model_that_loads_says_how_long_in_its_body() -> None:
    assert refusal(EXPERT, 503, {"error": "loading", "estimated_time": 20.5}).retry_after_s == 20.5
    assert refusal(EXPERT, 503, {"error": "loading", "estimated_time": True}).retry_after_s is None
    delayed = [{"error": {"message": "slow", "details": [{"@type": "x"}, {"retryDelay": "39.5s"}]}}]
    assert refusal(EXPERT, 429, delayed).retry_after_s == 39.5
    assert refusal(EXPERT, 429, said("Limit 8. Please try again in 1m7.5s. Visit us")).retry_after_s == 67.5
    assert refusal(EXPERT, 429, said("try again in a while")).retry_after_s is None


@pytest.mark.parametrize(
    ("data", "body"), [(b"", None), (b" \n", None), (b"null", None), (b'{"a": 1}', {"a": 1}), (b"<p>", "<p>")]
)
def test_a_body_is_read_as_what_it_is(data: bytes, body: Any) -> None:
    assert body_of(data) == body


@pytest.mark.parametrize(
    ("its", "whole"), [("too long", "too long. Ours."), ("Too long!", "Too long! Ours.")]
)
def test_our_sentence_follows_the_servers(its: str, whole: str) -> None:
    error = refusal(EXPERT, 413, said(its))
    assert isinstance(error, ContextTooLong)
    error.add("Ours.")
    assert error.error["message"] == whole
