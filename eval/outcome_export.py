"""Export of outcome tables for `coterie fit` from runs, rated traffic (with shadow answers) and other tables.
A prompt is one row across sources; repeated scores of an expert, and what its answers took, are averaged."""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from base.files import replacing, write_text
from base.usage import TokenUsage
from client import ExpertInfo, PriceInfo, ShadowRecord
from eval.errors import EvalError
from eval.outcome_writing import experts_yaml
from eval.traffic import Logged, ratings
from eval.votes import SHARE, Vote, VoteReport, bound_votes, mean_by_answer
from routers.composition import ExpertCard
from routers.fingerprints import text_digest
from routers.outcome_table import MEASURES, OutcomeTable
from routers.request import Matrix

TAKEN = ("tokens_in", "tokens_out", "tokens_reasoning", "seconds")
"""Those of MEASURES that sources may tell of an answer."""


class ExportError(EvalError):
    """Nothing can be exported; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Scored:
    """One expert's score, 0..1, on one prompt: the mean over `samples` answers. `took`: what is known
    of TAKEN, means over them too."""

    prompt: str
    category: str
    expert: str
    score: float
    samples: float = 1.0
    took: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Gathered:
    """A source's scores, expert cards and counts of what was left out."""

    scores: tuple[Scored, ...]
    cards: Mapping[str, ExpertCard]
    left_out: Mapping[str, int]
    votes: VoteReport | None = None
    """How much each key's votes count, where people voted."""


def from_traffic(log: Iterable[Logged], *, share: float = SHARE, trusted: Collection[str] = ()) -> Gathered:
    """Rated answers and shadow answers of requests with kept prompts that one expert answered; the category
    is the predicted one. `share` bounds what one key's votes count, unless it is `trusted` (`eval.votes`)."""
    answered: dict[str, tuple[str, str, Logged | ShadowRecord]] = {}
    votes: list[Vote] = []
    cards: dict[str, ExpertCard] = {}
    why = Counter[str]()
    for row, each in enumerate(log):
        answers: list[Logged | ShadowRecord] = [each, *each.shadows]
        rated = [(answer, ratings(answer.feedback)) for answer in answers if answer.status == "ok"]
        prompt = each.text
        if not any(said for _, said in rated):
            why["not rated"] += 1
        elif each.strategy != "single":
            why["several experts answered"] += 1
        elif prompt is None:
            why["text not kept (COTERIE_STORE_PROMPTS)"] += 1
        elif each.category is None:
            why["no category"] += 1
        else:
            for place, (answer, said) in enumerate(rated):
                name = f"{answer.id} {row}.{place}"  # files of other programs may lack ids
                answered[name] = prompt, each.category, answer
                votes += [Vote(name, key, each.category, answer.expert, value) for key, value in said.items()]
        for choice in each.ranking:
            size = choice.active_params_b
            cards.setdefault(choice.expert, ExpertCard(choice.expert, size, size))
    kept, report = bound_votes(votes, share, trusted)
    means = mean_by_answer(kept)
    if unheard := len({vote.answer for vote in votes}) - len(means):
        why["rated by keys beyond their share alone"] = unheard
    scores = [
        Scored(prompt, category, answer.expert, means[name], took=_took(answer))
        for name, (prompt, category, answer) in answered.items()
        if name in means
    ]
    return Gathered(tuple(scores), cards, dict(why), report)


