"""The report of a run as one self-contained HTML page: tables, plots and every item.

Prepares the context of the template `report.html.j2`. Every number links to the items that it aggregates;
models' texts are escaped. Does no file I/O.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from eval.engine.items import ItemTurn, RunItem
from eval.engine.manifest import Manifest
from eval.reports import run_pictures

if TYPE_CHECKING:
    from jinja2 import Environment

TEXT_BUDGET = 12_000_000
"""Maximum characters of answers and judgments on a page; beyond it long texts are truncated with a note."""
SHORT = 600
NAMES = {"mt-bench": "MT-Bench", "arena-hard": "Arena-Hard v0.1", "arena-hard-v2": "Arena-Hard v2.0"}


def page(manifest: Manifest, results: Mapping[str, Any], items: Sequence[RunItem]) -> str:
    """Render the page from `eval.reports.results` and the run's items."""
    graded = manifest.benchmark == "mt-bench" and manifest.protocol.get("mode") == "single"
    factor = 10.0 if graded else 1.0
    limit = _limit(items)
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            title=_title(manifest),
            manifest=manifest,
            manifest_json=json.dumps(manifest.model_dump(mode="json"), indent=2, ensure_ascii=False),
            results=results,
            pairwise=_pairwise(results),
            categories=list(
                dict.fromkeys(name for each in results["contestants"] for name in each["categories"])
            ),
            factor=factor,
            pictures=_pictures(results, factor),
            judge_pairs=_judge_pairs(results["judges"]),
            limit=limit,
            lists=_lists(items),
            groups=_groups(items),
        )
    )


@cache
def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.do"],
    )
    environment.filters |= {"number": _number, "limits": _limits, "facts": _facts, "cut": _cut}
    environment.globals |= {"anchor": _anchor, "without_empty": _without_empty}
    return environment


def _title(manifest: Manifest) -> str:
    against = ", ".join(str(each["name"]) for each in manifest.contestants[:4])
    more = f" and {len(manifest.contestants) - 4} more" if len(manifest.contestants) > 4 else ""
    return f"{NAMES.get(manifest.benchmark, manifest.benchmark.capitalize())}: {against}{more}"


def _pairwise(results: Mapping[str, Any]) -> bool:
    return (results["ratings"] or {}).get("kind") == "pairwise"


def _pictures(results: Mapping[str, Any], factor: float) -> dict[str, Any]:
    """The plots as markup; None without data."""
    pairwise = _pairwise(results)
    pictures = {
        "scores": run_pictures.bars(
            _intervals(results["contestants"], "name"),
            label="share of games won against the baseline" if pairwise else "mean score",
            low=0.0,
            high=1.0,
            mark=0.5 if pairwise else None,
        )
    }
    scores = {
        each["name"]: {name: cell["score"] * factor for name, cell in each["categories"].items()}
        for each in results["contestants"]
        if each["categories"]
    }
    if len({name for each in scores.values() for name in each}) >= 3:
        pictures["categories"] = run_pictures.radar(scores, top=factor)
    if pairwise:
        rows = _intervals(results["ratings"]["models"], "model")
        pictures["ratings"] = run_pictures.bars(
            rows, label="win rate against the baseline, %", low=0, high=100, mark=50
        )
    checks = _judge_checks(results["judges"])
    if any(checks.values()):
        pictures["judges"] = run_pictures.shares(checks, label="share")
    from markupsafe import Markup  # matplotlib's SVG is trusted markup

    drawn = {name: Markup(run_pictures.svg(figure)) for name, figure in pictures.items()}
    return dict.fromkeys(("scores", "categories", "ratings", "judges")) | drawn


def _intervals(
    rows: Sequence[Mapping[str, Any]], name: str
) -> list[tuple[str, float, float | None, float | None]]:
    return [
        (each[name], each["score"], each["low"], each["high"]) for each in rows if each["score"] is not None
    ]


