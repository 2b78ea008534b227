"""The prompt library: versioned templates with typed variables, read from YAML and rendered to text.

A prompt is one file, `<folder>/<name>@<version>.yaml`:

    name: writing
    version: 1
    description: Prose that people want to read.
    category: writing             # of prompts/categories.yaml; left out when it belongs to none
    variables:
      tone: {type: text, default: plain, description: How it should sound.}
    template: |
      You are a careful writer. Keep the tone {tone}.

`{name}` stands for a variable; `{{` and `}}` are braces. Values are inserted verbatim and never parsed as
templates. Published versions do not change.
"""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self

from pydantic import Field, JsonValue, ValidationError, model_validator
from pydantic_core import ErrorDetails, PydanticCustomError

from base.json_documents import json_digest
from base.strict_model import StrictModel
from base.suggestions import close_names, suggestion
from base.yaml_lines import Lines, YamlProblem, read_yaml

LIBRARY = Path(__file__).resolve().parent / "library"
"""The prompts that Coterie ships."""

TEMPLATE_LENGTH = 100_000
VALUE_LENGTH = 100_000
"""Characters of one text value."""

Value = str | int | float | bool
NOTHING: Mapping[str, JsonValue] = MappingProxyType({})

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}\n]*)\}|[{}]")
_VARIABLE = re.compile(r"[a-z][a-z0-9_]*")
_NAME = r"[a-z][a-z0-9-]*"
_REFERENCE = re.compile(rf"({_NAME})@([1-9][0-9]{{0,5}})")
_CALLED = "a prompt's file is called <name>@<version>.yaml"


class PromptError(Exception):
    """A prompt cannot be read, found or rendered; the message names file, line and remedy."""


class Variable(StrictModel):
    """The type and limits of a template variable; without `default` it is required."""

    type: Literal["text", "integer", "number", "boolean", "choice"] = "text"
    description: str = ""
    default: JsonValue = None
    choices: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """The values of type `choice`."""
    minimum: float | None = None
    maximum: float | None = None
    max_length: int = Field(default=VALUE_LENGTH, gt=0, le=VALUE_LENGTH)

    @model_validator(mode="after")
    def _check_consistency(self) -> Self:
        if (self.type == "choice") != bool(self.choices):
            raise PydanticCustomError("choices", "choices belong to type choice, and it needs them")
        if (self.minimum is not None or self.maximum is not None) and self.type not in {"integer", "number"}:
            raise PydanticCustomError("bounds", "minimum and maximum belong to numbers")
        if self.minimum is not None and self.maximum is not None and self.minimum > self.maximum:
            raise PydanticCustomError("bounds", "minimum is above maximum: no value would do")
        if "max_length" in self.model_fields_set and self.type != "text":
            raise PydanticCustomError("max_length", "max_length belongs to text")
        if self.default is not None:
            try:
                self.checked(self.default)
            except ValueError as error:
                raise PydanticCustomError("default", "default: {why}", {"why": str(error)}) from None
        return self

    def checked(self, value: JsonValue) -> Value:
        """`value` if it is valid. Raises ValueError."""
        kind = self.type
        if kind == "boolean":
            if not isinstance(value, bool):
                raise ValueError("must be true or false")
            return value
        if kind in {"integer", "number"}:
            return self._checked_number(value)
        if not isinstance(value, str):
            raise ValueError("must be text")
        if kind == "choice" and value not in self.choices:
            raise ValueError(f"must be one of {', '.join(self.choices)}")
        if len(value) > self.max_length:
            raise ValueError(f"must have at most {self.max_length} characters")
        return value

    def _checked_number(self, value: JsonValue) -> int | float:
        whole = self.type == "integer"
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            raise ValueError("must be a whole number" if whole else "must be a number")
        if not math.isfinite(value):
            raise ValueError("must be a finite number")
        if self.minimum is not None and value < self.minimum:
            raise ValueError(f"must be at least {self.minimum:g}")
        if self.maximum is not None and value > self.maximum:
            raise ValueError(f"must be at most {self.maximum:g}")
        return value

    def parsed(self, text: str) -> JsonValue:
        """A command-line value converted to this type; unchanged if that fails, for `checked` to refuse."""
        try:
            if self.type == "integer":
                return int(text)
            if self.type == "number":
                return float(text)
        except ValueError:
            return text
        if self.type == "boolean":
            return {"true": True, "false": False, "yes": True, "no": False}.get(text.lower(), text)
        return text


