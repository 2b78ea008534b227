"""Judge prompts, built in or from files of MT-Bench or Arena-Hard, by kind of judgment: grading or
comparison, with or without reference, after one turn or two."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from base.files import file_digest
from base.jsonl import JsonlError, read_rows
from base.yaml_lines import YamlProblem, read_yaml
from eval.errors import EvalError


class PromptFileError(EvalError):
    """A file of judge prompts is invalid; the message says why."""


class Scale(Enum):
    """A rating from 1 to 10, a three-way or a five-way comparison."""

    RATING = "rating"
    THREE = "three"
    FIVE = "five"


@dataclass(frozen=True, slots=True)
class Kind:
    """`reference`: with a reference answer; `second`: of the second turn."""

    scale: Scale
    reference: bool = False
    second: bool = False


@dataclass(frozen=True, slots=True)
class JudgePrompt:
    """`user` has the placeholders of `NAMES`; `structured`: the text leaves the format of the verdict open,
    so that a JSON schema can be used."""

    system: str
    user: str
    structured: bool = False

    def render(self, values: Mapping[str, str], ending: str = "") -> list[dict[str, str]]:
        """The messages; only known placeholders are replaced, in one pass."""

        def fill(match: re.Match[str]) -> str:
            return values.get(NAMES[match.group(1)], "")

        user = _PLACE.sub(fill, self.user)
        system = [{"role": "system", "content": self.system}] if self.system.strip() else []
        return [*system, {"role": "user", "content": f"{user}\n\n{ending}" if ending else user}]


NAMES: Mapping[str, str] = {
    "question": "question_1", "question_1": "question_1", "question_2": "question_2",
    "QUESTION": "question_1",
    "answer": "answer_a_1", "answer_a": "answer_a_1", "answer_b": "answer_b_1",
    "answer_a_1": "answer_a_1", "answer_a_2": "answer_a_2",
    "answer_b_1": "answer_b_1", "answer_b_2": "answer_b_2",
    "ANSWER_A": "answer_a_1", "ANSWER_B": "answer_b_1",
    "ref_answer_1": "reference_1", "ref_answer_2": "reference_2",
    "reference_1": "reference_1", "reference_2": "reference_2",
}  # fmt: skip
"""Placeholders, upstream's and ours, with their values. `{answer_1}` and `{answer_2}` are two turns in
MT-Bench and two assistants in Arena-Hard, so the readers rename them."""
_PLACE = re.compile(r"\{(" + "|".join(NAMES) + r")\}")

FORMATS: Mapping[Scale, str] = {
    Scale.RATING: (
        "First explain your view in a few sentences. Then end with your rating, a whole number from 1 to 10, "
        "in double square brackets, like this: Rating: [[N]]"
    ),
    Scale.THREE: (
        "First explain your view in a few sentences. Then end with your verdict in double square brackets: "
        "[[A]] when A is better, [[B]] when B is better, [[C]] when neither is."
    ),
    Scale.FIVE: (
        "First explain your view in a few sentences. Then end with exactly one of these verdicts in double "
        "square brackets: [[A>>B]] A is much better, [[A>B]] A is a little better, [[A=B]] they are about "
        "equal, [[B>A]] B is a little better, [[B>>A]] B is much better."
    ),
}
BRIEF: Mapping[Scale, str] = {
    Scale.RATING: "Reply with nothing but your rating, a whole number from 1 to 10, like this: [[N]]",
    Scale.THREE: "Reply with nothing but your verdict: [[A]], [[B]] or, when neither is better, [[C]].",
    Scale.FIVE: "Reply with nothing but one of [[A>>B]], [[A>B]], [[A=B]], [[B>A]], [[B>>A]].",
}
LABELS: Mapping[Scale, tuple[str, ...]] = {
    Scale.THREE: ("A>B", "B>A", "A=B"),
    Scale.FIVE: ("A>>B", "A>B", "A=B", "B>A", "B>>A"),
}

_GRADE = (
    "You grade answers of an AI assistant, fairly and strictly. Ask of the answer: is it right, does it do "
    "what was asked, is it complete, clear and well made? Use the whole scale: 1 is useless or wrong, 5 is "
    "half right, 10 could hardly be better. Length by itself is worth nothing."
)
_COMPARE = (
    "You compare two answers of AI assistants to the same request, fairly. Ask of each: is it right, does it "
    "do what was asked, is it complete, clear and well made? Errors weigh more than style. The order in "
    "which the answers stand, their length and any names in them must not count."
)
_REFERENCE = " A correct reference answer is given: compare with it first, and point out mistakes."
_SECOND = " Judge the answer to the second request; the first is there so that you understand it."


def _own(kind: Kind) -> JudgePrompt:
    pair = kind.scale is not Scale.RATING
    system = _COMPARE if pair else _GRADE
    system += _REFERENCE if kind.reference else ""
    system += _SECOND if kind.second else ""
    parts = []
    turns = (1, 2) if kind.second else (1,)
    for turn in turns:
        parts.append(_block(f"request {turn}" if kind.second else "request", f"question_{turn}"))
        if kind.reference:
            parts.append(_block(f"reference answer {turn}", f"reference_{turn}"))
        if not pair:
            parts.append(_block(f"answer {turn}" if kind.second else "answer", f"answer_a_{turn}"))
    for side in "ab" if pair else "":
        for turn in turns:
            name = f"answer of {side.upper()}" + (f" to request {turn}" if kind.second else "")
            parts.append(_block(name, f"answer_{side}_{turn}"))
    return JudgePrompt(system, "\n\n".join(parts), structured=True)


def _block(name: str, place: str) -> str:
    return f"=== {name} ===\n{{{place}}}\n=== end of {name} ==="


@dataclass(frozen=True, slots=True)
class JudgePrompts:
    """Prompts by kind of judgment; `by_category`: system prompts for categories of questions."""

    source: str
    digest: str
    by_kind: Mapping[Kind, JudgePrompt]
    by_category: Mapping[str, str]

    def of(self, kind: Kind, category: str = "") -> JudgePrompt:
        """The prompt for a kind of judgment. Raises PromptFileError if there is none."""
        prompt = self.by_kind.get(kind)
        if prompt is None:
            about = "with a reference answer" if kind.reference else "without a reference answer"
            turn = "the second turn" if kind.second else "one turn"
            raise PromptFileError(
                f"{self.source} has no prompt for judging {turn} {about} on the scale {kind.scale.value}"
            )
        system = self.by_category.get(category)
        return prompt if system is None else JudgePrompt(system, prompt.user, prompt.structured)


def own_prompts() -> JudgePrompts:
    """The built-in prompts."""
    kinds = [Kind(scale, ref, second) for scale in Scale for ref in (False, True) for second in (False, True)]
    prompts = {kind: _own(kind) for kind in kinds}
    text = json.dumps(
        [
            *([p.system, p.user] for p in prompts.values()),
            *FORMATS.values(),
            *BRIEF.values(),
        ]
    )
    return JudgePrompts("own", hashlib.sha256(text.encode()).hexdigest(), prompts, {})


def read_prompts(path: Path) -> JudgePrompts:
    """Prompts from MT-Bench's JSONL (FastChat's `judge_prompts.jsonl`) or Arena-Hard's YAML (`system_prompt`
    or `system_prompts` by category, and `prompt_template`). Raises PromptFileError."""
    if path.suffix in {".yaml", ".yml"}:
        prompts, by_category = _arena_hard(path)
    else:
        prompts, by_category = _mt_bench(path), {}
    return JudgePrompts(str(path), file_digest(path), prompts, by_category)


def _mt_bench(path: Path) -> dict[Kind, JudgePrompt]:
    found: dict[Kind, JudgePrompt] = {}
    try:
        rows = read_rows(path)
    except JsonlError as error:
        raise PromptFileError(str(error)) from error
    for place, row in rows:
        try:
            name, mode, system, user = (
                str(row[key]) for key in ("name", "type", "system_prompt", "prompt_template")
            )
            scale = {"single": Scale.RATING, "pairwise": Scale.THREE}[mode]
        except (KeyError, TypeError) as error:
            raise PromptFileError(
                f"{place}: needs name, type (single or pairwise), system_prompt and prompt_template"
            ) from error
        if scale is Scale.RATING:
            user = user.replace("{answer_1}", "{answer_a_1}").replace("{answer_2}", "{answer_a_2}")
        kind = Kind(scale, reference="{ref_answer_1}" in user, second="{question_2}" in user)
        if kind in found:
            raise PromptFileError(f"{place}: {name!r} is the second prompt of its kind")
        found[kind] = JudgePrompt(system, user)
    if not found:
        raise PromptFileError(f"{path}: holds no prompt")
    return found


def _arena_hard(path: Path) -> tuple[dict[Kind, JudgePrompt], dict[str, str]]:
    try:
        document, _ = read_yaml(path)
    except YamlProblem as error:
        raise PromptFileError(str(error)) from error
    document = document if isinstance(document, dict) else {}
    template = document.get("prompt_template")
    template = template[0] if isinstance(template, list) and template else template
    by_category = document.get("system_prompts") or {}
    system = document.get("system_prompt")
    if not isinstance(template, str) or not (isinstance(system, str) or by_category):
        raise PromptFileError(
            f"{path}: needs prompt_template and system_prompt. Arena-Hard v2.0 keeps its system prompts in "
            "utils/judge_utils.py: add them as `system_prompts: {hard_prompt: ..., creative_writing: ...}`"
        )
    user = template.replace("{answer_1}", "{answer_a_1}").replace("{answer_2}", "{answer_b_1}")
    if not {"answer_a_1", "answer_b_1"} <= {NAMES[name] for name in _PLACE.findall(user)}:
        raise PromptFileError(f"{path}: prompt_template has no places for the two answers")
    return {Kind(Scale.FIVE): JudgePrompt(system or "", user)}, {
        str(name): str(value) for name, value in by_category.items()
    }
