"""The report of a run as one HTML page that needs nothing else: tables, pictures, and every item.

Every number links to the items that it counts. Knows nothing of files.
"""

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from eval.engine.items import Item
from eval.engine.manifest import Manifest
from eval.reports import run_pictures
from eval.reports.report_items import items_section, link

STYLE = """
:root { color-scheme: light; --ink: #23201d; --soft: #6d665e; --line: #e3ddd2; --link: #1f5fa8; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); max-width: 62rem; margin: 2rem auto;
  padding: 0 1.2rem; background: #fffdf9; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
h3 { font-size: 1rem; margin: 1.2rem 0 .3rem; }
p, figcaption { max-width: 46rem; } .soft, figcaption { color: var(--soft); font-size: .9rem; }
a { color: var(--link); text-decoration: none; } a:hover { text-decoration: underline; }
.wide { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .28rem .7rem; text-align: right; vertical-align: top;
  border-bottom: 1px solid var(--line); }
th { font-weight: 600; font-size: .86rem; } th:first-child, td:first-child { text-align: left; }
td.text { text-align: left; } figure { margin: 1rem 0; } figure svg { max-width: 100%; height: auto; }
details { border-bottom: 1px solid var(--line); padding: .25rem 0; } summary { cursor: pointer; }
details details { margin-left: 1rem; } .turn { margin: .5rem 0 .8rem 1rem; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: #f6f2ea; padding: .6rem .8rem;
  margin: .3rem 0; border-radius: 4px; font: 13px/1.45 ui-monospace, monospace;
  max-height: 28rem; overflow-y: auto; }
.who { font-size: .82rem; color: var(--soft); } .notes li { margin: .2rem 0; }
@media print { details { break-inside: avoid; } }
"""

SCRIPT = """
function reveal() {
  let at = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let each = at; each; each = each.parentElement) if (each.tagName === "DETAILS") each.open = true;
  if (at) at.scrollIntoView();
}
addEventListener("hashchange", reveal); addEventListener("load", reveal);
"""


def page(manifest: Manifest, results: Mapping[str, Any], items: Sequence[Item]) -> str:
    """The whole page. Texts of models are escaped: nothing of theirs is read as HTML."""
    body = [
        f"<h1>{_title(manifest)}</h1>",
        f'<p class="soft">{escape(manifest.id)}, {escape(manifest.created_at[:16].replace("T", " "))} UTC, '
        f"{escape(manifest.status)}</p>",
        _notes(results["notes"]),
        _scores(results),
        _categories(manifest, results),
        _comparisons(results),
        _ratings(results),
        _judges(manifest, results),
        _manifest(manifest),
        items_section(items),
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_title(manifest)}</title><style>{STYLE}</style></head>\n<body>"
        + "\n".join(part for part in body if part)
        + f"<script>{SCRIPT}</script></body></html>\n"
    )


def _title(manifest: Manifest) -> str:
    names = {"mt-bench": "MT-Bench", "arena-hard": "Arena-Hard v0.1", "arena-hard-v2": "Arena-Hard v2.0"}
    against = ", ".join(str(each["name"]) for each in manifest.contestants[:4])
    more = f" and {len(manifest.contestants) - 4} more" if len(manifest.contestants) > 4 else ""
    return escape(f"{names.get(manifest.benchmark, manifest.benchmark.capitalize())}: {against}{more}")


def _notes(notes: Sequence[str]) -> str:
    rows = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<ul class="notes">{rows}</ul>' if notes else ""