@dataclass(frozen=True, slots=True)
class PromptOrigin:
    """The prompt that a text was rendered from, as recorded in decisions."""

    name: str
    version: int
    hash: str

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"


class PromptTemplate(StrictModel):
    """One version of one prompt."""

    name: str = Field(pattern=rf"^{_NAME}$", max_length=64)
    version: int = Field(ge=1, le=999_999)
    description: str = Field(min_length=1)
    category: str | None = Field(default=None, pattern=r"^[a-z]+$")
    variables: Mapping[Annotated[str, Field(pattern=rf"^{_VARIABLE.pattern}$")], Variable] = Field(
        default_factory=dict
    )
    template: str = Field(min_length=1, max_length=TEMPLATE_LENGTH, pattern=r"\S")

    @model_validator(mode="after")
    def _check_variables(self) -> Self:
        try:
            used = {name for _, name, _ in _pieces(self.template) if name is not None}
        except _BadTemplate as bad:
            raise _in_template(bad.offset, self.template, bad.why) from None
        for _, name, offset in _pieces(self.template):
            if name is not None and name not in self.variables:
                close = close_names(name, self.variables, most=1)
                hint = f"did you mean {close[0]}?" if close else "declare it under variables"
                raise _in_template(offset, self.template, f"no variable is named {name!r}; {hint}")
        if unused := sorted(self.variables.keys() - used):
            raise PydanticCustomError("unused", "{name}: is not in the template", {"name": unused[0]})
        return self

    @property
    def reference(self) -> str:
        """`name@version`."""
        return f"{self.name}@{self.version}"

    @property
    def hash(self) -> str:
        """The first 16 hex digits of SHA-256 over template and variables without descriptions."""
        variables = {
            name: variable.model_dump(mode="json", exclude={"description"})
            for name, variable in self.variables.items()
        }
        return json_digest({"template": self.template, "variables": variables})[:16]

    @property
    def origin(self) -> PromptOrigin:
        return PromptOrigin(self.name, self.version, self.hash)

    def render(self, values: Mapping[str, JsonValue] = NOTHING) -> str:
        """The stripped text with the variables' values or defaults. Raises PromptError, without any value in
        the message."""
        for name in values:
            if name not in self.variables:
                hint = suggestion(name, self.variables)
                raise PromptError(f"{self.reference}: no variable is named {name[:80]!r}; {hint}")
        texts: dict[str, str] = {}
        for name, variable in self.variables.items():
            value = values.get(name, variable.default)
            if value is None:
                raise PromptError(f"{self.reference}: {name}: give a value, it has no default")
            try:
                texts[name] = _as_text(variable.checked(value))
            except ValueError as error:
                raise PromptError(f"{self.reference}: {name}: {error}") from None
        return "".join(
            text if name is None else texts[name] for text, name, _ in _pieces(self.template)
        ).strip()


class PromptLibrary:
    """The prompts of a folder, each read on demand, so that an invalid file does not affect the others."""

    def __init__(self, folder: Path = LIBRARY) -> None:
        self.folder = folder

    def references(self) -> dict[str, tuple[int, ...]]:
        """The versions of each name, ascending, by name. Raises PromptError without the folder."""
        found: dict[str, list[int]] = {}
        for file in self._files():
            if (match := _file_reference(file)) is not None:
                found.setdefault(match[1], []).append(int(match[2]))
        return {name: tuple(sorted(versions)) for name, versions in found.items()}

    def read(self) -> tuple[list[PromptTemplate], list[str]]:
        """All valid prompts by name and version, and a line for every problem of the other files."""
        problems = [f"{file}: {_CALLED}" for file in self._misnamed()]
        prompts: list[PromptTemplate] = []
        for name, versions in self.references().items():
            for version in versions:
                try:
                    prompts.append(self.get(f"{name}@{version}"))
                except PromptError as error:
                    problems += str(error).splitlines()
        return prompts, problems

    def all(self) -> list[PromptTemplate]:
        """All prompts by name and version. Raises PromptError with all problems."""
        prompts, problems = self.read()
        if problems:
            raise PromptError("\n".join(problems))
        return prompts

    def get(self, reference: str) -> PromptTemplate:
        """The prompt `name@version`. Raises PromptError, with close names for an unknown one."""
        known = self.references()
        name, _, number = reference.partition("@")
        if name not in known:
            hint = suggestion(name, known)
            near = [
                file for file in self._misnamed() if file.name.partition(".")[0].partition("@")[0] == name
            ]
            if near and name:
                hint = f"there is {near[0].name}, but {_CALLED}"
            raise PromptError(f"{self.folder}: no prompt is named {name[:80]!r}; {hint}")
        if not _REFERENCE.fullmatch(reference):
            newest = f"{name}@{known[name][-1]}"
            raise PromptError(f"{reference[:80]!r}: name the prompt with its version: {newest} is the newest")
        version = int(number)
        if version not in known[name]:
            versions_there = ", ".join(map(str, known[name]))
            raise PromptError(f"{self.folder}: {name} has no version {version}; it has {versions_there}")
        return read_prompt(self.folder / f"{reference}.yaml")

    def newest(self, reference: str) -> PromptTemplate:
        """`get`, where a name without version means its newest: for interactive use, not for registries."""
        versions = self.references().get(reference)
        return self.get(f"{reference}@{versions[-1]}" if versions else reference)

    def _files(self) -> list[Path]:
        if not self.folder.is_dir():
            raise PromptError(f"{self.folder}: no such folder of prompts")
        return sorted(each for each in self.folder.iterdir() if each.suffix in {".yaml", ".yml"})

    def _misnamed(self) -> list[Path]:
        return [file for file in self._files() if _file_reference(file) is None]


