"""The built-in categories and their seed prompts, read from the files beside this module."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from base.jsonl import JsonlError, read_rows
from base.strict_model import StrictModel
from base.text_files import TextFileError, read_text
from base.validation_messages import problems_of

HERE = Path(__file__).resolve().parent

Split = Literal["fit", "test"]
"""`fit` prompts train routers, `test` prompts evaluate them."""
Trait = Literal[
    "short",
    "long",
    "casual",
    "formal",
    "typos",
    "multi-part",
    "code",
    "table",
    "data",
    "quoted",
    "border",
    "non-native",
    "other-language",
]


class PromptsError(Exception):
    """A file of prompts or categories is invalid; the message names file, line and problem."""


class Seed(StrictModel):
    """A seed prompt with its category."""

    id: Annotated[str, Field(pattern=r"^[a-z]+-(fit|test)-\d{3}$")]
    category: str
    prompt: Annotated[str, Field(min_length=1, pattern=r"\S")]
    traits: tuple[Trait, ...] = ()


class Category(StrictModel):
    """A category: the name in decisions, title and definition."""

    name: Annotated[str, Field(pattern=r"^[a-z]+$")]
    title: Annotated[str, Field(min_length=1)]
    definition: Annotated[str, Field(min_length=1)]


def load_categories(path: Path = HERE / "categories.yaml") -> list[Category]:
    """The categories in order of precedence: a request belongs to the first that applies. Raises
    PromptsError."""

    import yaml

    try:
        data: Any = yaml.safe_load(read_text(path))
    except (TextFileError, yaml.YAMLError) as error:
        raise PromptsError(f"{path}: cannot be read: {error}") from error
    listed = data.get("categories") if isinstance(data, dict) else None
    if not isinstance(listed, list) or not listed:
        raise PromptsError(f"{path}: must hold a list `categories`")
    try:
        categories = [Category.model_validate(each) for each in listed]
    except ValidationError as error:
        raise PromptsError(f"{path}: {problems_of(error, 'the entry')[0]}") from error
    names = [category.name for category in categories]
    if len(set(names)) < len(names):
        raise PromptsError(f"{path}: a category is named twice")
    return categories


def load_seeds(split: Split, folder: Path = HERE / "seeds") -> list[Seed]:
    """The seed prompts of one split, from `<folder>/<split>/<category>.jsonl`. Raises PromptsError."""
    files = sorted((folder / split).glob("*.jsonl"))
    if not files:
        raise PromptsError(f"{folder / split}: holds no .jsonl file")
    return [seed for file in files for seed in _read(file)]


def _read(file: Path) -> list[Seed]:
    try:
        rows = read_rows(file)
    except JsonlError as error:
        raise PromptsError(str(error)) from error
    seeds = []
    for place, row in rows:
        try:
            seeds.append(Seed.model_validate({**row, "category": file.stem}))
        except ValidationError as error:
            raise PromptsError(f"{place}: {problems_of(error, 'the line')[0]}") from error
    return seeds
