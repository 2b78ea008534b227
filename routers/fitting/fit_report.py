"""The report of a fit: `report.md`, `curve.json` and figures in the composition's folder."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from base.json_documents import write_json
from routers.cost_curve import CostCurve, cost_curve, score_at
from routers.fit_pictures import draw_curve, draw_reliability, draw_risk_coverage, draw_utilities
from routers.fitting.compose import Fit

REPORT = "report.md"
PICTURES = "pictures"


def write_report(fit: Fit, folder: Path) -> Path:
    """Write the report, which no digest covers, to the composition's folder; return its path."""
    pictures = folder / PICTURES
    pictures.mkdir(parents=True, exist_ok=True)
    made = fit.composition
    confidence, correct = fit.held_out.confidence, fit.held_out.correct
    draw_reliability(pictures / "reliability.png", confidence, correct)
    draw_risk_coverage(pictures / "risk-coverage.png", confidence, correct, made.policy.threshold)
    draw_utilities(pictures / "utilities.png", made.utilities, made.categories, made.expert_names)
    curve = None
    if fit.validation is not None:
        curve = cost_curve(fit.validation.corrected.held_out, fit.validation.scores, made.experts)
        held_out = made.manifest["held_out"]
        here = (held_out["active_params_b"], held_out["score"])
        draw_curve(pictures / "curve.png", curve, "Quality and cost on held-out prompts", here)
        write_json(curve.document(), folder / "curve.json")
    path = folder / REPORT
    path.write_text("\n".join(_lines(fit, curve)) + "\n", encoding="utf-8")
    return path


def _lines(fit: Fit, curve: CostCurve | None) -> Iterable[str]:
    made = fit.composition
    facts = made.manifest
    data, held_out = facts["data"], facts["held_out"]
    yield "# Fit"
    yield ""
    yield (
        f"{data['labelled_prompts']:,} labelled prompts in {len(made.categories)} categories, "
        f"{data['scored_prompts']:,} of them scored for {len(made.experts)} experts. Utilities are "
        f"{data['utilities']}. All figures below are of prompts that the models which made them had not "
        f"seen ({held_out['folds']} folds, identical prompts in the same one). Of the outcome table, "
        f"{data['tokens']}."
    )
    yield from _quality(held_out, curve)
    yield from _stage1(fit, held_out)
    yield from _map(fit)
    yield from _correction(facts.get("correction"))
    yield from _table(("option", "value"), [(key, _shown(value)) for key, value in facts["options"].items()])


def gain_text(held_out: Mapping[str, Any]) -> str:
    """What was gained over the best single expert on prompts where both are scored, for people."""
    gain, error = held_out["gain_over_best_single"], held_out["gain_error"]
    if gain is None:
        return "no held-out prompt is scored both for it and for whom the composition chose"
    spread = "from one prompt" if error is None else f"± {error:.4f} (standard error)"
    return f"a paired difference of {gain:+.4f} {spread}"


def _quality(held_out: Mapping[str, Any], curve: CostCurve | None) -> Iterable[str]:
    if "score" not in held_out:
        return
    best = held_out["best_single"]
    yield from ("", "## Quality and cost", "")
    yield (
        f"Score **{held_out['score']:.4f}** at {held_out['active_params_b']:g} B average active parameters, "
        f"{_shown(held_out['cost'])} $ and {_shown(held_out['compute'])} B·tokens a request. The best single "
        f"expert, {best['expert']}, scores {best['score']:.4f}: {gain_text(held_out)}. An "
        f"oracle that knows the best expert of every prompt would score {_shown(held_out['oracle'])}."
    )
    shares: dict[str, float] = held_out["shares"]
    yield from _table(
        ("expert", "share of requests"),
        [(name, f"{shares[name]:.1%}") for name in sorted(shares, key=lambda name: -shares[name])],
    )
    if curve is None or len(curve.hull) < 2:
        return
    low, high = curve.hull[0].cost, curve.hull[-1].cost
    rows = []
    for cost in np.linspace(low, high, 7):
        mixed = score_at(curve.line, float(cost))
        score = score_at(curve.hull, float(cost))
        rows.append((f"{cost:.1f}", _shown(score), _shown(mixed)))
    yield from _table(("average active B", "composition", "mixing single experts"), rows)
    yield "![Quality and cost](pictures/curve.png)"


def _stage1(fit: Fit, held_out: Mapping[str, Any]) -> Iterable[str]:
    made = fit.composition
    yield from ("", "## Categories", "")
    yield (
        f"Classifier {made.classifier_name}, temperature {made.temperature:.3f}: accuracy "
        f"{held_out['accuracy']:.4f}, expected calibration error {held_out['ece']:.4f}, mean risk over "
        f"coverages {held_out['aurc']:.4f}. A request below probability {made.policy.threshold:.3f}, or "
        f"farther than {made.policy.ood_threshold:.0%} of held-out prompts from everything seen, goes to "
        f"{made.policy.generalist}; {held_out['coverage']:.1%} of held-out prompts are called"
        + (f", right in {held_out['accuracy_when_sure']:.1%}." if held_out["accuracy_when_sure"] else ".")
    )
    yield from _table(("classifier", "held-out log-loss"), sorted(held_out["log_loss"].items()))
    yield "![Reliability](pictures/reliability.png) ![Risk and coverage](pictures/risk-coverage.png)"


def _map(fit: Fit) -> Iterable[str]:
    made = fit.composition
    yield from ("", "## Map", "")
    yield "Expected score ± standard error; first the expert that a sure request of the category gets."
    counts = made.manifest["data"]["prompts_per_category"]
    rows = [
        (
            category,
            made.map[category],
            counts.get(category, 0),
            *(f"{float(u):.3f} ± {float(e):.3f}" for u, e in zip(row, errors, strict=True)),
        )
        for category, row, errors in zip(made.categories, made.utilities, made.errors, strict=True)
    ]
    yield from _table(("category", "expert", "prompts", *made.expert_names), rows)
    yield "![Utilities](pictures/utilities.png)"


def _correction(facts: Mapping[str, Any] | None) -> Iterable[str]:
    if facts is None:
        return
    yield from ("", "## Beyond the category", "")
    kept = "is part of the composition" if facts["kept"] else "was left out"
    yield (
        f"What the request itself adds {kept}: {facts['why']}. Held out, squared error of the differences "
        f"between experts falls by {facts['gain']:.5f} ± {facts['error']:.5f}."
    )
    explained = facts["explained"]
    if explained:
        yield from _table(
            ("predicted from", "share of the differences' variance explained"), list(explained.items())
        )
    rest = [
        (k, _shown(v)) for k, v in facts.items() if k not in {"kept", "why", "gain", "error", "explained"}
    ]
    if rest:
        yield from _table(("chosen by validation", "value"), rest)


def _table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterable[str]:
    yield ""
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |"
    yield ""


def _shown(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