def _scores(results: Mapping[str, Any]) -> str:
    pairwise = (results["ratings"] or {}).get("kind") == "pairwise"
    header = ["", "score", "95 % interval", "answered and marked", "no score", "unread judgments", "active B",
              "tokens", "answered by"]  # fmt: skip
    rows = []
    for each in results["contestants"]:
        name = each["name"]
        experts = ", ".join(
            link(f"{expert} {count}", name, expert=expert) for expert, count in each["experts"].items()
        )
        rows.append(
            [
                escape(name),
                link(_number(each["score"]), name),
                _limits(each["low"], each["high"]),
                link(str(each["n"]), name),
                link(str(each["missing"]), name, part="missing") if each["missing"] else "0",
                link(str(each["unparsed"]), name, part="unread") if each["unparsed"] else "0",
                _number(each["active_params_b"], 2),
                _number(each["answer_tokens"], 0),
                experts,
            ]
        )
    beside = ""
    if results["baselines"]:
        there = [[escape(name), _number(value)] for name, value in results["baselines"]["scores"].items()]
        beside = (
            "<h3>Baselines beside</h3>"
            f'<p class="soft">On the {results["baselines"]["n"]} questions that everybody has a score for. '
            "What is known only in hindsight is a bound, not a rival.</p>" + _table(["", "score"], there)
        )
    picture = run_pictures.bars(
        [
            (each["name"], each["score"], each["low"], each["high"])
            for each in results["contestants"]
            if each["score"] is not None
        ],
        label="share of games won against the baseline" if pairwise else "mean score",
        low=0.0,
        high=1.0,
        mark=0.5 if pairwise else None,
    )
    what = (
        "Share of games won, ties half; 0.5 equals the baseline."
        if pairwise
        else "Mean score of a question, 0 to 1."
    )
    header, rows = _without_empty(header, rows)
    return (
        f"<h2>Scores</h2><p class='soft'>{what} Intervals are bootstrapped over questions.</p>"
        + _table(header, rows)
        + _figure(picture, "Scores with 95 % intervals.")
        + beside
    )


def _categories(manifest: Manifest, results: Mapping[str, Any]) -> str:
    there = results["contestants"]
    categories = list(dict.fromkeys(name for each in there for name in each["categories"]))
    if len(categories) < 2:
        return ""
    graded = manifest.benchmark == "mt-bench" and manifest.protocol.get("mode") == "single"
    factor = 10.0 if graded else 1.0
    rows = []
    for category in categories:
        row = [escape(category)]
        for each in there:
            cell = each["categories"].get(category)
            row.append(
                link(_number(cell["score"] * factor, 2 if graded else 3), each["name"], part=category)
                + f' <span class="soft">({cell["n"]})</span>'
                if cell
                else ""
            )
        rows.append(row)
    picture = ""
    if len(categories) >= 3:
        scores = {
            each["name"]: {name: cell["score"] * factor for name, cell in each["categories"].items()}
            for each in there
            if each["categories"]
        }
        picture = _figure(run_pictures.radar(scores, top=factor), "Mean score by category.")
    return "<h2>By category</h2>" + _table(["", *(escape(each["name"]) for each in there)], rows) + picture


def _comparisons(results: Mapping[str, Any]) -> str:
    rows = [
        [
            f"{escape(each['first'])} − {escape(each['second'])}",
            f"{each['difference']:+.3f}",
            f"{each['low']:+.3f} to {each['high']:+.3f}",
            _number(each["p_permutation"]),
            f"{each['better']} / {each['equal']} / {each['worse']}",
            _number(each["minimum_detectable"]),
        ]
        for each in results["comparisons"]
    ]
    if not rows:
        return ""
    header = ["", "difference", "95 % interval", "p", "better / equal / worse", "detectable"]
    return (
        "<h2>Paired comparisons</h2><p class='soft'>On the same questions. p is of a permutation test; "
        "detectable is the true difference that as many questions would show with a chance of 80 %.</p>"
        + _table(header, rows)
    )


def _ratings(results: Mapping[str, Any]) -> str:
    ratings = results["ratings"]
    if not ratings:
        return ""
    pairwise = ratings["kind"] == "pairwise"
    styled = pairwise and "style" in ratings
    header = ["", "score", "95 % interval", "rank", "verdicts"]
    header += ["at equal style", "its interval"] if styled else []
    rows = []
    for each in ratings["models"]:
        row = [
            escape(each["model"]),
            link(_number(each["score"], 2), each["model"].partition(" [")[0]),
            _limits(each["low"], each["high"], 2),
            f"{each['rank']} ({each['rank_low']}–{each['rank_high']})",
            str(each["n"]),
        ]
        if styled:
            row += [
                _number(each["style_score"], 2),
                _limits(each["style_low"], each["style_high"], 2),
            ]
        rows.append(row)
    picture = ""
    if pairwise:
        drawn = [
            (each["model"], each["score"], each["low"], each["high"])
            for each in ratings["models"]
            if each["score"] is not None
        ]
        picture = _figure(
            run_pictures.bars(drawn, label="win rate against the baseline, %", low=0, high=100, mark=50),
            "Expected win rates (Bradley–Terry) with 95 % intervals.",
        )
    notes = "".join(f"<li>{escape(note)}</li>" for note in ratings["notes"])
    return (
        f"<h2>Ratings</h2><p class='soft'>{escape(ratings['score_is'])}.</p>"
        + _table(header, rows)
        + picture
        + (f'<ul class="notes">{notes}</ul>' if notes else "")
    )


