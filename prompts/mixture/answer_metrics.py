"""Binary metrics of an answer against a demo's output, so that means have binomial intervals. An empty answer
is wrong, and so is one that is only thinking. Closed answers are read as the evaluation's checks read them
(`base.closed_answers`). (The paper's log-likelihood is not available through chat APIs.)"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal

from base.closed_answers import bare, read_choice, read_exact_number
from base.phrases import contains_phrase
from base.reply_text import own_text
from base.text_folding import fold

Metric = Callable[[str, str], float]
"""(answer, expected) → 1.0 or 0.0."""
MetricName = Literal["exact", "verbatim", "contains", "choice", "numeric"]


def exact(answer: str, expected: str) -> float:
    """Equal but for case, width, blanks, outer quotes, final punctuation and a leading "Answer:"."""
    given = own_text(answer)
    return float(bool(given.strip()) and _bare(given) == _bare(expected))


def verbatim(answer: str, expected: str) -> float:
    """Equal after stripping: for tasks about case, punctuation or lines."""
    return float(answer.strip() == expected.strip() != "")


def contains(answer: str, expected: str) -> float:
    """The answer contains the expected text as whole words (so a list of all answers is right)."""
    return float(contains_phrase(own_text(answer), _bare(expected)))


def choice(answer: str, expected: str) -> float:
    """The letter of a multiple choice question, as `read_choice` finds it."""
    wanted = read_choice(expected)
    return float(wanted is not None and read_choice(answer) == wanted)


def numeric(answer: str, expected: str) -> float:
    """The number that the answer ends on or declares is exactly the expected one, however they are
    written."""
    wanted = read_exact_number(expected)
    return float(wanted is not None and read_exact_number(answer) == wanted)


def _bare(text: str) -> str:
    return bare(text) or fold(text)


METRICS: Mapping[MetricName, Metric] = MappingProxyType(
    {"exact": exact, "verbatim": verbatim, "contains": contains, "choice": choice, "numeric": numeric}
)
