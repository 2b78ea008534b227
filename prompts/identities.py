"""Expert identities after ExpertPrompting (arXiv 2305.14688): a second-person description of the ideal
expert, written by the model from few-shot examples and put in front of the request.

There is one per category, kept in a file, or one written for each request. The file also holds measurements:
only categories in which identities won are served. How a model is called is not known here.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from base.files import write_text
from base.strict_model import StrictModel
from base.yaml_lines import YamlProblem, read_yaml
from prompts.seeds import Category
from prompts.templates import PromptLibrary, PromptTemplate

PROMPT = "identity@1"
"""The library prompt that asks for an identity."""
BETWEEN_PARTS = "\n---\n"
"""Separates, in that prompt: instruction, label of the request, then alternating examples and identities."""
MAX_TOKENS = 160
MAX_CHARACTERS = 1_000
MAX_SENTENCES = 4
REQUEST_HEAD, REQUEST_TAIL = 4_000, 1_500
"""Characters that are shown of both ends of a long request."""
EXAMPLES = 4
"""Example requests shown when a category's identity is written."""
EXAMPLE_CHARACTERS = 300

Per = Literal["category", "request"]
"""One identity per category, or one written for each request."""
Share = Annotated[float, Field(ge=0, le=1)]

_FIRST_YOU = re.compile(r"(?:\A|[\s\"'*_(])((?:You are|You.re) (?:an?|the|one of)\b|As an? )")
_SENTENCE_END = re.compile(r"[.!?][\"')]?(?=\s|\Z)")


class IdentityError(Exception):
    """An identity or a file of them cannot be used; the message says why, without text of a request."""


class Identity(StrictModel):
    """The identity of a category."""

    category: str = Field(pattern=r"^[a-z]+$")
    text: str = Field(min_length=1, max_length=MAX_CHARACTERS, pattern=r"\S")

    @property
    def hash(self) -> str:
        return text_hash(self.text)


class IdentityEffect(StrictModel):
    """Scores of one category with and without identities on the same prompts; `low`..`high` is the confidence
    interval of the `difference`."""

    category: str = Field(pattern=r"^[a-z]+$")
    prompts: int = Field(ge=1)
    without: Share
    with_identity: Share
    difference: float = Field(ge=-1, le=1)
    low: float = Field(ge=-1, le=1)
    high: float = Field(ge=-1, le=1)
    kept: bool


class Measurement(StrictModel):
    """A result of `coterie eval personas`; `of` is the digest of what was measured."""

    per: Per
    of: str
    suite: str
    """Digest of the validation prompts."""
    confidence: float = Field(gt=0, lt=1)
    results: tuple[IdentityEffect, ...] = Field(min_length=1)


class Identities(StrictModel):
    """The identities of one expert's model, with their measurements."""

    expert: str = Field(min_length=1)
    """The expert that wrote them and answered in the measurements."""
    prompt: str = Field(pattern=r"^[a-z][a-z0-9-]*@[1-9][0-9]*$")
    prompt_hash: str
    """Hash of the prompt that asked for them."""
    identities: tuple[Identity, ...] = ()
    measured: tuple[Measurement, ...] = ()

    @model_validator(mode="after")
    def _check_unique(self) -> Self:
        for field, names in (
            ("identities", [each.category for each in self.identities]),
            ("measured", [str(each.per) for each in self.measured]),
        ):
            if twice := sorted({name for name in names if names.count(name) > 1}):
                raise PydanticCustomError(
                    "twice", "{field}: {name} is there twice", {"field": field, "name": twice[0]}
                )
        return self

    @property
    def digest(self) -> str:
        """Hash of the texts and of the prompt that asked for them."""
        document = [self.prompt_hash, *([each.category, each.text] for each in self.identities)]
        return text_hash(json.dumps(document, ensure_ascii=False))

    def of(self, category: str) -> Identity | None:
        """The identity of `category`, measured or not."""
        return next((each for each in self.identities if each.category == category), None)

    def subject(self, per: Per) -> str:
        """The digest of what is measured: the texts, or the prompt that writes one per request."""
        return self.digest if per == "category" else self.prompt_hash

    def measurement(self, per: Per) -> Measurement | None:
        """The measurement of this variant, unless outdated."""
        return next((m for m in self.measured if m.per == per and m.of == self.subject(per)), None)

    def kept(self, per: Per) -> frozenset[str]:
        """The categories in which identities won; none before a measurement."""
        measurement = self.measurement(per)
        return frozenset(each.category for each in (measurement.results if measurement else ()) if each.kept)

    def with_measurement(self, measurement: Measurement) -> "Identities":
        """Replace the measurement of this variant. Older results of other categories are kept if texts,
        prompts and confidence are the same."""
        others = tuple(each for each in self.measured if each.per != measurement.per)
        older = self.measurement(measurement.per)
        if older is not None and all(
            getattr(older, name) == getattr(measurement, name) for name in ("of", "suite", "confidence")
        ):
            now = {each.category for each in measurement.results}
            stay = (each for each in older.results if each.category not in now)
            results = sorted((*stay, *measurement.results), key=lambda each: each.category)
            measurement = measurement.model_copy(update={"results": tuple(results)})
        return self.model_copy(update={"measured": (*others, measurement)})


