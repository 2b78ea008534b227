"""Results of a run (`results.json`): scores with intervals, by category, baselines, ratings and judge
checks."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from base.json_documents import write_json
from eval.engine.items import RunItem, read_items
from eval.engine.manifest import ITEMS, RESULTS, VERDICTS, Manifest, RunFolder
from eval.reports.hindsight import hindsight

if TYPE_CHECKING:
    from rich.table import Table

    from eval.judging.judge_checks import View

ROUNDS = 1000
CONFIDENCE = 0.95


def results_of(
    run: RunFolder, *, verdicts: Path | None = None, same: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The results of `run`, also written to `results.json`. Scores are in 0..1; `ratings` are in the
    benchmark's unit. `verdicts`: reference verdicts for judge agreement; `same`: contestant → its name there.
    Raises ItemsError, VerdictError, RatingError."""
    manifest = run.manifest
    names = [str(each["name"]) for each in manifest.contestants]
    items = [each for each in read_items(run.folder / ITEMS) if each.contestant in names]
    by_name: dict[str, list[RunItem]] = {name: [] for name in names}
    for item in items:
        by_name[item.contestant].append(item)
    sizes = _sizes(manifest)
    results: dict[str, Any] = {
        "run": manifest.id,
        "benchmark": manifest.benchmark,
        "status": manifest.status,
        "questions": manifest.questions,
        "contestants": [_contestant(name, by_name[name], manifest, sizes) for name in names],
        "comparisons": _comparisons(by_name),
        "baselines": hindsight(_scores(by_name), _routed(manifest), _categories(items)),
        "notes": _notes(manifest, items),
    }
    ratings = run.folder / VERDICTS
    results["ratings"] = _ratings(ratings, results["notes"]) if ratings.is_file() else None
    judges = manifest.protocol.get("judges") or []
    results["judges"] = None
    if judges and items:
        trusted = _trusted(manifest, verdicts, same) if verdicts else None
        results["judges"] = _judges(manifest, items, judges, trusted)
        if trusted and not any(each["agreement"] for each in results["judges"]["judges"].values()):
            results["notes"].append(
                f"{verdicts} has no verdict on an answer that was judged here: it names other models "
                "(--same NAME=NAME_THERE), questions or baselines"
            )
    write_json(results, run.folder / RESULTS)
    return results


def summary(results: Mapping[str, Any]) -> "Table":
    """The table that commands print."""
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    title = f"{results['benchmark']}, {results['questions']} questions: mean score, 0 to 1"
    header = ["", "score", "95 % interval", "n", "no score", "active B", "answered by"]
    table = Table(*header, title=title, title_justify="left", box=SIMPLE_HEAD)
    for each in results["contestants"]:
        experts = ", ".join(f"{name} {count}" for name, count in each["experts"].items())
        limits = f"{each['low']:.3f} to {each['high']:.3f}" if each["low"] is not None else ""
        size = f"{each['active_params_b']:.2f}" if each["active_params_b"] is not None else ""
        score = f"{each['score']:.3f}" if each["score"] is not None else "none"
        table.add_row(
            escape(each["name"]), score, limits, str(each["n"]), str(each["missing"]), size, escape(experts)
        )
    for name, each in (results["baselines"] or {}).get("scores", {}).items():
        table.add_row(f"[dim]{name}[/]", f"{each:.3f}", "", str(results["baselines"]["n"]), "", "", "")
    return table


def _contestant(
    name: str, items: Sequence[RunItem], manifest: Manifest, sizes: Mapping[str, float]
) -> dict[str, Any]:
    scored = [each for each in items if each.score is not None]
    turns = [turn for each in items for turn in each.turns]
    categories: dict[str, list[float]] = defaultdict(list)
    for each in scored:
        categories[each.category].append(each.score or 0.0)
    mean, low, high = mean_interval([each.score or 0.0 for each in scored])
    answered = Counter(expert for each in items for expert in each.experts)
    ran = [sizes.get(_who(turn.routing, name)) for turn in turns]
    known = [size for size in ran if size is not None]
    tokens = [turn.completion_tokens for turn in turns if turn.completion_tokens is not None]
    waited = [turn.latency_s for turn in turns if turn.latency_s]
    return {
        "name": name,
        "n": len(scored),
        "missing": manifest.questions - len(scored),
        "score": mean,
        "low": low,
        "high": high,
        "categories": {
            category: dict(zip(("n", "score", "low", "high"), (len(s), *mean_interval(s)), strict=True))
            for category, s in sorted(categories.items())
        },
        "unparsed": sum(each.unparsed for each in items),
        "errors": dict(Counter(each.error for each in items if each.error).most_common()),
        "experts": dict(answered.most_common()),
        "reasons": dict(Counter(str(t.routing.get("reason")) for t in turns if t.routing).most_common()),
        "active_params_b": sum(known) / len(known) if known and len(known) == len(turns) else None,
        "answer_tokens": sum(tokens) / len(tokens) if tokens else None,
        "cut_off": sum(turn.finish_reason == "length" for turn in turns),
        "latency_s_median": median(waited) if waited else None,
    }


def mean_interval(values: Sequence[float]) -> tuple[float | None, float | None, float | None]:
    """Mean and bootstrap interval over questions (None below two values); independent of the values'
    order."""
    import numpy as np

    from eval.rating.resampling import interval, resampled_means

    if not values:
        return None, None, None
    scores = np.sort(np.asarray(values, dtype=np.float64))
    mean = float(scores.mean())
    if len(scores) < 2:
        return mean, None, None
    low, high = interval(resampled_means(scores[:, None], ROUNDS, 0), CONFIDENCE)
    return mean, float(low[0]), float(high[0])


