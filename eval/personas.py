"""Paired comparison of checkable prompts with and without expert identities, with the expert's own
sampling. A category keeps its identities only if the paired difference is significantly positive."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from base.reply import AskError, Reply
from base.task_groups import together
from eval.engine.contestants import Contestant, ContestantAsker
from eval.protocols.checkable import Grader
from eval.rating.paired import Comparison, compare, holm
from eval.scoring import Outcome, score_item
from eval.suite import CheckablePrompt, Suite, SuiteError
from prompts import identities as ids

TEMPERATURE = 0.0
Step = Callable[[str, int], Callable[[bool], None]]
"""Progress: (description, prompts) → callback with whether a prompt was answered."""


@dataclass(frozen=True, slots=True)
class CategoryResult:
    """One category: `paired` compares with minus without identities; `p`: Holm-adjusted permutation p-value;
    `written`: prompts that had an identity."""

    category: str
    without: float
    with_identity: float
    paired: Comparison
    p: float
    written: int
    kept: bool

    @property
    def hurts(self) -> bool:
        """Significantly negative."""
        return self.paired.high < 0


@dataclass(frozen=True, slots=True)
class AnswerCost:
    """Cost of one kind of call, cached answers included. `seconds` are summed over concurrent calls;
    unreported tokens count 0."""

    what: str
    calls: int
    prompt_tokens: int
    completion_tokens: int
    seconds: float

    @classmethod
    def of(cls, what: str, answers: Iterable[Reply]) -> "AnswerCost":
        found = tuple(answers)
        return cls(
            what,
            len(found),
            sum(each.usage.prompt or 0 for each in found),
            sum(each.usage.completion or 0 for each in found),
            sum(each.seconds for each in found),
        )


@dataclass(frozen=True, slots=True)
class Personas:
    """`results` by category in the suite's order, `overall` over all prompts; `unscored`: prompts left out
    for lack of a score on one side, `unscored_why` their error codes; `without_identity`: categories without
    an identity; `asked`: calls that were not cached."""

    per: ids.Per
    suite: Suite
    results: tuple[CategoryResult, ...]
    overall: Comparison
    unscored: int
    confidence: float
    unscored_why: Mapping[str, int] = field(default_factory=dict)
    without_identity: tuple[str, ...] = ()
    costs: tuple[AnswerCost, ...] = ()
    asked: int = 0

    def measurement(self, of: ids.Identities) -> ids.Measurement:
        """The measurement for the identities file."""
        return ids.Measurement(
            per=self.per,
            of=of.subject(self.per),
            suite=self.suite.digest,
            confidence=self.confidence,
            results=tuple(
                ids.IdentityEffect(
                    category=each.category,
                    prompts=each.paired.n,
                    without=round(each.without, 4),
                    with_identity=round(each.with_identity, 4),
                    difference=round(each.paired.difference, 4),
                    low=round(each.paired.low, 4),
                    high=round(each.paired.high, 4),
                    kept=each.kept,
                )
                for each in self.results
            ),
        )


def measurable(suite: Suite, identities: ids.Identities, per: ids.Per) -> Suite:
    """The prompts of `suite` whose category has an identity. Raises SuiteError if none has."""
    if per == "request":
        return suite
    have = {each.category for each in identities.identities}
    kept = tuple(item for item in suite.items if item.category in have)
    if not kept:
        raise SuiteError(
            f"no prompt is of a category with an identity ({', '.join(sorted(have)) or 'there is none'}): "
            "write some with `coterie prompts identity`, or name another suite"
        )
    return replace(suite, items=kept)


async def measure(
    asker: ContestantAsker,
    expert: Contestant,
    identities: ids.Identities,
    suite: Suite,
    *,
    per: ids.Per,
    confidence: float = 0.95,
    allow_network_code: bool = False,
    step: Step = lambda what, prompts: lambda answered: None,
) -> Personas:
    """Ask what was not asked before, and compare.

    Raises:
        SuiteError: no prompt to measure on, none with a score on both sides, or the expert failed so often
            in a row that it was not asked the rest. What it answered is kept.
    """
    wanted, suite = suite, measurable(suite, identities, per)
    grader = Grader(allow_network_code=allow_network_code)
    texts: Mapping[str, str | None] = {item.id: _text(identities, item) for item in suite.items}
    lost: list[AskError] = []
    costs: list[AnswerCost] = []
    asked = 0

    def count(what: str, answers: Sequence[Reply]) -> None:
        nonlocal asked
        asked += sum(not each.kept for each in answers)
        costs.append(AnswerCost.of(what, answers))

    async def side(what: str, systems: Mapping[str, str | None]) -> dict[str, float]:
        done = step(what, len(suite.items))

        async def one(item: CheckablePrompt) -> Outcome:
            outcome = await score_item(asker, grader, expert, item, system=systems.get(item.id))
            done(outcome.answer is not None)
            return outcome

        outcomes = await together(one(item) for item in suite.items)
        lost.extend(AskError(each.error or "", each.reason) for each in outcomes if each.score is None)
        count(what, [each.answer for each in outcomes if each.answer is not None])
        return {each.item.id: each.score for each in outcomes if each.score is not None}

    async with asker.open():
        if per == "request":
            written = await _write(asker, expert, suite, step("writing identities", len(suite.items)), lost)
            texts = {item_id: _identity_in(reply.text) for item_id, reply in written.items()}
        without = await side("without identities", {})
        behind = await side("with identities", texts)
    if per == "request":
        count("writing identities", list(written.values()))
    _refuse_if_given_up(expert, lost)
    found = compared(
        suite,
        without,
        {item_id: score for item_id, score in behind.items() if item_id in texts},
        {item_id for item_id, text in texts.items() if text is not None},
        per=per,
        confidence=confidence,
    )
    return replace(
        found,
        unscored_why=dict(Counter(each.code for each in lost)),
        without_identity=tuple(each for each in wanted.categories if each not in suite.categories),
        costs=tuple(costs),
        asked=asked,
    )


def compared(
    suite: Suite,
    without: Mapping[str, float],
    with_identity: Mapping[str, float],
    written: set[str],
    *,
    per: ids.Per,
    confidence: float,
) -> Personas:
    """Compares scores by item id. Raises SuiteError if no item has both."""
    both = [item for item in suite.items if item.id in without and item.id in with_identity]
    if not both:
        raise SuiteError("no prompt has a score both with and without identities: is the expert up?")

    def paired(items: list[CheckablePrompt]) -> Comparison:
        with_scores, plain = (np.array([side[i.id] for i in items]) for side in (with_identity, without))
        return compare(("with", with_scores), ("without", plain), confidence=confidence)

    groups = {c: [i for i in both if i.category == c] for c in suite.categories}
    groups = {category: items for category, items in groups.items() if items}
    comparisons = {category: paired(items) for category, items in groups.items()}
    adjusted = holm([each.p_permutation for each in comparisons.values()])
    results = tuple(
        CategoryResult(
            category=category,
            without=float(np.mean([without[i.id] for i in groups[category]])),
            with_identity=float(np.mean([with_identity[i.id] for i in groups[category]])),
            paired=each,
            p=p,
            written=sum(i.id in written for i in groups[category]),
            kept=_wins(each, confidence),
        )
        for (category, each), p in zip(comparisons.items(), adjusted, strict=True)
    )
    return Personas(per, suite, results, paired(both), len(suite.items) - len(both), confidence)


def report(personas: Personas, identities: ids.Identities) -> str:
    """Markdown report with the results, the kept and the harmful categories, and caveats."""
    level = f"{personas.confidence:.0%}"
    lines = [
        f"# Expert identities of {identities.expert}, per {personas.per}",
        "",
        f"{personas.overall.n} prompts whose answers a program checks, each asked with and without an "
        f"identity, with the expert's own sampling. Differences are paired; limits at {level}.",
        "",
        "| category | prompts | with identity | without | with | difference | better / worse | p (Holm) | |",
        "|---|---:|---:|---:|---:|---|---:|---:|---|",
    ]
    for each in personas.results:
        verdict = "kept" if each.kept else "hurts" if each.hurts else ""
        lines.append(
            f"| {each.category} | {each.paired.n} | {each.written} | {each.without:.3f} | "
            f"{each.with_identity:.3f} | {_difference(each.paired)} | "
            f"{each.paired.better} / {each.paired.worse} | {each.p:.3f} | {verdict} |"
        )
    overall = personas.overall
    lines += [
        "",
        f"Over all prompts: {_difference(overall)}, better on {overall.better}, worse on {overall.worse}"
        + ("; they hurt, with confidence." if overall.high < 0 else "."),
    ]
    kept = [each.category for each in personas.results if each.kept]
    hurt = [each.category for each in personas.results if each.hurts]
    lower = [each.category for each in personas.results if each.paired.difference < 0 and not each.hurts]
    lines += [
        "",
        f"Kept in: {', '.join(kept) or 'no category'}.",
        f"Hurts in: {', '.join(hurt) or 'no category, with confidence'}"
        + (f"; lower without being certain in: {', '.join(lower)}." if lower else "."),
    ]
    if personas.unscored:
        why = ", ".join(f"{code} {count}" for code, count in sorted(personas.unscored_why.items()))
        lines += [
            "",
            f"{personas.unscored} prompts had no score on one side and are left out"
            + (f" ({why}); the same command tries them again." if why else "."),
        ]
    if personas.without_identity:
        missing = ", ".join(personas.without_identity)
        lines += ["", f"Not measured, since the file has no identity of them: {missing}."]
    smallest = [each.paired.minimum_detectable for each in personas.results]
    seen = [value for value in smallest if value]
    if seen:
        lines += [
            "",
            f"With so few prompts a category shows only differences of {min(seen):.2f} to {max(seen):.2f} "
            "reliably (80% power). These prompts chose what is kept, so they are no evidence of how much it "
            "gains: score the expert on others for that. Closed answers also say nothing of style.",
        ]
    return "\n".join([*lines, *_bill(personas.costs)]) + "\n"


def _bill(costs: tuple[AnswerCost, ...]) -> list[str]:
    """The costs by kind of call."""
    if not costs:
        return []
    rows = [
        f"| {each.what} | {each.calls:,} | {each.prompt_tokens:,} | {each.completion_tokens:,} | "
        f"{each.seconds / each.calls:.2f} |"
        for each in costs
        if each.calls
    ]
    return [
        "",
        "| calls | n | prompt tokens | answer tokens | seconds each, queue included |",
        "|---|---:|---:|---:|---:|",
        *rows,
    ]


def _difference(paired: Comparison) -> str:
    return f"{paired.difference:+.3f} ({paired.low:+.3f} to {paired.high:+.3f})"


def _wins(paired: Comparison, confidence: float) -> bool:
    """Positive by bootstrap and permutation test: the bootstrap alone is anti-conservative for small n."""
    return paired.low > 0 and paired.p_permutation <= 1 - confidence


def _text(identities: ids.Identities, item: CheckablePrompt) -> str | None:
    found = identities.of(item.category)
    return found.text if found else None


async def _write(
    asker: ContestantAsker,
    expert: Contestant,
    suite: Suite,
    done: Callable[[bool], None],
    lost: list[AskError],
) -> dict[str, Reply]:
    """An identity for each prompt by the expert itself, asked for as the service does; prompts that were not
    answered go to `lost`."""
    sampling = {"temperature": TEMPERATURE, "max_tokens": ids.MAX_TOKENS}
    found: dict[str, Reply] = {}

    async def one(item: CheckablePrompt) -> None:
        try:
            found[item.id] = await asker.ask(expert, ids.identity_messages(item.prompt), sampling)
        except AskError as error:
            lost.append(error)
        done(item.id in found)

    await together(one(item) for item in suite.items)
    return found


def _refuse_if_given_up(expert: Contestant, lost: list[AskError]) -> None:
    """Raises SuiteError if the run stopped early, since later categories are then unmeasured."""
    asked = [each for each in lost if each.code != "not_asked"]
    if len(asked) == len(lost):
        return
    why = f" ({Counter(each.message for each in asked).most_common(1)[0][0]})" if asked else ""
    raise SuiteError(
        f"{expert.name} failed too often in a row{why}, so {len(lost)} answers are missing and nothing was "
        "measured; those that came are kept, and the same command goes on"
    )


def _identity_in(reply: str) -> str | None:
    try:
        return ids.read_identity(reply)
    except ids.IdentityError:
        return None
