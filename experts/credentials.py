"""API keys of experts, read on demand, and their redaction from texts."""

import os
import re
from collections.abc import Iterable

from pydantic import SecretStr

from base.text_files import TextFileError, read_text
from experts.errors import ExpertUnavailable
from experts.expert import Expert

HIDDEN = "[secret]"

_LOOKS_SECRET = re.compile(
    r"(?<![A-Za-z0-9])(?:sk|pk|rk|hf|gsk|xai|nvapi)[-_][A-Za-z0-9_*-]{6,}"  # keys of the usual providers
    r"|(?i:bearer\s+)[A-Za-z0-9._~+/=-]{6,}"
    r"|(?<![A-Za-z0-9])AIza[A-Za-z0-9_-]{20,}"
)


def read_api_key(expert: Expert) -> SecretStr | None:
    """The expert's key, None if it needs none; read each time, for rotation. Raises `ExpertUnavailable`
    naming a missing or empty variable or file."""
    if expert.api_key_env is not None:
        where, value = (
            f"the environment variable {expert.api_key_env}",
            os.environ.get(expert.api_key_env, ""),
        )
    elif expert.api_key_file is not None:
        where = f"the file {expert.api_key_file.name}"
        try:
            value = read_text(expert.api_key_file)
        except TextFileError as error:
            raise ExpertUnavailable(
                expert.name, f"Expert {expert.name} has no API key: {where} cannot be read."
            ) from error
    else:
        return None
    value = value.strip()
    if not value or not value.isprintable() or not value.isascii():
        raise ExpertUnavailable(expert.name, f"Expert {expert.name} has no usable API key in {where}.")
    return SecretStr(value)


def redact(text: str, secrets: Iterable[SecretStr | None] = ()) -> str:
    """`text` without these secrets and anything that looks like a provider's key."""
    for secret in secrets:
        if secret is not None and secret.get_secret_value():
            text = text.replace(secret.get_secret_value(), HIDDEN)
    return _LOOKS_SECRET.sub(HIDDEN, text)
