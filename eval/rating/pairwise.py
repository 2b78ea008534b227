"""Ratings of pairwise verdicts: expected win rates against a baseline with intervals, ranks and
categories."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np

from eval.rating.bradley_terry import Pairs, RatingError, expected_win_rates
from eval.rating.paired import compare, holm
from eval.rating.ranks import rank_limits, ranks
from eval.rating.resampling import Floats, Ints, interval, multiplicities, sums_by_question
from eval.rating.settings import RatingSettings
from eval.rating.style import Verdicts, differences, fit_style
from eval.rating.table import Coded, PairwiseTable


@dataclass(frozen=True, slots=True)
class Entry:
    """A rated model; rates in percent. `score`: expected win rate against the baseline (Bradley-Terry);
    `win_rate`: mean over questions of the points against the baseline, None without games; `n`: verdict
    rows."""

    model: str
    judge: str | None
    score: float
    low: float | None
    high: float | None
    rank: int
    rank_low: int
    rank_high: int
    n: int
    n_questions: int
    win: float
    tie: float
    loss: float
    win_rate: float | None
    win_rate_low: float | None
    win_rate_high: float | None
    style_score: float | None = None
    style_low: float | None = None
    style_high: float | None = None

    def document(self, *, judged: bool, styled: bool) -> dict[str, Any]:
        """For JSON."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        if not judged:
            del fields["judge"]
        if not styled:
            fields = {name: value for name, value in fields.items() if not name.startswith("style_")}
        return fields


def rate_pairwise(table: PairwiseTable, settings: RatingSettings) -> dict[str, Any]:
    """The document of `coterie eval rate --json`. Raises RatingError for an unknown baseline and for models
    that are not connected to it."""
    anchor_name = _baseline(table, settings.baseline)
    table, judge_of = judged_apart(table, anchor_name)
    entries, coefficients, notes = _rate(table, anchor_name, judge_of, settings)
    document: dict[str, Any] = {
        "kind": "pairwise",
        "score_is": f"expected win rate in percent against {anchor_name} (Bradley-Terry), which is 50",
        "n_questions": len(table.question.names),
        "n_verdicts": len(table),
        "baseline": anchor_name,
        "models": [each.document(judged=bool(judge_of), styled=bool(coefficients)) for each in entries],
    }
    if coefficients:
        document["style"] = coefficients
    if table.category.names:
        document["categories"] = _by_category(table, judge_of, settings)
    document["comparisons"] = _neighbours(table, anchor_name, entries, settings)
    document["settings"] = {**settings.document(), "baseline": anchor_name}
    document["ignored_columns"] = list(table.ignored)
    document["notes"] = [*table.notes, *notes]
    return document


def judged_apart(table: PairwiseTable, baseline: str) -> tuple[PairwiseTable, dict[str, str]]:
    """The table with a player per model and judge, since judges disagree systematically, and each player's
    judge. The first judge keeps the plain name, others get `model [judge]`; the baseline stays one player."""
    if not table.judge.names:
        return table, {}
    first_judge: dict[int, int] = {}
    columns: list[list[str]] = []
    judge_of: dict[str, str] = {}
    for side in (table.model, table.baseline):
        names = []
        for player, judge in zip(side.tolist(), table.judge.codes.tolist(), strict=True):
            name = table.players[player]
            told = table.judge.names[judge] if judge >= 0 else ""
            if name != baseline:
                if first_judge.setdefault(player, judge) != judge:
                    name = f"{name} [{told or 'unnamed judge'}]"
                judge_of[name] = told
            names.append(name)
        columns.append(names)
    number = {name: place for place, name in enumerate(dict.fromkeys([*columns[0], *columns[1]]))}
    coded = [np.asarray([number[name] for name in names], dtype=np.int64) for names in columns]
    return replace(table, players=tuple(number), model=coded[0], baseline=coded[1]), judge_of


def subset(table: PairwiseTable, rows: Ints) -> PairwiseTable:
    """The table of these rows."""
    names = [table.players[each] for each in (*table.model[rows], *table.baseline[rows])]
    number = {name: place for place, name in enumerate(dict.fromkeys(names))}
    codes = np.asarray([number[name] for name in names], dtype=np.int64)
    return PairwiseTable(
        question=table.question.take(rows),
        players=tuple(number),
        model=codes[: len(rows)],
        baseline=codes[len(rows) :],
        win=table.win[rows],
        tie=table.tie[rows],
        loss=table.loss[rows],
        judge=table.judge.take(rows),
        category=Coded((), np.full(len(rows), -1, dtype=np.int64)),
        styles={name: (ours[rows], theirs[rows]) for name, (ours, theirs) in table.styles.items()},
    )


