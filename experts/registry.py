"""The registry of experts, read from YAML, with errors by file and line.

experts:
  - name: smollm2
    endpoint: http://127.0.0.1:8101/v1
    model: SmolLM2-135M-Instruct
    params_b: 0.135
    context_length: 2048
  - name: smollm2-friend        # an arm: the same server, another system prompt
    base: smollm2
    system_prompt: You are a warm friend.
  - name: smollm2-writer        # the same with a prompt of the library
    base: smollm2
    prompt: writing@1
    variables: {tone: warm}
  - name: smollm2-mixture       # or with a mixture of prompts, in a folder beside this file
    base: smollm2
    mixture: mixtures/dates
  - name: smollm2-voted         # or with other sampling
    base: smollm2
    sampling: {temperature: 0.8, n: 5}
    select: majority
"""

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from base.suggestions import suggestion
from base.yaml_lines import Lines, YamlProblem, read_yaml
from experts.expert import Capability, Expert, Hedge, IdentitySource, LocalServer, Price, Timeouts
from experts.residency_settings import ResidencySettings
from experts.sampling_defaults import with_defaults
from prompts.templates import PromptError, PromptLibrary, PromptTemplate, read_prompt

__all__ = [
    "Capability",
    "Expert",
    "IdentitySource",
    "LocalServer",
    "Price",
    "Registry",
    "RegistryError",
    "Timeouts",
    "UnknownExpert",
    "load_registry",
]

PROMPT_FIELDS = ("system_prompt", "prompt", "mixture", "identity")
"""An arm has at most one of these; one without has `sampling`."""
ARM_FIELDS = frozenset({"name", "base", "variables", "sampling", "select", "description", *PROMPT_FIELDS})
"""The fields of an arm; all others are inherited from its base."""
UNREADABLE = "?"
"""Placeholder for the text of an invalid prompt, so that validation can continue."""