def _comparisons(by_name: Mapping[str, Sequence[RunItem]]) -> list[dict[str, Any]]:
    """The first contestant against each other, on the questions scored for both."""
    import numpy as np

    from eval.rating.paired import compare

    first, *others = by_name
    ours = {each.question: each.score for each in by_name[first] if each.score is not None}
    found = []
    for other in others:
        theirs = {each.question: each.score for each in by_name[other] if each.score is not None}
        both = sorted(question for question in ours if question in theirs)
        if len(both) >= 2:
            pair = [np.array([scores[q] for q in both]) for scores in (ours, theirs)]
            found.append(compare((first, pair[0]), (other, pair[1])).document())
    return found


def _scores(by_name: Mapping[str, Sequence[RunItem]]) -> dict[str, dict[str, float]]:
    return {
        name: {each.question: each.score for each in items if each.score is not None}
        for name, items in by_name.items()
    }


def _routed(manifest: Manifest) -> list[str]:
    return [each["name"] for each in manifest.contestants if "composition" in each["identity"]]


def _categories(items: Sequence[RunItem]) -> dict[str, str]:
    return {each.question: each.category for each in items}


def _sizes(manifest: Manifest) -> dict[str, float]:
    """Active parameters in billions, by expert and by contestant."""
    found: dict[str, float] = {}
    for contestant in manifest.contestants:
        identity = contestant["identity"]
        experts = [*identity.get("experts", ()), *([identity["expert"]] if "expert" in identity else [])]
        for expert in experts:
            size = expert.get("active_params_b") or expert.get("params_b")
            if size is not None:
                found[expert["name"]] = float(size)
                if "expert" in identity:
                    found[contestant["name"]] = float(size)
    return found


def _who(routing: Mapping[str, Any] | None, contestant: str) -> str:
    return str(routing["expert"]) if routing and "expert" in routing else contestant


def _ratings(path: Path, notes: list[str]) -> dict[str, Any] | None:
    from eval.rating.bradley_terry import RatingError
    from eval.rating.columns import VerdictError
    from eval.rating.rate import rate
    from eval.rating.settings import RatingSettings
    from eval.rating.table import read_verdicts

    try:
        return rate(read_verdicts(path), RatingSettings(rounds=ROUNDS))
    except (RatingError, VerdictError) as error:
        notes.append(f"the verdicts cannot be rated: {error}")
        return None


def _trusted(manifest: Manifest, verdicts: Path, same: Mapping[str, str] | None) -> "dict[str, list[View]]":
    from eval.judging.judge_checks import read_trusted

    baselines = manifest.protocol.get("baselines") or [manifest.protocol.get("baseline")]
    return read_trusted(
        verdicts,
        pairwise=manifest.protocol.get("mode") == "pairwise",
        baselines=[each["name"] for each in baselines if each],
        same=same,
    )


def _judges(
    manifest: Manifest,
    items: Sequence[RunItem],
    judges: Sequence[Mapping[str, Any]],
    trusted: "dict[str, list[View]] | None",
) -> dict[str, Any]:
    from eval.judging.judge_checks import check_judges

    return check_judges(
        items,
        models={each["name"]: each["model"] for each in manifest.contestants},
        judge_models={each["name"]: each["model"] for each in judges},
        trusted=trusted,
    )


def _notes(manifest: Manifest, items: Sequence[RunItem]) -> list[str]:
    notes = []
    protocol = manifest.protocol
    if manifest.benchmark == "mt-bench":
        if protocol.get("turns") == 1:
            notes.append(
                "first turns alone: not MT-Bench's protocol, and not comparable with published scores"
            )
        if manifest.questions != 80:
            notes.append(f"{manifest.questions} questions instead of MT-Bench's 80")
    if manifest.benchmark.startswith("arena-hard"):
        whole = 500 if manifest.benchmark == "arena-hard" else 750
        if manifest.questions != whole:
            notes.append(
                f"{manifest.questions} questions instead of {whole}: not comparable with published scores"
            )
    notes += _screening(protocol.get("screening") or {})
    unparsed = sum(each.unparsed for each in items)
    if unparsed:
        total = sum(len(each.judgments) for each in items)
        notes.append(f"{unparsed} of {total} judgments have no readable verdict and count nowhere")
    failed = sum(each.error is not None for each in items)
    if failed:
        notes.append(f"{failed} items have no score because somebody did not answer")
    cut = sum(turn.finish_reason == "length" for each in items for turn in each.turns)
    if cut:
        notes.append(f"{cut} answers were cut off at the limit of tokens")
    return notes


def _screening(screening: Mapping[str, Any]) -> list[str]:
    """What decontamination found, by composition."""
    notes = []
    for digest, found in screening.items():
        if isinstance(found, str):
            notes.append(f"composition {digest}: {found}")
        elif found["allow_seen"] and found["seen"] + found["near_duplicates"]:
            count = found["seen"] + found["near_duplicates"]
            notes.append(f"REPORTED ON {count} prompts composition {digest} was fitted on (--allow-seen)")
        elif found["refused"]:
            notes.append(f"{found['refused']} questions left out: composition {digest} was fitted on them")
    return notes
