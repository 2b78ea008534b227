"""Operators' rules, from the YAML file that COTERIE_RULES names.

    rules:
      - name: invoices            # what decisions, logs and /v1/composition show
        keywords: [invoice, refund]   # any of them, whole words, any case
        pattern: 'DE\\d{4}'            # a regular expression, searched
        language: [de, fr]        # what the last user turn is written in
        headers: {x-team: billing}
        api_key: desk             # the key's label
        expert: large             # or `category: law`
        strategy: panel           # how many experts answer; alone, it leaves open who

Every condition that a rule has must hold; the first rule that matches is taken, before stage 1 and
after a client's own pin.
"""

import re
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import BeforeValidator, Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from app.serving.request_parsing import SECRET_HEADERS
from base.strict_model import StrictModel
from base.suggestions import suggestion
from base.yaml_lines import Lines, YamlProblem, read_yaml

if TYPE_CHECKING:
    from routers.policy import Rule

RULES = 1_000


class RulesError(Exception):
    """The rules cannot be used; the message is `file:line: what is wrong`."""


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


Word = Annotated[str, Field(min_length=1, max_length=256, pattern=r"\S")]
Words = Annotated[tuple[Word, ...], BeforeValidator(_listed)]


class _RuleEntry(StrictModel):
    """One rule as it is written."""

    name: Word
    keywords: Words = ()
    pattern: Annotated[str, Field(min_length=1, max_length=4_096)] | None = None
    language: Words = ()
    headers: dict[Word, str] = Field(default_factory=dict)
    api_key: Word | None = None
    expert: Word | None = None
    category: Word | None = None
    strategy: Word | None = None

    @model_validator(mode="after")
    def _headers_can_be_seen(self) -> Self:
        for header in self.headers:
            if header.lower() in SECRET_HEADERS:
                raise PydanticCustomError(
                    "headers", "the header {name} holds secrets; match on api_key", {"name": header}
                )
            if header.lower() == "api_key":
                raise PydanticCustomError("headers", "match on api_key, beside headers")
        return self


class _RulesFile(StrictModel):
    rules: Annotated[tuple[_RuleEntry, ...], Field(max_length=RULES)] = ()


def load_rules(
    path: Path,
    experts: Collection[str],
    categories: Collection[str],
    api_keys: Collection[str],
    strategies: Collection[str] | None = None,
) -> "tuple[Rule, ...]":
    """The rules of `path` in their order, for a composition of these experts and categories, and callers
    with these labels.

    Raises RulesError for anything unknown, missing or impossible, with the line.
    """
    try:
        data, lines = read_yaml(path)
    except YamlProblem as error:
        raise RulesError(str(error)) from error
    try:
        entries = _RulesFile.model_validate({} if data is None else data).rules
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"] if step != "rules")
        said = "unknown field" if first["type"] == "extra_forbidden" else first["msg"]
        raise RulesError(
            f"{path}:{lines.of(first['loc'])}: {where}: {said}"
            if where
            else f"{path}:1: expected `rules:` and a list: {said}"
        ) from error
    seen: dict[str, int] = {}
    rules = []
    for index, entry in enumerate(entries):
        line = lines.of(("rules", index, "name"))
        if entry.name in seen:
            raise RulesError(f"{path}:{line}: name: {entry.name!r} is on line {seen[entry.name]} already")
        seen[entry.name] = line
        for kind, name, owner, known in (
            ("expert", entry.expert, "the composition has no expert", experts),
            ("category", entry.category, "the composition has no category", categories),
            ("api_key", entry.api_key, "no API key is labelled", api_keys),
            ("strategy", entry.strategy, "there is no strategy", strategies),
        ):
            if name is not None and known is not None and name not in known:
                at = lines.of(("rules", index, kind))
                raise RulesError(f"{path}:{at}: {kind}: {owner} {name!r}; {suggestion(name, known)}")
        rules.append(_rule(path, lines, index, entry))
    return tuple(rules)


def _rule(path: Path, lines: Lines, index: int, entry: _RuleEntry) -> "Rule":
    from routers.policy import Rule

    try:
        pattern = None if entry.pattern is None else re.compile(entry.pattern)
    except (re.error, OverflowError, RecursionError) as error:
        at = lines.of(("rules", index, "pattern"))
        raise RulesError(f"{path}:{at}: pattern: no regular expression: {error}") from error
    attributes = {name.lower(): value for name, value in entry.headers.items()}
    if entry.api_key is not None:
        attributes["api_key"] = entry.api_key
    try:
        return Rule(
            name=entry.name,
            keywords=entry.keywords,
            pattern=pattern,
            attributes=attributes or None,
            languages=tuple(each.lower() for each in entry.language),
            expert=entry.expert,
            category=entry.category,
            strategy=entry.strategy,
        )
    except ValueError as error:
        raise RulesError(f"{path}:{lines.of(('rules', index))}: {error}") from error