def text_hash(text: str) -> str:
    """The first 16 hex digits of SHA-256."""
    return hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()[:16]


@cache
def identity_prompt() -> PromptTemplate:
    """The library prompt that asks for an identity. Raises PromptError."""
    return PromptLibrary().get(PROMPT)


def new_identities(expert: str, identities: Sequence[Identity] = ()) -> Identities:
    """Unmeasured identities of the current prompt."""
    prompt = identity_prompt()
    return Identities(
        expert=expert, prompt=prompt.reference, prompt_hash=prompt.hash, identities=tuple(identities)
    )


def identity_messages(request: str) -> list[dict[str, str]]:
    """Messages that ask for the identity of one request."""
    if len(request) > REQUEST_HEAD + REQUEST_TAIL:
        request = f"{request[:REQUEST_HEAD]}\n…\n{request[-REQUEST_TAIL:]}"
    instruction, lead, *shown = identity_prompt().render().split(BETWEEN_PARTS)
    messages = [{"role": "system", "content": instruction}]
    for example, expert in zip(shown[::2], shown[1::2], strict=True):
        messages.append({"role": "user", "content": f"{lead} {example}"})
        messages.append({"role": "assistant", "content": expert})
    return [*messages, {"role": "user", "content": f"{lead} {request}"}]


def category_request(category: Category, examples: Sequence[str]) -> str:
    """A category as one request: its definition and a few examples."""
    shown = "\n".join(f"- {' '.join(each.split())[:EXAMPLE_CHARACTERS]}" for each in examples[:EXAMPLES])
    return f"Any request of this kind: {category.definition} For example:\n{shown}"


def read_identity(reply: str) -> str:
    """The identity in a reply: its first second-person paragraph, cut to whole sentences. Raises
    IdentityError if there is none."""
    # Models tend to continue with the next example.
    text = re.split(r"\n\s*Request\s*:", reply, maxsplit=1)[0]
    paragraphs = [" ".join(each.split()) for each in re.split(r"\n\s*\n", text)]
    for paragraph in paragraphs:
        found = _FIRST_YOU.search(paragraph)
        if found is None or found.start(1) > 60:
            continue
        said = paragraph[found.start(1) :][:MAX_CHARACTERS]
        ends = [match.end() for match in _SENTENCE_END.finditer(said)]
        if ends:
            return said[: ends[:MAX_SENTENCES][-1]]
    raise IdentityError("the model wrote no description of an expert, in the second person")


def load_identities(path: Path) -> Identities:
    """Read and validate a file. Raises IdentityError with `file:line: field: problem` lines."""
    try:
        data, lines = read_yaml(path)
    except YamlProblem as problem:
        raise IdentityError(str(problem)) from problem
    try:
        return Identities.model_validate(data)
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        places = [(lines.of(each["loc"]), ".".join(map(str, each["loc"])), each["msg"]) for each in found]
        said = [f"{path}:{line}: {field or 'identities'}: {message}" for line, field, message in places]
        raise IdentityError("\n".join(said)) from None


def save_identities(identities: Identities, path: Path) -> None:
    """Write the file atomically."""
    import yaml

    document = yaml.safe_dump(
        identities.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=100
    )
    heading = "# Written by `coterie prompts identity`, measured by `coterie eval personas`.\n"
    write_text(heading + document, path)
