"""The error that all others of evaluation are, so that commands say any of them in one place."""


class EvalError(Exception):
    """What was asked for cannot be done; the message says why and what to do."""