class RegistryError(Exception):
    """The registry file is invalid; `problems`: `file:line: field: problem` each."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class UnknownExpert(KeyError):
    """No expert has this name."""

    def __init__(self, name: str, known: tuple[str, ...]) -> None:
        self.message = f"unknown expert {name[:80]!r}; {suggestion(name, known)}"
        super().__init__(self.message)

    def __str__(self) -> str:
        return self.message


class Registry:
    """The experts of one file, in order, arms resolved. Immutable. `residency`: how those with `memory_gb`
    take turns; None: all are loaded."""

    def __init__(
        self,
        experts: Mapping[str, Expert],
        source: Path | None = None,
        residency: ResidencySettings | None = None,
    ) -> None:
        self.experts: Mapping[str, Expert] = MappingProxyType(dict(experts))
        self.names = tuple(self.experts)
        self.source = source
        self.residency = residency

    def get(self, name: str) -> Expert:
        """The expert of this name. Raises `UnknownExpert` with close matches."""
        try:
            return self.experts[name]
        except KeyError:
            raise UnknownExpert(name, self.names) from None

    @classmethod
    def of(cls, *experts: Expert, residency: ResidencySettings | None = None) -> "Registry":
        """A registry of experts created in code."""
        return cls({expert.name: expert for expert in experts}, residency=residency)


def load_registry(path: str | Path, *, written: bool = True) -> Registry:
    """Read and validate a registry file; unless `written`, mixture and identity files may be missing. Raises
    `RegistryError` with all problems by line."""
    path = Path(path)
    try:
        data, lines = read_yaml(path)
    except YamlProblem as problem:
        raise RegistryError((str(problem),)) from problem
    return _Reading(path, lines, written).registry(data)


class _Reading:
    """Validation of a parsed file that collects all problems."""

    def __init__(self, path: Path, lines: Lines, written: bool) -> None:
        self.path = path
        self.lines = lines
        self.written = written
        self.problems: list[tuple[int, str]] = []

    def registry(self, data: Any) -> Registry:
        entries = [self._resolved(index, entry) for index, entry in enumerate(self._entries(data))]
        where = self._names(entries)
        experts: dict[str, Expert] = {}
        # Bases first: an arm may precede its base in the file.
        for arms in (False, True):
            for index, entry in enumerate(entries):
                if isinstance(entry, dict) and ("base" in entry) is arms:
                    resolved = self._inherit(index, entry, where, entries) if arms else entry
                    if resolved is not None and (expert := self._expert(index, resolved)) is not None:
                        experts.setdefault(expert.name, expert)
        self._shared_endpoints(experts, where)
        residency = self._residency(data, experts, where)
        if self.problems:
            ordered = sorted(set(self.problems))
            raise RegistryError(tuple(f"{self.path}:{line}: {text}" for line, text in ordered))
        return Registry({name: experts[name] for name in where}, self.path, residency)

    def _say(self, loc: tuple[int | str, ...], message: str) -> None:
        self.problems.append((self.lines.of(loc), message))

    def _entries(self, data: Any) -> list[Any]:
        if not isinstance(data, dict) or "experts" not in data:
            self._say((), "the file must be a mapping with a list `experts:`")
            return []
        for key in data.keys() - {"experts", "residency"}:
            self._say((key,), f"{key}: unknown field; only `experts` and `residency` belong here")
        entries = data["experts"]
        if not isinstance(entries, list) or not entries:
            self._say(("experts",), "experts: must be a list with at least one expert")
            return []
        for index, entry in enumerate(entries):
            if not isinstance(entry, dict):
                self._say(("experts", index), "experts: each expert must be a mapping")
        return entries

    def _names(self, entries: list[Any]) -> dict[str, int]:
        where: dict[str, int] = {}
        for index, entry in enumerate(entries):
            name = entry.get("name") if isinstance(entry, dict) else None
            if not isinstance(name, str):
                continue
            if name in where:
                first = self.lines.of(("experts", where[name], "name"))
                self._say(("experts", index, "name"), f"name: {name!r} is taken on line {first}")
            else:
                where[name] = index
        return where

    def _resolved(self, index: int, entry: Any) -> Any:
        """An entry with its library prompt rendered into `system_prompt`. Invalid parts are reported and
        dropped, so that the rest is validated too."""
        if not isinstance(entry, dict):
            return entry
        given = [field for field in PROMPT_FIELDS if entry.get(field) is not None]
        for field in given[1:]:
            self._say(("experts", index, field), f"{field}: give {given[0]} or {field}, not both")
        entry = {field: value for field, value in entry.items() if field not in given[1:]}
        variables = entry.get("variables")
        if entry.get("prompt") is None:
            if variables is not None:
                self._say(("experts", index, "variables"), "variables: belong to a `prompt`")
            return {field: value for field, value in entry.items() if field not in {"prompt", "variables"}}
        try:
            prompt = self._library_prompt(entry["prompt"])
            text = prompt.render(variables if isinstance(variables, dict) else {})
        except PromptError as error:
            self._say(("experts", index, "prompt"), f"prompt: {error}")
            return {**entry, "prompt": None, "variables": {}, "system_prompt": UNREADABLE}
        return {**entry, "prompt": prompt.origin, "system_prompt": text}

    def _library_prompt(self, reference: Any) -> PromptTemplate:
        if not isinstance(reference, str):
            raise PromptError("name a prompt of the library with its version, such as writing@1, or a file")
        if reference.endswith(".yaml"):
            return read_prompt(self.path.parent / reference)
        return PromptLibrary().get(reference)

    def _inherit(
        self, index: int, entry: dict[str, Any], where: dict[str, int], entries: list[Any]
    ) -> dict[str, Any] | None:
        """The entry of an arm merged with its base's."""
        base_name = entry["base"]
        at: tuple[int | str, ...] = ("experts", index, "base")
        if not isinstance(base_name, str) or base_name not in where:
            hint = suggestion(str(base_name), where)
            self._say(at, f"base: no expert is named {str(base_name)[:80]!r}; {hint}")
            return None
        base = entries[where[base_name]]
        if "base" in base:
            self._say(at, f"base: {base_name!r} is itself an arm; name its base")
            return None
        foreign = [key for key in entry if key not in ARM_FIELDS]
        for key in foreign:
            self._say(("experts", index, key), f"{key}: an arm takes this from its base")
        given = [field for field in PROMPT_FIELDS if entry.get(field) is not None]
        if not given and not entry.get("sampling"):
            others = ", ".join(PROMPT_FIELDS)
            self._say(("experts", index), f"sampling: an arm needs sampling of its own, or one of {others}")
            return None
        if foreign:
            return None
        if not {"system_prompt", "prompt"}.isdisjoint(given):
            base = {field: base[field] for field in base if field not in {*PROMPT_FIELDS, "variables"}}
        sampling, said = entry.get("sampling", {}), base.get("sampling", {})
        if isinstance(sampling, dict) and isinstance(said, dict):
            if "n" in sampling:
                base = {field: base[field] for field in base if field != "select"}
            sampling = with_defaults(sampling, said)
        return {**base, "description": "", **entry, "sampling": sampling}

    def _expert(self, index: int, entry: dict[str, Any]) -> Expert | None:
        try:
            expert = Expert.model_validate(entry)
        except ValidationError as error:
            inherited = "base" in entry
            for detail in error.errors(include_url=False, include_input=False):
                loc = detail["loc"]
                field = loc[0] if loc else detail.get("ctx", {}).get("field")
                # Inherited fields are reported at the base.
                if inherited and field not in ARM_FIELDS:
                    continue
                # A default that depends on an invalid field, which is reported itself.
                if detail["type"] == "default_factory_not_called":
                    continue
                self._place(index, detail)
            return None
        return expert.model_copy(update=self._files_of(index, expert))

    def _files_of(self, index: int, expert: Expert) -> dict[str, Any]:
        """The paths of an entry, relative to the registry's folder; what is not there is reported."""
        here = self.path.parent
        found: dict[str, Any] = {}
        if expert.api_key_file is not None:
            found["api_key_file"] = here / expert.api_key_file
        if expert.tokenizer is not None:
            found["tokenizer"] = here / expert.tokenizer
            if not found["tokenizer"].exists():
                self._say(
                    ("experts", index, "tokenizer"),
                    f"tokenizer: {found['tokenizer']}: no such file or folder",
                )
        if expert.mixture is not None:
            found["mixture"] = here / expert.mixture
            if self.written and not found["mixture"].is_dir():
                self._say(
                    ("experts", index, "mixture"),
                    f"mixture: {found['mixture']}: no such folder; build it with `coterie prompts build`",
                )
        if expert.identity is not None:
            file = here / expert.identity.file
            found["identity"] = expert.identity.model_copy(update={"file": file})
            if self.written and not file.is_file():
                self._say(
                    ("experts", index, "identity", "file"),
                    f"identity.file: {file}: no such file; write it with `coterie prompts identity`",
                )
        return found

    def _place(self, index: int, detail: ErrorDetails) -> None:
        loc = detail["loc"]
        if detail["type"] == "misfit":
            loc = (*loc, detail["ctx"]["field"])
        field = ".".join(str(part) for part in loc) or "expert"
        self._say(("experts", index, *loc), f"{field}: {_in_words(detail)}")

    def _residency(
        self, data: Any, experts: Mapping[str, Expert], where: Mapping[str, int]
    ) -> ResidencySettings | None:
        """The section `residency`, when it and the experts who take turns agree."""
        if not isinstance(data, dict) or data.get("residency") is None:
            return None
        try:
            settings = ResidencySettings.model_validate(data["residency"])
        except ValidationError as error:
            for detail in error.errors(include_url=False, include_input=False):
                loc = ("residency", *detail["loc"])
                self._say(loc, f"{'.'.join(map(str, loc))}: {_in_words(detail, ResidencySettings)}")
            return None
        for expert in experts.values():
            if expert.memory_gb is None or expert.base is not None:
                continue
            at: tuple[int | str, ...] = ("experts", where[expert.name], "memory_gb")
            if expert.memory_gb > settings.memory_gb:
                self._say(at, f"memory_gb: more than the {settings.memory_gb:g} GB of residency.memory_gb")
            if settings.leaves == "stopped" and expert.local is None:
                self._say(
                    at, "memory_gb: `leaves: stopped` needs a `local` block, by which it is started again"
                )
        if not any(expert.memory_gb is not None for expert in experts.values()):
            self._say(("residency",), "residency: no expert has memory_gb, so none takes turns")
        return settings

    def _shared_endpoints(self, experts: dict[str, Expert], where: dict[str, int]) -> None:
        """Experts behind one endpoint share its queue, replicas and memory, so these must be equal."""
        first: dict[str, Expert] = {}
        for expert in experts.values():
            if expert.endpoint is None:
                continue
            for endpoint in expert.endpoints:
                other = first.setdefault(endpoint, expert)
                if other.endpoints != expert.endpoints:
                    self._say(
                        ("experts", where[expert.name], "replicas"),
                        f"replicas: {expert.name} and {other.name} share an endpoint and must have the same "
                        "endpoint and replicas, in the same order",
                    )
                    break
            other = first[expert.endpoint]
            if (other.max_in_flight, other.max_queued) != (expert.max_in_flight, expert.max_queued):
                self._say(
                    ("experts", where[expert.name], "max_in_flight"),
                    f"max_in_flight: {expert.name} and {other.name} share an endpoint and must have the same "
                    "max_in_flight and max_queued",
                )
            if (other.memory_gb, other.weights_gb) != (expert.memory_gb, expert.weights_gb):
                self._say(
                    ("experts", where[expert.name], "memory_gb"),
                    f"memory_gb: {expert.name} and {other.name} share a server and must have the "
                    "same memory_gb and weights_gb",
                )


