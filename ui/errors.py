"""What can go wrong between the console and the API.

ApiError                 anything below; `message` and `hint` are written for the person at the console
├── ApiUnreachable       nobody answers at the API's address
├── ApiTimeout           it answers too late, or stopped in the middle
├── ApiBadReply          what answers does not speak the API's language
└── ApiRefused           the API's own error, in its own words
"""


class ApiError(Exception):
    """`code` is for machines; `message` says what happened and `hint` what to do about it."""

    def __init__(self, message: str, *, code: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint


class ApiUnreachable(ApiError):
    def __init__(self, root: str) -> None:
        super().__init__(
            f"No API answers at {root}.",
            code="api_unreachable",
            hint="Start it with `coterie up` (everything) or `coterie serve` (the API alone). "
            "If it runs somewhere else, set COTERIE_API_URL and start the console again.",
        )


class ApiTimeout(ApiError):
    def __init__(self, message: str) -> None:
        super().__init__(
            message,
            code="api_timeout",
            hint="The expert may be overloaded or still starting; the sidebar shows its health. Try again.",
        )


class ApiBadReply(ApiError):
    def __init__(self, message: str) -> None:
        super().__init__(
            message,
            code="api_bad_reply",
            hint="Check that COTERIE_API_URL is the address of a Coterie API of the same version.",
        )


class ApiRefused(ApiError):
    """An error object that the API sent. `status` is the HTTP status, None inside a stream."""

    def __init__(self, message: str, *, code: str, status: int | None = None) -> None:
        super().__init__(message, code=code, hint=HINTS.get(code, STATUS_HINTS.get(status or 0, "")))
        self.status = status


HINTS = {
    "context_length_exceeded": "This conversation is longer than any expert can read. "
    "Start a new chat, or shorten the message.",
    "expert_unavailable": "The sidebar shows which experts are up. Try again, or let routing choose another.",
    "expert_busy": "Every place at this expert is taken. Try again in a moment.",
    "expert_timeout": "The expert took too long. Try again, or let another one answer.",
    "expert_bad_reply": "Something is wrong with this expert. Try again, or let another one answer.",
    "capability_unavailable": "No expert here can do what this message needs.",
    "model_not_found": "The pinned expert or category is not served any more. Choose another in the sidebar.",
}
STATUS_HINTS = {
    401: "Set COTERIE_API_KEY to one of the API's keys and start the console again.",
    403: "Set COTERIE_API_KEY to a key that may do this and start the console again.",
    429: "Try again in a moment.",
    500: "The API's log says more, under the request id.",
    503: "The API is starting or overloaded. Try again in a moment.",
}
