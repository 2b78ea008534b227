"""A request's body: read within its bound, parsed, checked; each failure an error of OpenAI's shape."""

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect, Request

from app.api.json import BadJson, read_json
from app.errors import ServiceError, validation_error

Body = TypeVar("Body", bound=BaseModel)


async def read_body(request: Request, kind: type[Body]) -> tuple[Body, dict[str, Any]]:
    """The checked body and the whole document it came from.

    Raises ServiceError: 400 for invalid JSON or a field that does not validate. The size is bounded by
    `app.api.body_limit.BodyLimit`.
    """
    try:
        raw = await request.body()
    except ClientDisconnect:
        raise ServiceError(499, "client_closed_request", "The client went away.") from None
    try:
        document = read_json(raw)
    except BadJson as error:
        raise ServiceError(400, "invalid_json", f"The body is not valid JSON: {error}.") from None
    if not isinstance(document, dict):
        raise ServiceError(400, "invalid_json", "The body must be a JSON object.")
    try:
        return kind.model_validate(document), document
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        raise validation_error(details) from None


def body_schema(kind: type[BaseModel]) -> dict[str, Any]:
    """For a route's `openapi_extra`: the body that `read_body` reads."""
    reference = {"$ref": f"#/components/schemas/{kind.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": reference}}}}


def body_components(*kinds: type[BaseModel]) -> dict[str, Any]:
    """The schemas that `body_schema` refers to, for OpenAPI's `components`."""
    found: dict[str, Any] = {}
    for kind in kinds:
        schema = kind.model_json_schema(ref_template="#/components/schemas/{model}")
        found |= schema.pop("$defs", {})
        found[kind.__name__] = schema
    return found
