"""Which replies give the same answer: the equivalence classes that strategies compare.

Replies to a closed question are the same where their final answers are; those to an open question where their
embeddings are alike. Replies are looked at in the order of asking and never again, so that the classes of the
earlier ones stay what they are when another reply comes.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from base.final_answers import closed_answer, kind_of_question
from base.reply_text import own_text
from base.text_folding import fold
from routers.request import Matrix

Comparison = Literal["final_answer", "likeness", "text"]
"""How replies were compared: `text`: as a whole, where no threshold for their likeness is known."""


def comparison_of(question: str, threshold: float | None) -> Comparison:
    """How the replies to `question` are compared."""
    if _kind(question) is not None:
        return "final_answer"
    return "text" if threshold is None else "likeness"


def answer_classes(
    texts: Sequence[str | None],
    question: str,
    embed: Callable[[Sequence[str]], Matrix],
    threshold: float | None,
) -> tuple[list[int], Comparison]:
    """The class of each of `texts`, replies in the order of asking (None: the call failed): the index of the
    first reply that says the same, -1 for a reply without an answer. `question`: the last user turn; `embed`
    gives unit vectors (texts, dimension) and is called for open questions alone; `threshold`: cosine from
    which two replies to one say the same."""
    how = comparison_of(question, threshold)
    plain = [own_text(text).strip() if text is not None else "" for text in texts]
    if how != "likeness":
        return _equal([_key(question, text) for text in plain]), how
    given = [index for index, text in enumerate(plain) if text]
    classes = [-1] * len(plain)
    vectors = embed([plain[index] for index in given]) if len(given) > 1 else np.zeros((len(given), 1))
    for place, index in enumerate(given):
        # Compared with the first reply of each class alone: a chain of alike ones is not one answer.
        leaders = [each for each in range(place) if classes[given[each]] == given[each]]
        alike = vectors[leaders] @ vectors[place] if leaders else np.empty(0)
        best = int(alike.argmax()) if leaders else -1
        same = best >= 0 and float(alike[best]) >= (threshold or 0.0)
        classes[index] = given[leaders[best]] if same else index
    return classes, how


def _kind(question: str) -> Literal["choice", "number", "yes_no", "words"] | None:
    return kind_of_question([{"role": "user", "content": question}])


def _key(question: str, text: str) -> str | None:
    kind = _kind(question)
    return closed_answer(kind, text) if kind is not None else fold(text) or None


def _equal(keys: Sequence[str | None]) -> list[int]:
    first: dict[str, int] = {}
    return [-1 if key is None else first.setdefault(key, index) for index, key in enumerate(keys)]
