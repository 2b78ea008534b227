"""Instruction candidates that the model writes itself, from demos outside the region (arXiv 2407.00256).

What a region's own demos show need not be said again; what the others show is what its prompt lacks. So
each region's candidates are induced from the complement of it, all other regions together.
"""

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from prompts.mixture.call_budget import Asking, Call
from prompts.mixture.demos import Demo, counts_of_outputs
from prompts.mixture.examining import cautious_tokens
from prompts.mixture.hyperparameters import BuildConfig
from prompts.mixture.layout import examples_text
from prompts.mixture.regions import Division

ROUNDS = 2
"""Of induction: the second makes up for candidates that were repeats or unusable."""

_ASSIGNMENT = (
    "Somebody was given one instruction and followed it for several inputs. Below are those inputs, each "
    "with the output that followed from the instruction. Work out what the instruction was. Word it as a "
    "direct request in one or two sentences, general enough for new inputs of the same kind. Do not mention "
    "the examples, and do not repeat any of them."
)
_CUE = "The instruction that leads from each input to its output is:"

_LEAD = re.compile(
    r"^(?:(?:sure|certainly|of course|okay|ok)\b[^:\n]{0,80}[:!.]\s*)?"
    r"(?:(?:(?:the|your|a|one)\s+)?(?:possible |general |original |given |final )?"
    r"(?:(?:instruction|prompt|task|request)s?\b[^:\n.]{0,80}|answer\W*|output\W*):\s*)?",
    re.IGNORECASE,
)
_EXAMPLE = re.compile(
    r"^\W*(?:\d+[.)]\s*)?\W*(?:input|output|example)s?\W*\d*\W*:", re.IGNORECASE | re.MULTILINE
)
_NO_INSTRUCTION = re.compile(r"\W*(?:input|example)s?\W*\d*\W*:", re.IGNORECASE)
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "`": "`", "*": "*"}
_WORD = re.compile(r"[^\W\d_]{2,}")
LEAST_WORDS = 3
"""Of an instruction: what a small model says in one or two words is an answer or a heading."""
_LETTERS = re.compile(r"[\u0e00-\u0eff\u3040-\u30ff\u4e00-\u9fff]")
LEAST_LETTERS = 6
"""The same in scripts that put no blanks between words."""


def induction_messages(demos: Sequence[Demo]) -> tuple[dict[str, str], ...]:
    """The question for the instruction behind `demos`; what all such questions share comes first."""
    return ({"role": "user", "content": f"{_ASSIGNMENT}\n\n{examples_text(demos)}\n\n{_CUE}"},)


async def induce(
    demos: Sequence[Demo], division: Division, config: BuildConfig, asking: Asking
) -> tuple[str, ...]:
    """Different usable instructions, at most `config.candidates`, in the order of their regions' turns.

    `division` divides `demos`. May be empty: a small model often writes nothing that can be used, and then
    the empty instruction stands alone.
    """
    rng = np.random.default_rng(config.seed)
    regions = [division.complement(region) for region in range(len(division))]
    found: dict[str, str] = {}
    asked = 0
    for _ in range(ROUNDS):
        missing = config.candidates - len(found)
        if missing <= 0:
            break
        numbers = range(asked, asked + missing)
        calls = [
            induction_call([demos[index] for index in regions[number % len(regions)]], rng, number, config)
            for number in numbers
        ]
        asked += missing
        answers = await asking.all("inducing instructions", calls)
        if None in answers:  # the context is smaller than said: fewer demos may fit
            config = config.model_copy(update={"induction_demos": max(1, config.induction_demos // 2)})
        for answer in answers:
            if answer is not None and (instruction := usable(answer.text, demos, config)) is not None:
                found.setdefault(fingerprint(instruction), instruction)
    return tuple(found.values())[: config.candidates]


def induction_call(demos: Sequence[Demo], rng: np.random.Generator, number: int, config: BuildConfig) -> Call:
    """The `number`-th induction query: a few of `demos`, drawn anew, and a seed of its own. Of the drawn ones
    as many are shown as should fit the context, one at least."""
    drawn = rng.choice(len(demos), size=min(config.induction_demos, len(demos)), replace=False)
    messages = induction_messages([demos[index] for index in drawn])
    while len(drawn) > 1 and not _fits(messages, config):
        drawn = drawn[:-1]
        messages = induction_messages([demos[index] for index in drawn])
    return Call(
        messages,
        config.induction_tokens,
        config.induction_temperature,
        config.seed + number,
    )


def _fits(messages: Sequence[Mapping[str, str]], config: BuildConfig) -> bool:
    if config.context_tokens is None:
        return True
    return cautious_tokens(messages) + config.induction_tokens <= config.context_tokens


def usable(text: str, demos: Sequence[Demo], config: BuildConfig) -> str | None:
    """The instruction in what the model wrote; None when there is none, or it gives demos away."""
    instruction = clean(text)
    if len(instruction) > config.max_instruction_chars or not _says_something(instruction):
        return None
    return None if leaks(instruction, demos) else instruction


def _says_something(instruction: str) -> bool:
    enough = len(_LETTERS.findall(instruction)) >= LEAST_LETTERS
    return enough or len(_WORD.findall(instruction)) >= LEAST_WORDS


def clean(text: str) -> str:
    """The first paragraph without lead-ins, quotes, emphasis and examples that the model went on with."""
    # A small model may cut a character in half.
    body = text.encode("utf-8", "ignore").decode().replace("\ufffd", "").strip()
    if _NO_INSTRUCTION.match(body):
        return ""
    if (example := _EXAMPLE.search(body, 1)) is not None:
        body = body[: example.start()].strip()
    body = _unquoted(body)
    lead = _LEAD.match(body)
    if lead is not None and lead.end() < len(body):
        body = body[lead.end() :]
    paragraph = next((part for part in re.split(r"\n\s*\n", body) if part.strip()), "")
    return " ".join(_unquoted(paragraph.strip()).split())


def leaks(instruction: str, demos: Iterable[Demo]) -> bool:
    """Whether the instruction repeats a demo instead of saying the rule.

    An output that comes several times is a label, which an instruction must be free to name; one that
    comes once is an answer. Inputs of one word are too likely to be part of any sentence.
    """
    demos = tuple(demos)
    counts = counts_of_outputs(demos)
    said = f" {_words(instruction)} "
    for demo in demos:
        asked = _words(demo.input)
        if " " in asked and f" {asked} " in said:
            return True
        answer = _words(demo.output)
        if answer and counts[demo.output.strip()] == 1 and len(answer) > 1 and f" {answer} " in said:
            return True
    return False


def fingerprint(instruction: str) -> str:
    """Equal for instructions that differ in case and punctuation alone."""
    return _words(instruction)


def _words(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.casefold()))


def _unquoted(text: str) -> str:
    text = text.strip()
    while len(text) > 1 and _QUOTES.get(text[0]) == text[-1]:
        text = text[1:-1].strip()
    return text