def _judge_checks(judges: Mapping[str, Any] | None) -> dict[str, dict[str, float]]:
    """Known shares by judge and check."""
    checks = {}
    for name, each in (judges or {"judges": {}})["judges"].items():
        positions = each["positions"] or {}
        shares = {
            "same winner in both positions": positions.get("same"),
            "first position wins both": positions.get("first"),
            "second position wins both": positions.get("second"),
            "longer answer wins": each["length"].get("longer_won"),
            "readable at the first try": 1 - each["retried"] / each["judgments"]
            if each["judgments"]
            else None,
        }
        checks[name] = {check: share for check, share in shares.items() if share is not None}
    return checks


def _judge_pairs(judges: Mapping[str, Any] | None) -> list[tuple[str, Mapping[str, Any]]]:
    """Agreement of judges with references and with each other."""
    if not judges:
        return []
    pairs = [
        (f"{name} with {who}", found)
        for name, each in judges["judges"].items()
        for who, found in each["agreement"].items()
    ]
    panel = judges["panel"] or {"pairs": []}
    return pairs + [(" with ".join(each["judges"]), each) for each in panel["pairs"]]


def _groups(items: Sequence[RunItem]) -> dict[str, dict[str, list[RunItem]]]:
    """Items by contestant and category."""
    groups: dict[str, dict[str, list[RunItem]]] = defaultdict(lambda: defaultdict(list))
    for item in items:
        groups[item.contestant][item.category].append(item)
    return groups


def _lists(items: Sequence[RunItem]) -> dict[tuple[str, ...], list[RunItem]]:
    """Items behind the numbers that span categories, by the parts of the number's anchor."""
    lists: dict[tuple[str, ...], list[RunItem]] = defaultdict(list)
    for item in items:
        if item.score is None:
            lists[item.contestant, "missing"].append(item)
        if item.unparsed:
            lists[item.contestant, "unread"].append(item)
            unread = (j["judge"] for j in item.judgments if "rating" not in j and "label" not in j)
            for judge in dict.fromkeys(unread):
                lists[(f"unread by {judge}",)].append(item)
        for expert in dict.fromkeys(item.experts):
            lists[item.contestant, f"by {expert}"].append(item)
    return lists


def _facts(turn: ItemTurn) -> list[str]:
    """The expert, the latency, and whether the answer was truncated."""
    routing = turn.routing or {}
    facts = []
    if routing:
        facts.append(f"answered by {routing['expert']} ({routing.get('reason')}, {routing.get('category')})")
    if turn.completion_tokens is not None:
        facts.append(f"{turn.completion_tokens} tokens")
    if turn.latency_s:
        facts.append(f"{turn.latency_s:.2f} s")
    if turn.finish_reason == "length":
        facts.append("cut off")
    return facts


def _limit(items: Sequence[RunItem]) -> int | None:
    """Maximum characters of each text; None for no limit."""
    answers = sum(len(turn.answer) for each in items for turn in each.turns)
    total = answers + sum(len(str(j.get("text", ""))) for each in items for j in each.judgments)
    return None if total <= TEXT_BUDGET else max(SHORT, TEXT_BUDGET * 1000 // total)


def _cut(text: str, limit: int | None) -> str:
    return text if limit is None or len(text) <= limit else text[:limit] + " …"


def _anchor(*parts: str) -> str:
    return quote("/".join(parts), safe="/")


def _number(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _limits(row: Mapping[str, Any], digits: int = 3) -> str:
    low, high = row["low"], row["high"]
    return "" if low is None or high is None else f"{low:.{digits}f} to {high:.{digits}f}"


def _without_empty(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> tuple[list[str], list[list[Any]]]:
    """The table without columns that are empty in every row."""
    kept = [place for place in range(len(header)) if any(str(row[place]) for row in rows)]
    return [header[place] for place in kept], [[row[place] for place in kept] for row in rows]
