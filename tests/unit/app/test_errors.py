"""Every error of every package has its answer, which tells nothing it should not."""

import pytest
from sqlalchemy.exc import DataError, OperationalError

from app.api.error_handlers import service_error
from app.dialects.error_shapes import openai_error
from app.errors import ServiceError, field_path
from experts.errors import ContextTooLong, ExpertBusy, ExpertRejected, ExpertUnavailable
from routers.decide import NoExpertFits, UnknownName

REFUSED = {"message": "too hot", "type": "BadRequestError", "param": "temperature", "code": None}


@pytest.mark.parametrize(
    ("error", "status", "code", "kind"),
    [
        (ServiceError(404, "x", "y"), 404, "x", "invalid_request_error"),
        (ExpertUnavailable("e", "is down"), 503, "expert_unavailable", "server_error"),
        (ExpertBusy("e", "is busy"), 429, "expert_busy", "rate_limit_error"),
        (UnknownName("no"), 404, "model_not_found", "invalid_request_error"),
        (
            NoExpertFits("long", "context_length_exceeded"),
            400,
            "context_length_exceeded",
            "invalid_request_error",
        ),
        (NoExpertFits("down", "expert_unavailable"), 503, "expert_unavailable", "server_error"),
        (
            OperationalError("SELECT 's3cret'", {}, Exception("s3cret")),
            503,
            "database_unavailable",
            "server_error",
        ),
        (
            DataError("SELECT 's3cret'", {}, Exception("s3cret")),
            400,
            "invalid_value",
            "invalid_request_error",
        ),
        (RuntimeError("s3cret"), 500, "internal_error", "server_error"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_error_has_its_status_and_code(error: Exception, status: int, code: str, kind: str) -> None:
    answer = service_error(error)
    assert (answer.status, answer.code) == (status, code)
    assert set(openai_error(answer)["error"]) == {"message", "type", "param", "code"}
    assert openai_error(answer)["error"]["type"] == kind
    assert "s3cret" not in str(openai_error(answer))


def test_what_a_server_says_of_a_request_is_passed_on() -> None:
    answer = service_error(ExpertRejected("e", "rejected", error=REFUSED, status=422))
    assert answer.status == 422
    assert openai_error(answer)["error"] == {**REFUSED, "code": "expert_rejected"}


def test_a_long_context_keeps_its_code() -> None:
    error = {**REFUSED, "code": "context_length_exceeded"}
    answer = service_error(ContextTooLong("e", "long", error=error))
    assert openai_error(answer)["error"]["code"] == "context_length_exceeded"


def test_paths_of_fields_read_like_openais() -> None:
    assert field_path(("messages", 0, "content")) == "messages[0].content"
    assert len(field_path(("x" * 5000,))) <= 120