_WORDS: Mapping[str, str] = {
    "missing": "is required",
    "greater_than": "must be greater than {gt:g}",
    "greater_than_equal": "must be at least {ge:g}",
    "less_than_equal": "must be at most {le:g}",
    "string_type": "must be text",
    "string_too_short": "must not be empty",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "literal_error": "must be one of {expected}",
    "string_pattern_mismatch": "must match {pattern}",
    "model_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "path_type": "must be a path",
}
_NESTED: Mapping[str, type[BaseModel]] = {
    "price": Price,
    "timeouts": Timeouts,
    "local": LocalServer,
    "hedge": Hedge,
    "identity": IdentitySource,
}
_SECRET_FIELD = re.compile(r"key|token|secret|password|auth", re.IGNORECASE)


def _in_words(detail: ErrorDetails, model: type[BaseModel] = Expert) -> str:
    """A pydantic error of `model` as text, without the input, which might be a secret."""
    if detail["type"] == "extra_forbidden":
        field = str(detail["loc"][-1])
        if len(detail["loc"]) == 1 and _SECRET_FIELD.search(field) and not field.startswith("api_key_"):
            if model is not Expert:
                return "secrets never go into YAML; name an environment variable in key_env"
            return "secrets never go into YAML; name an environment variable in api_key_env, or api_key_file"
        known = _NESTED.get(str(detail["loc"][0]), model).model_fields
        return f"unknown field; {suggestion(field, known)}"
    template = _WORDS.get(detail["type"])
    return template.format(**detail.get("ctx", {})) if template else detail["msg"]
