"""The hyperparameters of a build, from a YAML file and the command's options."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from base.suggestions import suggestion
from base.terminal import fail

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

    from base.yaml_lines import Lines
    from experts.expert import Expert
    from prompts.mixture.hyperparameters import BuildConfig

MOST_IN_FLIGHT = 64
"""Calls in flight unless told otherwise, however many the expert takes."""
UNBOUNDED = 2**31
"""A context length that nobody knows: the server says when it is exceeded."""


def read_build_config(path: Path | None, given: Mapping[str, Any], expert: "Expert") -> "BuildConfig":
    """The file's hyperparameters with the command's over them, and what the expert takes under both. Says
    every mistake, by line or option, and ends when there is one."""
    from pydantic import ValidationError

    from base.yaml_lines import Lines, YamlProblem, read_yaml
    from prompts.mixture.hyperparameters import BuildConfig

    said: Any = {}
    lines = Lines(None)
    if path is not None:
        try:
            said, lines = read_yaml(path)
        except YamlProblem as problem:
            fail(f"--config: {problem}")
        if said is None:
            said = {}
        if not isinstance(said, dict):
            fail(f"--config: {path}: must be a mapping of hyperparameters, such as `candidates: 10`")
        said = {str(name): value for name, value in said.items()}
    expected: dict[str, Any] = {"concurrency": min(expert.max_in_flight, MOST_IN_FLIGHT)}
    if expert.context_length < UNBOUNDED:
        expected["context_tokens"] = expert.context_length
    try:
        wanted = BuildConfig.model_validate({**expected, **said, **given})
    except ValidationError as error:
        problems = (
            f"expert {expert.name}: context_length: {_in_words(each)}"
            if each["loc"] == ("context_tokens",) and "context_tokens" not in said
            else _problem(each, path, lines, given)
            for each in error.errors(include_url=False)
        )
        fail("\n".join(problems))
    # More would only wait in our own queue.
    return wanted.model_copy(update={"concurrency": min(wanted.concurrency, expert.max_in_flight)})


def _problem(detail: "ErrorDetails", path: Path | None, lines: "Lines", given: Mapping[str, Any]) -> str:
    """One mistake: where it is and what is wrong."""
    from prompts.mixture.hyperparameters import BuildConfig

    loc = detail["loc"]
    field = ".".join(map(str, loc))
    if detail["type"] == "extra_forbidden":
        hint = suggestion(field, BuildConfig.model_fields)
        return f"{path}:{lines.of(loc)}: {field}: unknown field; {hint}"
    wrong = _in_words(detail)
    if not loc:
        return f"--config: {path}: {wrong}"
    if loc[0] in given:
        return f"--{str(loc[0]).replace('_', '-')}: {wrong}"
    return f"{path}:{lines.of(loc)}: {field}: {wrong}"


def _in_words(detail: "ErrorDetails") -> str:
    wrong = "must be a list" if detail["type"] == "tuple_type" else detail["msg"]
    return wrong.removeprefix("Value error, ").replace("Input should", "should")
