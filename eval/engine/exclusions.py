"""Decontamination of a benchmark's questions. The service does not expose its fitting prompts, so the
composition's folder is looked up locally by digest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from eval.decontamination import DecontaminationError, screen_for
from eval.engine.benchmark import AskedTurn, Benchmark, Marks, Question
from eval.engine.contestants import Contestant, ContestantAsker
from eval.engine.manifest import ROOT, RunError

PLACES = (ROOT / "routers" / "compositions", ROOT / "var" / "compositions", Path("var/compositions"))


@dataclass(frozen=True, slots=True)
class Screened:
    """`benchmark` without contaminated questions; `screening` is recorded in the manifest."""

    benchmark: Benchmark
    questions: Sequence[Question]
    screening: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.benchmark.name

    @property
    def digests(self) -> Mapping[str, str]:
        return self.benchmark.digests

    def document(self) -> Mapping[str, Any]:
        return {**self.benchmark.document(), "screening": dict(self.screening)}

    async def mark(
        self, question: Question, contestant: Contestant, turns: Sequence[AskedTurn], asker: ContestantAsker
    ) -> Marks:
        return await self.benchmark.mark(question, contestant, turns, asker)


def screened(
    benchmark: Benchmark,
    contestants: Sequence[Contestant],
    *,
    folder: Path | None = None,
    allow_seen: bool = False,
) -> Benchmark:
    """`benchmark` without questions whose first turn a routed contestant was fitted on; unchanged if none is
    routed. `folder`: the composition's, None searches for it; the manifest says if it or its fitting prompts
    are unknown. Raises RunError (nothing left, or invalid `folder`)."""
    digests = {each.composition for each in contestants if each.routed and each.composition}
    if not digests:
        return benchmark
    prompts = [question.turns[0] for question in benchmark.questions]
    refused = [False] * len(prompts)
    found: dict[str, Any] = {}
    for digest in sorted(each for each in digests if each):
        place = folder or composition_folder(digest)
        if place is None:
            found[digest] = "not checked: the composition's folder is not on this machine"
            continue
        try:
            screening = screen_for(place, prompts, allow_seen=allow_seen)
        except DecontaminationError as error:
            if folder is not None:
                raise RunError(str(error)) from error
            found[digest] = "not checked: the composition does not say what it was fitted on"
            continue
        found[digest] = screening.document()
        refused = [one or bool(other) for one, other in zip(refused, screening.refused, strict=True)]
    kept = [question for question, out in zip(benchmark.questions, refused, strict=True) if not out]
    if not kept:
        raise RunError(
            f"all {len(prompts)} questions were used to fit the composition, so they say nothing about it: "
            "use other questions, name experts alone with --against, or add --allow-seen and say so"
        )
    return Screened(benchmark, tuple(kept), found)


def composition_folder(digest: str) -> Path | None:
    """The folder on this machine of the composition with this digest."""
    from routers.composition import CompositionError, load_composition

    for place in PLACES:
        for manifest in sorted(place.glob("*/composition.json")):
            try:
                if load_composition(manifest.parent).digest == digest:
                    return manifest.parent
            except CompositionError:
                continue
    return None
