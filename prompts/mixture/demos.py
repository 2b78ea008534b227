"""Demonstrations: an input with its expected output, read from JSONL and validated."""

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from base.jsonl import JsonlError, parse_row, read_lines
from prompts.mixture.answer_metrics import METRICS, MetricName

MAX_LISTED = 5
"""Invalid lines that an error lists."""


class DemoError(Exception):
    """Unusable demos; the message names file, line and remedy."""


@dataclass(frozen=True, slots=True)
class Demo:
    """One example; both texts are not blank."""

    input: str
    output: str


def read_demos(path: Path) -> tuple[Demo, ...]:
    """The distinct demos of a JSONL file of objects with `input` and `output`. Raises DemoError."""
    try:
        numbered = read_lines(path)
    except JsonlError as error:
        raise DemoError(str(error)) from error
    if not numbered:
        raise DemoError(f'{path}: holds no demos: one {{"input": ..., "output": ...}} a line')
    demos, places, wrong = [], [], []
    for place, line in numbered:
        try:
            demos.append(_demo(line, place))
            places.append(place)
        except DemoError as error:
            wrong.append(str(error))
    if len(wrong) == len(numbered) and numbered[0][1].lstrip().startswith("["):
        raise DemoError(f"{path}: is one JSON array: write each of its objects on a line of its own (JSONL)")
    if wrong:
        raise DemoError(_listed(wrong))
    return distinct(demos, places)


def distinct(demos: Sequence[Demo], places: Sequence[str] | None = None) -> tuple[Demo, ...]:
    """`demos` without duplicates (compared stripped), in order; `places` names them in errors. Raises
    DemoError when one input has two outputs or a text is blank."""
    places = places or [f"demo {number}" for number in range(1, len(demos) + 1)]
    first: dict[str, tuple[Demo, str]] = {}
    wrong = []
    for demo, place in zip(demos, places, strict=True):
        if (problem := _problem(demo)) is not None:
            wrong.append(f"{place}: {problem}")
            continue
        known, known_place = first.setdefault(demo.input.strip(), (demo, place))
        if known.output.strip() != demo.output.strip():
            wrong.append(
                f"{place}: has the input of {known_place} but another output: keep the one that is right"
            )
    if wrong:
        raise DemoError(_listed(wrong))
    return tuple(demo for demo, _ in first.values())


def check_buildable(demos: Sequence[Demo], least: int) -> None:
    """Raises DemoError when there are fewer than `least` demos or all have the same output."""
    if len(demos) < least:
        raise DemoError(
            f"{len(demos)} different demos are too few: at least {least} are needed to choose prompts by, "
            "a hundred are better"
        )
    if len({demo.output.strip() for demo in demos}) == 1:
        raise DemoError("every demo has the same output: there is nothing to tell apart; add other answers")


def check_scorable(demos: Sequence[Demo], metric: MetricName) -> None:
    """Raises DemoError when `metric` scores some demo's own output as wrong."""
    scored = METRICS[metric]
    wrong = sum(not scored(demo.output, demo.output) for demo in demos)
    if wrong:
        lacking = _LACKING.get(metric, "is never right")
        raise DemoError(
            f"the metric {metric} cannot score {wrong} of {len(demos)} demos, whose output {lacking}: choose "
            "another metric, or mend these outputs"
        )


_LACKING = {"numeric": "has no number", "choice": "is no letter of a choice"}


def are_labels(demos: Sequence[Demo]) -> bool:
    """Whether the outputs are class labels: few distinct ones."""
    return len({demo.output.strip() for demo in demos}) <= max(2, len(demos) // 5)


def counts_of_outputs(demos: Sequence[Demo]) -> Counter[str]:
    """Frequency of each stripped output."""
    return Counter(demo.output.strip() for demo in demos)


def demos_digest(demos: Sequence[Demo]) -> str:
    """SHA-256 of the demos in order."""
    document = json.dumps([[demo.input, demo.output] for demo in demos])
    return hashlib.sha256(document.encode()).hexdigest()


def _listed(wrong: Sequence[str]) -> str:
    more = len(wrong) - MAX_LISTED
    return "\n".join([*wrong[:MAX_LISTED], *([f"and {more} more such lines"] if more > 0 else [])])


def _problem(demo: Demo) -> str | None:
    for field, value in (("input", demo.input), ("output", demo.output)):
        if not value.strip():
            return f"{field}: must be text and not empty"
        try:
            value.encode()
        except UnicodeEncodeError:
            return f"{field}: holds half a surrogate pair, which is no text"
    return None


def _demo(line: str, place: str) -> Demo:
    try:
        data = parse_row(line, place)
    except JsonlError as error:
        raise DemoError(f'{error}: one {{"input": ..., "output": ...}} a line') from error
    for field in ("input", "output"):
        if field not in data:
            raise DemoError(f"{place}: {field}: is missing{_others(data)}")
        if not isinstance(data[field], str):
            raise DemoError(f"{place}: {field}: must be text, in quotes, not {_KINDS[type(data[field])]}")
    return Demo(data["input"], data["output"])


_KINDS = {
    bool: "true or false",
    int: "a number",
    float: "a number",
    type(None): "null",
    list: "a list",
    dict: "an object",
}


def _others(names: Iterable[str]) -> str:
    """The other fields, if they are few and short."""
    found = [name for name in names if name not in {"input", "output"}]
    shown = 0 < len(found) <= MAX_LISTED and all(name.isidentifier() and len(name) <= 20 for name in found)
    return f" (there is {', '.join(found)})" if shown else ""
