"""Demonstrations: an input and the output that was wanted. Read from JSONL, checked before anything is paid.

Knows nothing of models.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


class DemoError(Exception):
    """Demos that nothing can be built from; the message says which file and line, and what to do."""


@dataclass(frozen=True, slots=True)
class Demo:
    """One example: what is asked, and the answer that was wanted. Both are text with something in it."""

    input: str
    output: str


def read_demos(path: Path) -> tuple[Demo, ...]:
    """The demos of a JSONL file, one object with `input` and `output` a line; repeats count once.

    Further fields are ignored.

    Raises:
        DemoError: no such file, a line that is no demo, or two lines that contradict each other.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DemoError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DemoError(f"{path}: is not UTF-8 text") from error
    # Not `splitlines`: a JSON string may hold other separators than the line feed.
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    if not lines:
        raise DemoError(f'{path}: holds no demos: one {{"input": ..., "output": ...}} a line')
    demos = [_demo(line, f"{path}:{number}") for number, line in lines]
    places = [f"{path}:{number}" for number, _ in lines]
    return distinct(demos, places)


def distinct(demos: Sequence[Demo], places: Sequence[str] | None = None) -> tuple[Demo, ...]:
    """`demos` in their order without repeats. Blanks at either end of a text tell nothing apart.

    Raises DemoError when one input has two outputs or a text is none; `places` says where each came from.
    """
    places = places or [f"demo {number}" for number in range(1, len(demos) + 1)]
    first: dict[str, tuple[Demo, str]] = {}
    for demo, place in zip(demos, places, strict=True):
        _check_text(demo, place)
        known, known_place = first.setdefault(demo.input.strip(), (demo, place))
        if known.output.strip() != demo.output.strip():
            raise DemoError(
                f"{place}: has the input of {known_place} but another output: keep the one that is right"
            )
    return tuple(demo for demo, _ in first.values())


def check_buildable(demos: Sequence[Demo], least: int) -> None:
    """Raises DemoError when `demos` are fewer than `least`, or all want the same output."""
    if len(demos) < least:
        raise DemoError(
            f"{len(demos)} different demos are too few: at least {least} are needed to choose prompts by, "
            "a hundred are better"
        )
    if len({demo.output.strip() for demo in demos}) == 1:
        raise DemoError("every demo has the same output: there is nothing to tell apart; add other answers")


def are_labels(demos: Sequence[Demo]) -> bool:
    """Whether the outputs are a few labels that come again and again, as in classification."""
    return len({demo.output.strip() for demo in demos}) <= max(2, len(demos) // 5)


def counts_of_outputs(demos: Sequence[Demo]) -> Counter[str]:
    """How often each output comes, without blanks at its ends."""
    return Counter(demo.output.strip() for demo in demos)


def demos_digest(demos: Sequence[Demo]) -> str:
    """SHA-256 of demos in their order."""
    document = json.dumps([[demo.input, demo.output] for demo in demos])
    return hashlib.sha256(document.encode()).hexdigest()


def _check_text(demo: Demo, place: str) -> None:
    for field, value in (("input", demo.input), ("output", demo.output)):
        if not value.strip():
            raise DemoError(f"{place}: {field}: must be text and not empty")
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise DemoError(f"{place}: {field}: holds half a surrogate pair, which is no text") from error


def _demo(line: str, place: str) -> Demo:
    try:
        data: Any = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DemoError(f"{place}: is not JSON: {error}") from error
    if not isinstance(data, dict):
        raise DemoError(f'{place}: must be an object with "input" and "output"')
    for field in ("input", "output"):
        if not isinstance(data.get(field), str):
            raise DemoError(f"{place}: {field}: must be text and not empty")
    return Demo(data["input"], data["output"])
