"""Reliability of judges from a run's items: position bias, length bias, self-preference, agreement with each
other and with trusted verdicts."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from base.phrases import words
from eval.engine.items import RunItem
from eval.judging.agreement import cohen_kappa, fleiss_kappa, spearman
from eval.judging.judge_prompts import Scale

RATINGS = tuple(range(1, 11))


@dataclass(frozen=True, slots=True)
class View:
    """A rater's view of one answer: a rating, or the sum of a pair's games. `place`: (contestant, question,
    turn); `words` of the answer and, for pairs, of the baseline's (`other_words`)."""

    place: tuple[str, str, int]
    value: float
    words: int
    other_words: int | None = None

    @property
    def sign(self) -> int:
        """-1, 0 or 1."""
        return (self.value > 0) - (self.value < 0)


def check_judges(
    items: Sequence[RunItem],
    *,
    models: Mapping[str, str],
    judge_models: Mapping[str, str],
    trusted: Mapping[str, Sequence[View]] | None = None,
) -> dict[str, Any]:
    """All checks: `{"judges": {name: {...}}, "panel": {...} | None}`. `models`, `judge_models`: the model
    behind each contestant and judge, for self-preference; `trusted`: reference views by rater."""
    views = {name: views_of(items, name) for name in judge_models}
    pairwise = _is_pairwise(items)
    judges: dict[str, Any] = {}
    for name, model in judge_models.items():
        said = [each for item in items for each in item.judgments if each["judge"] == name]
        others = [one for other, those in views.items() if other != name for one in those]
        others += [one for those in (trusted or {}).values() for one in those]
        judges[name] = {
            "judgments": len(said),
            "unparsed": sum("rating" not in each and "label" not in each for each in said),
            "retried": sum(each["attempts"] > 1 for each in said),
            "positions": positions(items, name) if pairwise else None,
            "length": _lengths(views[name], pairwise=pairwise),
            "self_preference": self_preference(
                views[name],
                others,
                [contestant for contestant, behind in models.items() if behind == model],
            ),
            "agreement": {
                who: found
                for who, those in (trusted or {}).items()
                if (found := agreement(views[name], those, pairwise=pairwise))["n"]
            },
        }
    return {"judges": judges, "panel": panel(views, pairwise=pairwise) if len(views) > 1 else None}


def views_of(items: Sequence[RunItem], judge: str) -> list[View]:
    """The parsed views of one judge; of a pair of games their sum."""
    found = []
    for item in items:
        by_turn: dict[int, list[Mapping[str, Any]]] = defaultdict(list)
        for each in item.judgments:
            if each["judge"] == judge:
                by_turn[each["turn"]].append(each)
        for turn, said in by_turn.items():
            place = (item.contestant, item.question, turn)
            length = len(words(item.turns[turn - 1].answer)) if len(item.turns) >= turn else 0
            if said[0]["scale"] == Scale.RATING.value:
                found += [View(place, each["rating"], length) for each in said if "rating" in each]
            elif all("label" in each for each in said):
                found.append(
                    View(place, float(sum(map(_points, said))), length, _baseline_words(item, judge, turn))
                )
    return found


def positions(items: Sequence[RunItem], judge: str) -> dict[str, Any]:
    """Position bias: `same`, the share of pairs with the same outcome in both games; `first` and `second`,
    the shares in which the answer shown first (second) won both games."""
    pairs = same = first = second = 0
    for item in items:
        games: dict[int, dict[int, str]] = defaultdict(dict)
        for each in item.judgments:
            if each["judge"] == judge and "label" in each:
                games[each["turn"]][each["game"]] = each["label"]
        for labels in games.values():
            if len(labels) < 2:
                continue
            one, two = _a_wins(labels[1]), _a_wins(labels[2])
            pairs += 1
            same += one == -two
            first += one == two == 1
            second += one == two == -1
    shares = {"same": same, "first": first, "second": second}
    return {"pairs": pairs} | {name: count / pairs if pairs else None for name, count in shares.items()}


def self_preference(
    views: Sequence[View], others: Sequence[View], own: Sequence[str]
) -> dict[str, Any] | None:
    """Self-preference: the judge's mean view less that of `others` on the same answers, for the contestants
    `own` (the judge's model) less for all others. None if it judged no own answer; `preference` None if
    nobody else judged both kinds."""
    if not any(view.place[0] in own for view in views):
        return None
    elsewhere: dict[tuple[str, str, int], list[float]] = defaultdict(list)
    for view in others:
        elsewhere[view.place].append(view.value)
    gaps: dict[bool, list[float]] = {True: [], False: []}
    for view in views:
        if there := elsewhere.get(view.place):
            gaps[view.place[0] in own].append(view.value - sum(there) / len(there))
    ours, theirs = _mean(gaps[True]), _mean(gaps[False])
    preference = ours - theirs if ours is not None and theirs is not None else None
    return {"preference": preference, "own": len(gaps[True]), "others": len(gaps[False])}