def _judges(manifest: Manifest, results: Mapping[str, Any]) -> str:
    if not results["judges"]:
        return ""
    judges = results["judges"]["judges"]
    rows, drawn = [], {}
    for name, each in judges.items():
        positions = each["positions"] or {}
        length, self_preference = each["length"], each["self_preference"]
        rows.append(
            [
                escape(name),
                str(each["judgments"]),
                link(str(each["unparsed"]), f"unread by {name}") if each["unparsed"] else "0",
                str(each["retried"]),
                _number(positions.get("same"), 2),
                f"{_number(positions.get('first'), 2)} / {_number(positions.get('second'), 2)}"
                if positions
                else "",
                _number(length.get("longer_won", length.get("spearman")), 2),
                _number((self_preference or {}).get("preference"), 2),
            ]
        )
        shown = {
            "same winner in both positions": positions.get("same"),
            "first position wins both": positions.get("first"),
            "second position wins both": positions.get("second"),
            "longer answer wins": length.get("longer_won"),
            "readable at the first try": 1 - each["retried"] / each["judgments"]
            if each["judgments"]
            else None,
        }
        drawn[name] = {check: value for check, value in shown.items() if value is not None}
    header = ["", "judgments", "unread", "retried", "same in both positions", "first / second favoured",
              "length", "self-preference"]  # fmt: skip
    header, rows = _without_empty(header, rows)
    parts = [
        "<h2>Judges</h2>",
        _table(header, rows),
        '<p class="soft">Same in both positions: the share of pairs whose two games have one winner, or are '
        "both ties. Favoured: the answer in that position won both games, whoever gave it. Length: the share "
        "of decided pairs that the longer answer won, or Spearman's correlation of rating and words; longer "
        "answers may also be better. Self-preference: how much more a judge likes its own answers than "
        "others like them, less the same for everybody else's answers; empty where nobody else judged.</p>",
        _figure(run_pictures.shares(drawn, label="share"), "Judge checks.") if any(drawn.values()) else "",
    ]
    agreements = [
        [f"{escape(name)} with {escape(who)}", *_agreement(found)]
        for name, each in judges.items()
        for who, found in each["agreement"].items()
    ]
    panel = results["judges"]["panel"]
    if panel:
        agreements += [[escape(" with ".join(each["judges"])), *_agreement(each)] for each in panel["pairs"]]
        parts.append(
            f"<p>Panel: Fleiss' kappa {_number(panel['fleiss_kappa'], 2)} over {panel['n']} answers that "
            "all judges judged.</p>"
        )
    if agreements:
        header = ["", "answers", "agreement", "where both decide", "kappa"]
        parts.append("<h3>Agreement</h3>" + _table(header, agreements))
    prompts = {str(each.get("prompts")) for each in manifest.protocol.get("judges", ())}
    parts.append(f'<p class="soft">Judge prompts: {escape(", ".join(sorted(prompts)))}.</p>')
    return "".join(parts)


def _agreement(found: Mapping[str, Any]) -> list[str]:
    if "same" in found:
        return [
            str(found["n"]), _number(found["same"], 2), _number(found["same_decided"], 2),
            _number(found["kappa"], 2),
        ]  # fmt: skip
    spearman = _number(found["spearman"], 2)
    return [str(found["n"]), f"Spearman {spearman}" if spearman else "", "", _number(found["kappa"], 2)]


def _manifest(manifest: Manifest) -> str:
    document = manifest.model_dump(mode="json")
    text = escape(json.dumps(document, indent=2, ensure_ascii=False))
    command = escape("coterie " + " ".join(manifest.command)) if manifest.command else ""
    return (
        "<h2>Manifest</h2>"
        + (f"<pre>{command}</pre>" if command else "")
        + '<details id="manifest"><summary>Everything that makes this run repeatable</summary>'
        + f"<pre>{text}</pre></details>"
    )


def _number(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _limits(low: float | None, high: float | None, digits: int = 3) -> str:
    return "" if low is None or high is None else f"{low:.{digits}f} to {high:.{digits}f}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{each}</th>" for each in header)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _without_empty(header: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """The table without columns that are empty in every row."""
    kept = [place for place in range(len(header)) if any(row[place] for row in rows)]
    return [header[place] for place in kept], [[row[place] for place in kept] for row in rows]


def _figure(figure: Any, caption: str) -> str:
    return f"<figure>{run_pictures.svg(figure)}<figcaption>{escape(caption)}</figcaption></figure>"
