"""Instruction induction (arXiv 2407.00256): candidates for a region are written by the model from the demos
of all other regions, since the region's own are shown anyway."""

import re
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from base.phrases import UNSPACED, words
from prompts.mixture.call_budget import Asking, Call
from prompts.mixture.demos import Demo, counts_of_outputs
from prompts.mixture.hyperparameters import BuildConfig
from prompts.mixture.layout import examples_text
from prompts.mixture.prompt_scoring import upper_token_bound
from prompts.mixture.regions import DemoClusters

ROUNDS = 2
"""The second round replaces duplicates and unusable candidates."""

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
MIN_WORDS = 3
"""Shorter instructions are answers or headings."""
_LETTERS = re.compile(f"[{UNSPACED}]")
MIN_LETTERS = 6
"""The same for scripts without blanks between words."""


def induction_messages(demos: Sequence[Demo]) -> tuple[dict[str, str], ...]:
    """Messages that ask for the instruction behind `demos`."""
    return ({"role": "user", "content": f"{_ASSIGNMENT}\n\n{examples_text(demos)}\n\n{_CUE}"},)


async def induce(
    demos: Sequence[Demo], clusters: DemoClusters, config: BuildConfig, asking: Asking
) -> tuple[str, ...]:
    """At most `config.candidates` distinct usable instructions for `demos` in `clusters`; possibly none."""
    rng = np.random.default_rng(config.seed)
    regions = [clusters.complement(region) for region in range(len(clusters))]
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
        if None in answers:  # the context is smaller than configured
            config = config.model_copy(update={"induction_demos": max(1, config.induction_demos // 2)})
        for answer in answers:
            if answer is not None and (instruction := usable(answer.text, demos, config)) is not None:
                found.setdefault(normalised_words(instruction), instruction)
    return tuple(found.values())[: config.candidates]


def induction_call(demos: Sequence[Demo], rng: np.random.Generator, number: int, config: BuildConfig) -> Call:
    """The `number`-th induction query, with its own seed and a random sample of `demos` that fits the
    context."""
    drawn = rng.choice(len(demos), size=min(config.induction_demos, len(demos)), replace=False)
    messages = induction_messages([demos[index] for index in drawn])
    while len(drawn) > 1 and not _fits(messages, config):
        drawn = drawn[:-1]
        messages = induction_messages([demos[index] for index in drawn])
    return Call(messages, config.induction_tokens, config.induction_temperature, config.seed + number)


def _fits(messages: Sequence[Mapping[str, str]], config: BuildConfig) -> bool:
    if config.context_tokens is None:
        return True
    return upper_token_bound(messages) + config.induction_tokens <= config.context_tokens


def usable(text: str, demos: Sequence[Demo], config: BuildConfig) -> str | None:
    """The instruction in the model's text; None when too short, too long, or when it repeats demos."""
    instruction = clean(text)
    letters, spaced = len(_LETTERS.findall(instruction)), len(_WORD.findall(instruction))
    if len(instruction) > config.max_instruction_chars or (letters < MIN_LETTERS and spaced < MIN_WORDS):
        return None
    return None if leaks(instruction, demos) else instruction


def clean(text: str) -> str:
    """The first paragraph without lead-ins, quotes, emphasis and continued examples."""
    # Truncated multi-byte characters.
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
    """Whether the instruction contains a demo's input (of several words) or its unique output; repeated
    outputs are labels, which it may name."""
    demos = tuple(demos)
    counts = counts_of_outputs(demos)
    said = f" {normalised_words(instruction)} "
    for demo in demos:
        asked = normalised_words(demo.input)
        if _is_several_words(asked) and f" {asked} " in said:
            return True
        answer = normalised_words(demo.output)
        if answer and counts[demo.output.strip()] == 1 and len(answer) > 1 and f" {answer} " in said:
            return True
    return False


def _is_several_words(text: str) -> bool:
    letters = len(_LETTERS.findall(text))
    return letters >= MIN_LETTERS if letters else " " in text


def normalised_words(text: str) -> str:
    """The case-folded words of `text`, without punctuation; of a script without blanks its characters."""
    return " ".join(words(re.sub(r"\W+", " ", text.casefold())))


def _unquoted(text: str) -> str:
    text = text.strip()
    while len(text) > 1 and _QUOTES.get(text[0]) == text[-1]:
        text = text[1:-1].strip()
    return text