def from_run(folder: Path) -> Gathered:
    """Scores of one run; those of a routed contestant count for the expert that answered. Raises
    ExportError."""
    from eval.engine.items import ItemsError, read_items
    from eval.engine.manifest import ITEMS, RunError, load_run

    try:
        run = load_run(folder)
        items = read_items(folder / ITEMS)
    except (RunError, ItemsError, OSError) as error:
        raise ExportError(f"{folder}: {error}") from error
    models = {each["name"]: each for each in run.manifest.contestants}
    scores: list[Scored] = []
    cards: dict[str, ExpertCard] = {}
    why = Counter[str]()
    for document in models.values():
        identity = document.get("identity") or {}
        facts = [identity["expert"]] if identity.get("expert") else identity.get("experts") or []
        cards |= {card.name: card for card in map(_card, facts) if card is not None}
    for item in items:
        contestant = models.get(item.contestant, {})
        model = str(contestant.get("model", item.contestant))
        experts = set(item.experts)
        if item.score is None:
            why["no score"] += 1
        elif len(experts) > 1 or any((turn.routing or {}).get("trace") for turn in item.turns):
            why["several experts answered"] += 1
        elif not item.turns:
            why["no answer kept"] += 1
        else:
            prompt = "\n\n".join(turn.prompt for turn in item.turns)
            expert = experts.pop() if experts else model
            took = _known(
                tokens_in=_total([turn.prompt_tokens for turn in item.turns]),
                tokens_out=_total([turn.completion_tokens for turn in item.turns]),
                seconds=_total([turn.latency_s or None for turn in item.turns]),
            )
            scores.append(Scored(prompt, item.category, expert, item.score, took=took))
    return Gathered(tuple(scores), cards, dict(why))


def _took(answer: Logged | ShadowRecord) -> dict[str, float]:
    usage = TokenUsage.of(answer.usage)
    if len((answer.usage or {}).get("calls") or ()) > 1:  # of several experts
        usage = TokenUsage()
    return _known(
        tokens_in=usage.prompt,
        tokens_out=usage.completion,
        tokens_reasoning=usage.reasoning,
        seconds=None if answer.latency_ms is None else answer.latency_ms / 1000,
    )


def _total(amounts: Sequence[float | None]) -> float | None:
    known = [each for each in amounts if each is not None]
    return sum(known) if len(known) == len(amounts) else None


def _known(**amounts: float | None) -> dict[str, float]:
    return {name: float(each) for name, each in amounts.items() if each is not None}


def from_table(table: OutcomeTable) -> Gathered:
    """Every score of an outcome table, and what is known of the answers."""
    measures = {name: matrix for name in TAKEN if (matrix := getattr(table, name)) is not None}
    scores = [
        Scored(
            table.prompts[row],
            table.categories[row],
            table.expert_names[column],
            float(table.scores[row, column]),
            1.0 if table.samples is None else float(np.nan_to_num(table.samples[row, column], nan=1.0)),
            {
                name: float(matrix[row, column])
                for name, matrix in measures.items()
                if not np.isnan(matrix[row, column])
            },
        )
        for row, column in np.argwhere(~np.isnan(table.scores)).tolist()
    ]
    return Gathered(tuple(scores), {card.name: card for card in table.experts}, {})


def gathered_table(
    sources: Sequence[Gathered],
    *,
    cards: Mapping[str, ExpertCard] | None = None,
    only: Sequence[str] | None = None,
) -> OutcomeTable:
    """One outcome table of all sources, of the experts `only` if given. `cards` override those of sources,
    earlier sources later ones; a prompt's category is its most frequent one. Raises ExportError."""
    known: dict[str, ExpertCard] = {}
    for source in reversed(sources):
        known |= source.cards
    known |= cards or {}
    scores = [each for source in sources for each in source.scores if only is None or each.expert in only]
    if not scores:
        why = Counter[str]()
        for source in sources:
            why.update(source.left_out)
        reasons = "; ".join(f"{count} {reason}" for reason, count in why.most_common())
        raise ExportError(f"nothing is scored{f' ({reasons})' if reasons else ''}")
    names = list(dict.fromkeys(each.expert for each in scores))
    if unknown := [name for name in names if name not in known or known[name].params_b <= 0]:
        raise ExportError(
            f"nothing says how large {', '.join(unknown)} is: give an experts.yaml with --experts, or "
            "leave it out by naming the others with --expert"
        )
    prompts: dict[bytes, str] = {}
    categories: dict[bytes, Counter[str]] = defaultdict(Counter)
    cells: dict[tuple[bytes, str], list[Scored]] = defaultdict(list)
    for each in scores:
        key = text_digest(each.prompt)
        prompts.setdefault(key, each.prompt)
        categories[key][each.category] += 1
        cells[key, each.expert].append(each)

    def matrix(value: Callable[[Sequence[Scored]], float]) -> Matrix:
        return np.asarray(
            [[value(cells.get((key, name), ())) for name in names] for key in prompts], dtype=np.float32
        )

    measures = {name: matrix(partial(_mean, name)) for name in TAKEN}
    samples = matrix(lambda cell: sum(each.samples for each in cell) or np.nan)
    return OutcomeTable(
        tuple(key.hex() for key in prompts),
        tuple(categories[key].most_common(1)[0][0] for key in prompts),
        tuple(prompts.values()),
        tuple(known[name] for name in names),
        matrix(_score),
        **{name: None if np.isnan(each).all() else each for name, each in measures.items()},
        samples=samples if np.nanmax(samples) > 1 else None,
    )


