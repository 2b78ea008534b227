"""What can go wrong between a program and the API.

ApiError                 anything below
├── ApiUnreachable       nobody answers at the address
├── ApiTimeout           it answers too late, or stopped in the middle
├── ApiBadReply          what answers does not speak the API's language
└── ApiRefused           the API's own error, in its own words
"""

from typing import ClassVar

from base.retries import RETRIED_STATUSES


class ApiError(Exception):
    """`message` says what happened, `hint` what to do about it, `code` is for programs.

    `status` is the HTTP status, None where there is none (also inside a stream); `param` the field at
    fault; `retry_after` the seconds that the server asks to wait; `transient` whether trying again may help.
    As text it is the message and the hint.
    """

    usual_code: ClassVar[str] = "api_error"
    usual_hint: ClassVar[str] = ""
    passes: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        status: int | None = None,
        param: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.usual_code
        self.status = status
        self.param = param
        self.hint = HINTS.get(self.code) or STATUS_HINTS.get(status or 0) or self.usual_hint
        self.retry_after = retry_after
        self.transient = self.passes or status in RETRIED_STATUSES

    def __str__(self) -> str:
        return " ".join(part for part in (self.message, self.hint) if part)


class ApiUnreachable(ApiError):
    usual_code = "api_unreachable"
    usual_hint = (
        "Start it with `coterie up` (everything) or `coterie serve` (the API alone). "
        "If it runs somewhere else, set COTERIE_API_URL and start again."
    )
    passes = True


class ApiTimeout(ApiError):
    usual_code = "api_timeout"
    usual_hint = (
        "The expert may be overloaded or still starting: `coterie experts list` and the console's sidebar "
        "show its health. Try again."
    )
    passes = True


class ApiBadReply(ApiError):
    usual_code = "api_bad_reply"
    usual_hint = "Check that COTERIE_API_URL is the address of a Coterie API of the same version."


class ApiRefused(ApiError):
    def __str__(self) -> str:
        return " ".join(part for part in (self.message, f"[{self.code}]", self.hint) if part)


HINTS = {
    "context_length_exceeded": "This conversation is longer than any expert can read. "
    "Start a new chat, or shorten the message.",
    "expert_unavailable": "`coterie experts list` and the console's sidebar show which experts are up. "
    "Try again, or let routing choose another.",
    "expert_busy": "Every place at this expert is taken. Try again in a moment.",
    "expert_timeout": "The expert took too long. Try again, or let another one answer.",
    "expert_bad_reply": "Something is wrong with this expert. Try again, or let another one answer.",
    "capability_unavailable": "No expert here can do what this message needs.",
    "model_not_found": "No such expert or category is served (any more). Choose another.",
}
STATUS_HINTS = {
    401: "Set COTERIE_API_KEY to one of the API's keys and start again.",
    403: "Set COTERIE_API_KEY to a key that may do this and start again.",
    429: "Try again in a moment.",
    500: "The API's log says more, under the request id.",
    503: "The API is starting or overloaded. Try again in a moment.",
}
