"""The guard: no report on prompts that a composition was fitted on, nor on near copies of them.

A prompt is refused when its normalised text is that of a fitting prompt, or when it is nearly one: the
Jaccard similarity of their character 5-grams is at least `ALIKE`, or at least `RATHER_ALIKE` while the
cosine of their embeddings is at least `SAME_SENSE`. docs/explanation/decontamination.md has what
these limits catch and what they refuse by mistake, by `python -m benchmarks.decontamination_errors`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from eval.errors import EvalError
from routers.evidence import EvidenceError, load_evidence, prompt_digest
from routers.fingerprints import (
    FingerprintError,
    Fingerprints,
    fingerprints_of,
    jaccard,
    load_fingerprints,
    text_digest,
)
from routers.request import Matrix

ALIKE = 0.9
RATHER_ALIKE = 0.7
SAME_SENSE = 0.95
BLOCK = 64
"""Prompts compared at once: 64 with 5,000 others take 40 MB."""
SENSE_ALONE = 0.995
"""Cosine from which two prompts count as one where their wording cannot be compared."""

Mask = npt.NDArray[np.bool_]


class GuardError(EvalError):
    """Nothing says what a composition was fitted on; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """What is known of a fit: fingerprints of its prompts, and digests of exact texts."""

    fingerprints: Fingerprints
    exact: frozenset[str] = frozenset()
    """`routers.evidence.prompt_digest` of scored prompts, from a fit that kept no fingerprints."""
    vectors: Matrix | None = None
    """Embeddings of the latter, rows of unit length."""
    source: str = "fingerprints"
    """`fingerprints`, `evidence` or both joined by a plus: how near copies can be recognised."""


@dataclass(frozen=True, slots=True)
class Screening:
    """Which prompts of a report were fitted on, shape (prompts,): `seen` by text, `near` as near copies."""

    seen: Mask
    near: Mask
    allowed: bool = False
    """Whether they are reported on all the same (`--allow-seen`)."""
    source: str = "fingerprints"

    @property
    def refused(self) -> Mask:
        """The prompts that must not be reported on."""
        if self.allowed:
            return np.zeros_like(self.seen)
        refused: Mask = self.seen | self.near
        return refused

    def document(self) -> dict[str, Any]:
        """For reports."""
        return {
            "prompts": len(self.seen),
            "seen": int(self.seen.sum()),
            "near_duplicates": int((self.near & ~self.seen).sum()),
            "refused": int(self.refused.sum()),
            "allow_seen": self.allowed,
            "checked_by": self.source,
        }

    def sentence(self) -> str:
        """The same for people; empty when there is nothing to say."""
        seen, near = int(self.seen.sum()), int((self.near & ~self.seen).sum())
        if self.source == "nothing":
            return "NOT CHECKED: nothing says what was fitted on (--allow-seen)"
        if not seen + near:
            return ""
        what = f"{seen} prompts that were fitted on and {near} near copies of such"
        return f"REPORTED ON {what} (--allow-seen)" if self.allowed else f"{what} are refused"


def fitted_on(folder: Path) -> Fitted:
    """What the composition in `folder` was fitted on, as far as it says.

    Raises GuardError when it says nothing, or something damaged.
    """
    try:
        kept = load_fingerprints(folder)
        try:
            evidence = load_evidence(folder)
        except EvidenceError:
            if kept is None:
                raise
            return Fitted(kept)
    except EvidenceError as error:
        raise GuardError(
            f"nothing in {folder} says which prompts it was fitted on ({error}), so a report might be about "
            "those: fit it again, or take the risk with --allow-seen"
        ) from error
    except FingerprintError as error:
        raise GuardError(f"{error}; or take the risk with --allow-seen") from error
    exact, vectors = frozenset(evidence.prompt_digests), evidence.embeddings
    if kept is None:
        return Fitted(fingerprints_of([]), exact, vectors, "evidence")
    return Fitted(kept, exact, vectors, "fingerprints+evidence")


def fitted_prompts(prompts: Sequence[str], embeddings: Matrix | None = None) -> Fitted:
    """The same for prompts at hand, for instance the other folds of a table."""
    return Fitted(fingerprints_of(prompts, embeddings))


def screen(
    prompts: Sequence[str],
    fitted: Fitted,
    embeddings: Matrix | None = None,
    *,
    allow_seen: bool = False,
) -> Screening:
    """Which of `prompts` were fitted on. `embeddings` (prompts, dimension), rows of unit length and made by
    the composition's encoder, find more near copies; without them only the wording is compared.

    Screening may be asked of prompts that are to be reported on all the same (`allow_seen`): they are
    counted, and the report has to say so.
    """
    known = fitted.fingerprints.known
    seen = np.asarray(
        [text_digest(each) in known or prompt_digest(each) in fitted.exact for each in prompts],
        dtype=np.bool_,
    )
    near = np.zeros(len(prompts), dtype=np.bool_)
    rest = np.flatnonzero(~seen)
    if len(rest):
        near[rest] = _near(
            fingerprints_of([prompts[int(row)] for row in rest]),
            None if embeddings is None else embeddings[rest],
            fitted,
        )
    return Screening(seen, near, allow_seen, fitted.source)


def screen_for(
    folder: Path,
    prompts: Sequence[str],
    embeddings: Matrix | None = None,
    *,
    allow_seen: bool = False,
) -> Screening:
    """`screen` for the composition in `folder`. With `allow_seen` one that says nothing of its fit passes
    too, and the screening says that nothing was checked. Raises GuardError."""
    try:
        fitted = fitted_on(folder)
    except GuardError:
        if not allow_seen:
            raise
        nothing = np.zeros(len(prompts), dtype=np.bool_)
        return Screening(nothing, nothing, True, "nothing")
    return screen(prompts, fitted, embeddings, allow_seen=allow_seen)


def merged(screenings: Mapping[str, Screening]) -> Screening:
    """What any of several compositions was fitted on: for a report that compares them on the same prompts."""
    every = list(screenings.values())
    return Screening(
        np.logical_or.reduce([each.seen for each in every]),
        np.logical_or.reduce([each.near for each in every]),
        any(each.allowed for each in every),
        "+".join(dict.fromkeys(each.source for each in every)),
    )


def _near(ours: Fingerprints, embeddings: Matrix | None, fitted: Fitted) -> Mask:
    """Which rows are near copies of fitting prompts: by wording, or by wording and sense.

    Evidence without fingerprints has no wording to compare; there the sense has to be all but the same.
    """
    near = np.zeros(len(ours), dtype=np.bool_)
    theirs = fitted.fingerprints
    fits = embeddings is not None and theirs.vectors.shape[1] == embeddings.shape[1]
    meant = theirs.embeddings() if fits else None
    for start in range(0, len(ours), BLOCK):
        rows = slice(start, start + BLOCK)
        if len(theirs):
            worded = jaccard(ours.signatures[rows, None, :], theirs.signatures[None, :, :])
            found = worded >= ALIKE
            if meant is not None and embeddings is not None:
                found |= (worded >= RATHER_ALIKE) & (embeddings[rows] @ meant.T >= SAME_SENSE)
            near[rows] |= found.any(axis=1)
        elif fitted.vectors is not None and embeddings is not None:
            near[rows] |= (embeddings[rows] @ fitted.vectors.T >= SENSE_ALONE).any(axis=1)
    return near
