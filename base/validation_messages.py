"""What pydantic finds wrong, as sentences. The input stays out: it may be a secret or a prompt."""

from pydantic import ValidationError


def problems_of(error: ValidationError, whole: str) -> list[str]:
    """`field.sub: what is wrong` for each problem; `whole` names what has a problem as a whole."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [f"{'.'.join(map(str, each['loc'])) or whole}: {each['msg']}" for each in found]
