"""Decontamination: excludes prompts that a composition was fitted on, and near duplicates of them.

A duplicate has the normalised text of a fitting prompt. A near duplicate has a Jaccard similarity of
character 5-grams of at least JACCARD_ALONE, or of JACCARD_WITH_COSINE with a cosine of the embeddings of at
least COSINE_WITH_JACCARD. Error rates: docs/explanation/decontamination.md.
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

JACCARD_ALONE = 0.9
JACCARD_WITH_COSINE = 0.7
COSINE_WITH_JACCARD = 0.95
BLOCK = 64
"""Prompts compared at a time: 64 by 5,000 take 40 MB."""
COSINE_ALONE = 0.995
"""Cosine of near duplicates if the fit kept no fingerprints."""

Mask = npt.NDArray[np.bool_]


class DecontaminationError(EvalError):
    """A composition's fitting prompts are unknown; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """Known fitting prompts: fingerprints, or digests and embeddings."""

    fingerprints: Fingerprints
    exact: frozenset[str] = frozenset()
    """`routers.evidence.prompt_digest` of each, if the fit kept no fingerprints."""
    vectors: Matrix | None = None
    """Unit embeddings of those."""
    source: str = "fingerprints"
    """`fingerprints`, `evidence` or both joined by a plus."""


@dataclass(frozen=True, slots=True)
class Screening:
    """Masks of duplicates (`seen`) and near duplicates (`near`), shape (prompts,)."""

    seen: Mask
    near: Mask
    allowed: bool = False
    """Report on them nevertheless (`--allow-seen`)."""
    source: str = "fingerprints"

    @property
    def refused(self) -> Mask:
        """The prompts to exclude."""
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
        """A sentence for people; empty if nothing was found."""
        return notice(self.document())


def notice(document: Mapping[str, Any], option: str = "--allow-seen") -> str:
    """A sentence on a `Screening.document()`, empty if nothing was found; `option` allows duplicates."""
    seen, near = int(document["seen"]), int(document["near_duplicates"])
    if document.get("checked_by") == "nothing":
        return f"NOT CHECKED: nothing says what was fitted on ({option})"
    if not seen + near:
        return ""
    what = f"{seen} prompts that were fitted on and {near} near-duplicates of them"
    return f"REPORTED ON {what} ({option})" if document["allow_seen"] else f"{what} are excluded"


def fitted_on(folder: Path, *, allow_unknown: bool = False) -> Fitted:
    """The fitting prompts of the composition in `folder`; none, from the source `nothing`, where they are not
    known and that is allowed. Raises DecontaminationError."""
    try:
        return _fitted_on(folder)
    except DecontaminationError:
        if not allow_unknown:
            raise
        return Fitted(fingerprints_of([]), source="nothing")


def _fitted_on(folder: Path) -> Fitted:
    try:
        kept = load_fingerprints(folder)
        try:
            evidence = load_evidence(folder)
        except EvidenceError:
            if kept is None:
                raise
            return Fitted(kept)
    except EvidenceError as error:
        raise DecontaminationError(
            f"nothing in {folder} says which prompts it was fitted on ({error}), so a report might be about "
            "those: fit it again, or take the risk with --allow-seen"
        ) from error
    except FingerprintError as error:
        raise DecontaminationError(f"{error}; or take the risk with --allow-seen") from error
    exact, vectors = frozenset(evidence.prompt_digests), evidence.embeddings
    if kept is None:
        return Fitted(fingerprints_of([]), exact, vectors, "evidence")
    return Fitted(kept, exact, vectors, "fingerprints+evidence")


def fitted_prompts(prompts: Sequence[str], embeddings: Matrix | None = None) -> Fitted:
    """The same from the prompts themselves, such as a table's training folds."""
    return Fitted(fingerprints_of(prompts, embeddings))


def screen(
    prompts: Sequence[str],
    fitted: Fitted,
    embeddings: Matrix | None = None,
    *,
    allow_seen: bool = False,
) -> Screening:
    """Duplicates and near duplicates among `prompts`. `embeddings`: (prompts, dimension), unit rows of the
    composition's encoder; without them only the text is compared. `allow_seen`: count, but do not exclude."""
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
    """`screen` for the composition in `folder`. With `allow_seen` unknown fitting prompts are no error, and
    the source is `nothing`. Raises DecontaminationError."""
    fitted = fitted_on(folder, allow_unknown=allow_seen)
    return screen(prompts, fitted, embeddings, allow_seen=allow_seen)


def merged(screenings: Mapping[str, Screening]) -> Screening:
    """The union, for a report that compares several compositions on the same prompts."""
    every = list(screenings.values())
    return Screening(
        np.logical_or.reduce([each.seen for each in every]),
        np.logical_or.reduce([each.near for each in every]),
        any(each.allowed for each in every),
        "+".join(dict.fromkeys(each.source for each in every)),
    )


def _near(ours: Fingerprints, embeddings: Matrix | None, fitted: Fitted) -> Mask:
    """Rows that are near duplicates; without fingerprints only embeddings are compared, by COSINE_ALONE."""
    near = np.zeros(len(ours), dtype=np.bool_)
    theirs = fitted.fingerprints
    fits = embeddings is not None and theirs.vectors.shape[1] == embeddings.shape[1]
    meant = theirs.embeddings() if fits else None
    for start in range(0, len(ours), BLOCK):
        rows = slice(start, start + BLOCK)
        if len(theirs):
            worded = jaccard(ours.signatures[rows, None, :], theirs.signatures[None, :, :])
            found = worded >= JACCARD_ALONE
            if meant is not None and embeddings is not None:
                found |= (worded >= JACCARD_WITH_COSINE) & (embeddings[rows] @ meant.T >= COSINE_WITH_JACCARD)
            near[rows] |= found.any(axis=1)
        elif fitted.vectors is not None and embeddings is not None:
            near[rows] |= (embeddings[rows] @ fitted.vectors.T >= COSINE_ALONE).any(axis=1)
    return near