def question_scores(table: PairwiseTable, model: int, baseline: int) -> Floats:
    """The share of points of `model` against `baseline` by question, (questions,), 0..1, NaN without
    games."""
    forth = (table.model == model) & (table.baseline == baseline)
    back = (table.model == baseline) & (table.baseline == model)
    points = np.where(forth, table.win, table.loss) + table.tie / 2
    games = table.win + table.tie + table.loss
    rows = forth | back
    size = len(table.question.names)
    got = np.bincount(table.question.codes[rows], weights=points[rows], minlength=size)
    played = np.bincount(table.question.codes[rows], weights=games[rows], minlength=size)
    with np.errstate(invalid="ignore"):
        return np.asarray(got / played, dtype=np.float64)


def _baseline(table: PairwiseTable, wanted: str | None) -> str:
    if wanted is not None:
        if wanted not in table.players:
            raise RatingError(f"no baseline {wanted} in the table: it has {', '.join(sorted(table.players))}")
        return wanted
    return table.players[int(np.bincount(table.baseline, minlength=len(table.players)).argmax())]


@dataclass(frozen=True, slots=True)
class _Games:
    """Rows as games of distinct pairs: `points` of the first player out of `games`; `flipped`: -1 where the
    row's model is the second player, else 1."""

    pairs: Pairs
    pair: Ints
    points: Floats
    games: Floats
    flipped: Ints


