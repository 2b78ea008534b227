"""The bodies of requests other than chats."""

from typing import Annotated

from pydantic import Field, StrictInt, StrictStr, model_validator
from pydantic_core import PydanticCustomError

from app.serving.chat_body import ClosedBody, Name

COMMENT_LENGTH = 10_000


class FeedbackBody(ClosedBody):
    """Feedback on one answer: a rating or a score."""

    decision_id: Name
    rating: Annotated[StrictInt, Field(ge=-1, le=1)] | None = None
    score: Annotated[float, Field(ge=0, le=1, strict=True)] | None = None
    comment: Annotated[StrictStr, Field(max_length=COMMENT_LENGTH)] | None = None

    @model_validator(mode="after")
    def _says_something(self) -> "FeedbackBody":
        if (self.rating is None) == (self.score is None):
            raise PydanticCustomError("feedback", "give either a rating (-1, 0, 1) or a score (0..1)")
        return self