def _score(cell: Sequence[Scored]) -> float:
    return (
        sum(each.score * each.samples for each in cell) / sum(each.samples for each in cell)
        if cell
        else np.nan
    )


def _mean(name: str, cell: Sequence[Scored]) -> float:
    """Over the answers of which it is known; NaN when there is none."""
    known = [each for each in cell if name in each.took]
    weights = sum(each.samples for each in known)
    return sum(each.took[name] * each.samples for each in known) / weights if known else np.nan


def write_table(table: OutcomeTable, folder: Path) -> None:
    """Write prompts.parquet, scores.parquet, experts.yaml, and a file of each measure that is known, to
    `folder`, each atomically."""
    import pyarrow as pa
    from pyarrow import parquet

    folder.mkdir(parents=True, exist_ok=True)
    prompts = pa.table(
        {"uid": list(table.uids), "category": list(table.categories), "prompt": list(table.prompts)}
    )
    files = {"prompts": prompts}
    for measure in ("scores", *MEASURES):
        path, matrix = f"{measure}.parquet", getattr(table, measure)
        if matrix is None:
            (folder / path).unlink(missing_ok=True)
            continue
        columns: dict[str, Any] = {"uid": list(table.uids)}
        for column, name in enumerate(table.expert_names):
            values = matrix[:, column].astype(np.float64)
            columns[name] = pa.array([None if np.isnan(value) else value for value in values], pa.float64())
        files[measure] = pa.table(columns)
    for name, content in files.items():
        with replacing(folder / f"{name}.parquet") as unfinished:
            parquet.write_table(content, unfinished)
    write_text(experts_yaml([_facts(card) for card in table.experts]), folder / "experts.yaml")


def cards_of(facts: Iterable[ExpertInfo]) -> dict[str, ExpertCard]:
    """Expert cards from an API's experts, without those of unknown size."""
    found = (_card(each.model_dump()) for each in facts)
    return {card.name: card for card in found if card is not None}


def _card(facts: Mapping[str, Any]) -> ExpertCard | None:
    known = ExpertInfo.model_validate(facts)
    if known.params_b is None:
        return None
    return ExpertCard(
        known.name,
        known.params_b,
        known.active_params_b or known.params_b,
        known.price.input,
        known.price.cached_input,
        known.price.output,
        known.context_length,
        description=known.description,
        base=known.base,
    )


def _facts(card: ExpertCard) -> ExpertInfo:
    return ExpertInfo(
        name=card.name,
        params_b=card.params_b or None,
        active_params_b=card.active_params_b or None,
        context_length=card.context_length,
        capabilities=tuple(sorted(card.capabilities)),
        price=PriceInfo(input=card.price_input, cached_input=card.price_cached, output=card.price_output),
        description=card.description,
        base=card.base,
    )