def agreement(views: Sequence[View], trusted: Sequence[View], *, pairwise: bool) -> dict[str, Any]:
    """Agreement of `views` with `trusted` on common answers. Pairs: shares of equal signs, overall and
    without ties, and Cohen's kappa. Ratings: Spearman's correlation, mean absolute difference and
    quadratically weighted kappa."""
    there = {view.place: view for view in trusted}
    both = [(view, there[view.place]) for view in views if view.place in there]
    if pairwise:
        ours, theirs = [one.sign for one, _ in both], [other.sign for _, other in both]
        decided = [one == other for one, other in zip(ours, theirs, strict=True) if one and other]
        return {
            "n": len(both),
            "same": _mean([one == other for one, other in zip(ours, theirs, strict=True)]),
            "same_decided": _mean(decided),
            "n_decided": len(decided),
            "kappa": cohen_kappa(ours, theirs),
        }
    ratings, theirs_rated = [one.value for one, _ in both], [other.value for _, other in both]
    return {
        "n": len(both),
        "spearman": spearman(ratings, theirs_rated),
        "mean_difference": _mean([abs(a - b) for a, b in zip(ratings, theirs_rated, strict=True)]),
        "kappa": cohen_kappa(_rounded(ratings), _rounded(theirs_rated), order=RATINGS),
    }


def panel(views: Mapping[str, Sequence[View]], *, pairwise: bool) -> dict[str, Any]:
    """Agreement between the judges: Fleiss' kappa over common answers (ratings as low, middle, high), and
    each pair of judges."""
    by_judge = {name: {view.place: view for view in those} for name, those in views.items()}
    common = sorted(set.intersection(*(set(those) for those in by_judge.values())))
    rated = [
        [those[place].sign if pairwise else _third(those[place].value) for those in by_judge.values()]
        for place in common
    ]
    return {
        "n": len(common),
        "fleiss_kappa": fleiss_kappa(rated),
        "pairs": [
            {"judges": [one, other]} | agreement(views[one], views[other], pairwise=pairwise)
            for one, other in combinations(views, 2)
        ],
    }


def read_trusted(
    path: Path,
    *,
    pairwise: bool,
    baselines: Sequence[str] = (),
    same: Mapping[str, str] | None = None,
) -> dict[str, list[View]]:
    """Views from a verdict table by its judges; of pairs only those against `baselines`. `same`: the table's
    names of contestants. Raises VerdictError."""
    from eval.rating.columns import VerdictError
    from eval.rating.table import PairwiseTable, read_verdicts

    table = read_verdicts(path)
    if isinstance(table, PairwiseTable) != pairwise:
        kinds = ("pairs", "graded answers") if pairwise else ("graded answers", "pairs")
        raise VerdictError(f"{path}: judges of {kinds[0]} cannot be compared with verdicts on {kinds[1]}")
    names = table.judge.names
    called = {theirs: ours for ours, theirs in (same or {}).items()}
    sums: dict[str, dict[tuple[str, str, int], list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in range(len(table)):
        judge = names[table.judge.codes[row]] if table.judge.codes[row] >= 0 else path.stem
        question = table.question.names[table.question.codes[row]]
        if isinstance(table, PairwiseTable):
            if baselines and table.players[table.baseline[row]] not in baselines:
                continue
            player = table.players[table.model[row]]
            place = (called.get(player, player), question, 1)
            sums[judge][place].append(float(table.win[row] - table.loss[row]))
        else:
            model = table.model.names[table.model.codes[row]]
            place = (called.get(model, model), question, int(table.turn[row]))
            sums[judge][place].append(float(table.score[row]))
    return {
        judge: [
            View(place, sum(values) if isinstance(table, PairwiseTable) else sum(values) / len(values), 0)
            for place, values in places.items()
        ]
        for judge, places in sums.items()
    }


def _lengths(views: Sequence[View], *, pairwise: bool) -> dict[str, Any]:
    """Length: the share of decided pairs in which the longer answer won, or Spearman's correlation of rating
    and words (not a bias by itself: longer answers may be better)."""
    if not pairwise:
        return {"n": len(views), "spearman": spearman([v.value for v in views], [v.words for v in views])}
    decided = [
        (view.sign > 0) == (view.words > view.other_words)
        for view in views
        if view.other_words is not None and view.sign and view.words != view.other_words
    ]
    return {"n": len(decided), "longer_won": _mean(decided)}


def _baseline_words(item: RunItem, judge: str, turn: int) -> int | None:
    for row in item.verdicts:
        if row.get("judge") == judge and row.get("turn", 1) == turn and "baseline_length" in row:
            return int(row["baseline_length"])
    return None


def _is_pairwise(items: Sequence[RunItem]) -> bool:
    return any(each["scale"] != Scale.RATING.value for item in items for each in item.judgments)


def _a_wins(label: str) -> int:
    """1 when the answer shown first won, -1 when the second did."""
    return 0 if "=" in label else 1 if label.startswith("A") else -1


def _points(judgment: Mapping[str, Any]) -> int:
    """The model's points in one game, in which it is B first; `>>` counts 3."""
    label = judgment["label"]
    points = _a_wins(label) * (3 if ">>" in label else 1)
    return -points if judgment["game"] == 1 else points


def _rounded(values: Sequence[float]) -> list[int]:
    return [min(10, max(1, round(value))) for value in values]


def _third(rating: float) -> str:
    return "low" if rating < 4 else "middle" if rating < 8 else "high"


def _mean(values: Sequence[float | bool]) -> float | None:
    return sum(values) / len(values) if values else None