def _games(table: PairwiseTable, anchor: int) -> _Games:
    players = len(table.players)
    # A canonical order, with the anchor second.
    key = np.where(np.arange(players) == anchor, -1, np.arange(players))
    flipped = key[table.model] < key[table.baseline]
    first = np.where(flipped, table.baseline, table.model)
    second = np.where(flipped, table.model, table.baseline)
    distinct, pair = np.unique(first * players + second, return_inverse=True)
    won = np.where(flipped, table.loss, table.win)
    return _Games(
        Pairs(distinct // players, distinct % players, players),
        pair.reshape(-1),
        won + table.tie / 2,
        table.win + table.tie + table.loss,
        np.where(flipped, -1, 1),
    )


def _rate(
    table: PairwiseTable, baseline: str, judge_of: dict[str, str], settings: RatingSettings
) -> tuple[list[Entry], dict[str, Any], list[str]]:
    anchor = table.players.index(baseline)
    games = _games(table, anchor)
    strangers = [table.players[each] for each in games.pairs.strangers(anchor)]
    if strangers:
        raise RatingError(
            f"no chain of verdicts links {', '.join(strangers[:5])} to the baseline {baseline}: rate them "
            "apart, or name another baseline"
        )
    questions, players = len(table.question.names), len(table.players)
    width = max(players**2 if not games.pairs.is_star(anchor) else players, len(games.pairs))
    sums = [
        sums_by_question(table.question.codes, games.pair, values, questions, len(games.pairs))
        for values in (games.points, games.games)
    ]
    whole = [each.sum(axis=0)[None] for each in sums]
    scores = 100 * expected_win_rates(games.pairs, whole[0], whole[1], anchor)[0]
    direct = _direct(table, anchor)
    resampled, win_rates = [], []
    for drawn in multiplicities(questions, settings.rounds, settings.seed, width):
        resampled.append(100 * expected_win_rates(games.pairs, drawn @ sums[0], drawn @ sums[1], anchor))
        win_rates.append(_means(drawn, direct))
    samples = np.concatenate(resampled)
    limits = interval(samples, settings.confidence)
    rate_limits = interval(np.concatenate(win_rates), settings.confidence)
    rate = _means(np.ones((1, questions)), direct)[0]
    styled, coefficients, notes = _styled(table, games, anchor, settings)
    placed = ranks(scores)
    places = rank_limits(samples, settings.confidence)
    entries = []
    for player in np.argsort(placed, kind="stable"):
        rows = (table.model == player) | (table.baseline == player)
        ours = table.model[rows] == player
        win, loss = table.win[rows], table.loss[rows]
        entries.append(
            Entry(
                model=table.players[player],
                judge=judge_of.get(table.players[player]) or None,
                score=float(scores[player]),
                low=_number(limits[0][player]),
                high=_number(limits[1][player]),
                rank=int(placed[player]),
                rank_low=int(places[0][player]),
                rank_high=int(places[1][player]),
                n=int(rows.sum()),
                n_questions=len(np.unique(table.question.codes[rows])),
                win=_plain(np.where(ours, win, loss).sum()),
                tie=_plain(table.tie[rows].sum()),
                loss=_plain(np.where(ours, loss, win).sum()),
                win_rate=_number(rate[player]),
                win_rate_low=_number(rate_limits[0][player]),
                win_rate_high=_number(rate_limits[1][player]),
                **{name: _number(values[player]) for name, values in styled.items()},
            )
        )
    return entries, coefficients, notes


def _direct(table: PairwiseTable, anchor: int) -> Floats:
    """Share of points against the anchor in percent, (questions, players)."""
    columns = [
        np.full(len(table.question.names), np.nan)
        if player == anchor
        else question_scores(table, player, anchor)
        for player in range(len(table.players))
    ]
    return 100 * np.stack(columns, axis=1)


def _means(drawn: Floats, values: Floats) -> Floats:
    """Means of the columns of `values` (questions, ·) by multiplicities (rounds, questions)."""
    there = ~np.isnan(values)
    with np.errstate(invalid="ignore"):
        means: Floats = (drawn @ np.where(there, values, 0)) / (drawn @ there.astype(np.float64))
    return means


def _styled(
    table: PairwiseTable, games: _Games, anchor: int, settings: RatingSettings
) -> tuple[dict[str, Floats], dict[str, Any], list[str]]:
    """Columns `style_score`, `style_low`, `style_high`, the coefficients, and notes."""
    names, x = differences(table.styles)
    if not names:
        return {}, {}, []
    known = ~np.isnan(x).any(axis=1)
    if not known.any():
        return {}, {}, ["style was not controlled for: no verdict has the style of both answers"]
    present = np.zeros(len(table.players), dtype=np.bool_)
    used, pair = np.unique(games.pair[known], return_inverse=True)
    pairs = Pairs(games.pairs.first[used], games.pairs.second[used], games.pairs.players)
    present[pairs.first] = present[pairs.second] = True
    linked = np.ones(len(present), dtype=np.bool_)
    linked[pairs.strangers(anchor)] = False
    fit = fit_style(
        Verdicts(
            pairs,
            pair.reshape(-1),
            table.question.codes[known],
            len(table.question.names),
            games.points[known],
            games.games[known],
            x[known] * games.flipped[known, None],
        ),
        anchor,
        rounds=settings.rounds,
        seed=settings.seed,
    )
    low, high = fit.rate_limits(settings.confidence)
    shown = present & linked
    columns = {
        name: np.where(shown, 100 * values, np.nan)
        for name, values in (("style_score", fit.rates()), ("style_low", low), ("style_high", high))
    }
    limits = interval(fit.coefficient_rounds, settings.confidence)
    coefficients: dict[str, Any] = {
        "style_score_is": "expected win rate in percent if both answers had the same style",
        "coefficients_are": "log-odds of winning per standard deviation of the style difference",
        "n_verdicts": int(known.sum()),
        "coefficients": {
            name: {
                "value": float(fit.coefficients[k]),
                "low": float(limits[0][k]),
                "high": float(limits[1][k]),
            }
            for k, name in enumerate(names)
        },
    }
    missing = int((~known).sum())
    return (
        columns,
        coefficients,
        [f"{missing} verdicts without style left out of style control"] * bool(missing),
    )


def _by_category(table: PairwiseTable, judge_of: dict[str, str], settings: RatingSettings) -> dict[str, Any]:
    """Ratings by category, against the requested baseline or the category's most frequent one (Arena-Hard 2.0
    has one per category)."""
    found = {}
    for number, name in sorted(enumerate(table.category.names), key=lambda each: each[1]):
        part = subset(table, np.flatnonzero(table.category.codes == number))
        anchor = _baseline(part, settings.baseline if settings.baseline in part.players else None)
        try:
            entries, coefficients, _ = _rate(part, anchor, judge_of, settings)
        except RatingError as error:
            found[name] = {"n_questions": len(part.question.names), "error": str(error), "models": []}
            continue
        found[name] = {
            "n_questions": len(part.question.names),
            "n_verdicts": len(part),
            "baseline": anchor,
            "models": [each.document(judged=bool(judge_of), styled=bool(coefficients)) for each in entries],
        }
    return found


def _neighbours(
    table: PairwiseTable, baseline: str, entries: Sequence[Entry], settings: RatingSettings
) -> list[dict[str, Any]]:
    """Each model against the next in rank under the same judge, by points per question against the
    baseline."""
    anchor = table.players.index(baseline)
    found = []
    for judge in dict.fromkeys(each.judge for each in entries if each.model != baseline):
        mine = [each.model for each in entries if each.judge == judge and each.model != baseline]
        for name, other in pairwise(mine):
            ours = 100 * question_scores(table, table.players.index(name), anchor)
            theirs = 100 * question_scores(table, table.players.index(other), anchor)
            both = ~np.isnan(ours) & ~np.isnan(theirs)
            if both.any():
                found.append(compare_scores(name, ours[both], other, theirs[both], settings))
    return adjusted(found)


def compare_scores(
    name: str, ours: Floats, other: str, theirs: Floats, settings: RatingSettings
) -> dict[str, Any]:
    """A comparison as JSON."""
    return compare(
        (name, ours),
        (other, theirs),
        rounds=settings.rounds,
        flips=settings.flips,
        confidence=settings.confidence,
        power=settings.power,
        seed=settings.seed,
    ).document()


def adjusted(comparisons: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Comparisons with Holm-adjusted p-values added."""
    p_values = holm([each["p_permutation"] for each in comparisons])
    return [{**each, "p_holm": p} for each, p in zip(comparisons, p_values, strict=True)]


def _number(value: Any) -> float | None:
    return None if np.isnan(value) else float(value)


def _plain(value: Any) -> float:
    return int(value) if float(value).is_integer() else float(value)