def _file_reference(file: Path) -> re.Match[str] | None:
    return _REFERENCE.fullmatch(file.stem) if file.suffix == ".yaml" else None


def read_prompt(path: Path) -> PromptTemplate:
    """The prompt of a file `<name>@<version>.yaml`. Raises PromptError with `file:line: field: problem`
    lines."""
    try:
        data, lines = read_yaml(path)
    except YamlProblem as problem:
        raise PromptError(str(problem)) from problem
    if not isinstance(data, dict):
        raise PromptError(f"{path}:1: must be a mapping with name, version, description and template")
    try:
        prompt = PromptTemplate.model_validate(data)
    except ValidationError as error:
        found = sorted(
            _place(path, lines, detail) for detail in error.errors(include_url=False, include_input=False)
        )
        raise PromptError("\n".join(f"{path}:{line}: {said}" for line, said in found)) from None
    if path.stem != prompt.reference:
        field, line = ("version", lines.of(("version",)))
        if path.stem.partition("@")[0] != prompt.name:
            field, line = ("name", lines.of(("name",)))
        raise PromptError(
            f"{path}:{line}: {field}: the file says {prompt.reference}, its name {path.stem}; "
            f"call it {prompt.reference}.yaml"
        )
    return prompt


class _BadTemplate(ValueError):
    def __init__(self, offset: int, why: str) -> None:
        super().__init__(why)
        self.offset = offset
        self.why = why


def _pieces(template: str) -> Iterator[tuple[str, str | None, int]]:
    """The template's parts in order: (text, None, offset) or ("", variable name, offset)."""
    end = 0
    for match in _PIECE.finditer(template):
        if match.start() > end:
            yield template[end : match.start()], None, end
        end = match.end()
        piece, name = match[0], match[1]
        if piece in {"{{", "}}"}:
            yield piece[0], None, match.start()
        elif name is None:
            raise _BadTemplate(match.start(), f"a lone {piece}; write {piece * 2} for a brace")
        elif not _VARIABLE.fullmatch(name):
            raise _BadTemplate(
                match.start(),
                f"{piece[:40]!r} is no variable (a-z, 0-9, _); write {{{{ and }}}} for braces",
            )
        else:
            yield "", name, match.start()
    if end < len(template):
        yield template[end:], None, end


def _as_text(value: Value) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _in_template(offset: int, template: str, why: str) -> PydanticCustomError:
    row = template.count("\n", 0, offset)
    return PydanticCustomError("template", "{why}", {"why": why, "row": row})


def _place(path: Path, lines: Lines, detail: ErrorDetails) -> tuple[int, str]:
    """The line and the message of a validation error."""
    context: dict[str, Any] = detail.get("ctx", {})
    loc: tuple[int | str, ...] = tuple(part for part in detail["loc"] if part != "[key]")
    message = str(context.get("why", detail["msg"])) if detail["type"] == "template" else detail["msg"]
    if detail["type"] == "template":
        return lines.text_of(("template",), context["row"]), f"template: {message}"
    if detail["type"] == "unused":
        return lines.of(("variables", context["name"])), f"variables.{message}"
    if detail["type"] == "extra_forbidden":
        message = f"unknown field; {suggestion(str(loc[-1]), PromptTemplate.model_fields)}"
    elif detail["type"] == "missing":
        message = "is required"
    field = ".".join(map(str, loc)) or "prompt"
    return lines.of(loc), f"{field}: {message}"
