"""`coterie eval rate`, on `eval.rating`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from base.terminal import console, fail, plain

if TYPE_CHECKING:
    from rich.table import Table


def rate(
    verdicts: Annotated[Path, typer.Argument(help="A verdict table, Parquet or CSV.", metavar="VERDICTS")],
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Write the ratings here.", metavar="FILE")
    ] = None,
    baseline: Annotated[
        str | None, typer.Option(help="The model that scores 50.", show_default="the most common baseline")
    ] = None,
    rounds: Annotated[int, typer.Option(min=10, help="Rounds of the bootstrap over questions.")] = 1000,
    confidence: Annotated[float, typer.Option(help="Confidence level of the intervals.")] = 0.95,
    power: Annotated[float, typer.Option(help="Power for the minimum detectable difference.")] = 0.8,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the bootstrap.")] = 0,
    strict: Annotated[
        bool, typer.Option("--strict", help="Reject unused columns and duplicate rows.")
    ] = False,
    details: Annotated[
        bool, typer.Option("--details", help="Print categories, turns and comparisons as well.")
    ] = False,
) -> None:
    """Rate the models of a verdict table, with confidence intervals.

    Pairwise: `question_id, model, baseline, win, tie, loss` gives expected win rates against the
    baseline, in percent. Graded: `question_id, model, turn, score` gives mean scores from 1 to 10.
    Both may have `category` and `judge`.

    Example:

      coterie eval rate verdicts.parquet --json ratings.json
    """
    from base.json_documents import write_json
    from eval.rating.bradley_terry import RatingError
    from eval.rating.columns import VerdictError
    from eval.rating.rate import rate as run
    from eval.rating.settings import RatingSettings
    from eval.rating.table import read_verdicts

    try:
        settings = RatingSettings(
            rounds=rounds, confidence=confidence, seed=seed, baseline=baseline, power=power
        )
        found = run(read_verdicts(verdicts, strict=strict), settings)
        if json_file:
            write_json(found, json_file)
    except (VerdictError, RatingError, ValueError, OSError) as error:
        fail(error)
    printer = console(stderr=False)
    printer.print(_models(found))
    if details:
        for table in _details(found):
            printer.print(table)
    for note in found["notes"]:
        printer.print(f"note: {plain(note)}", highlight=False)


def _models(found: dict[str, Any]) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    pairwise = found["kind"] == "pairwise"
    percent = f"{100 * found['settings']['confidence']:g} % interval"
    title = f"{found['n_verdicts']} verdicts on {found['n_questions']} questions; {plain(found['score_is'])}"
    judged = len({each.get("judge") for each in found["models"]} - {None}) > 1
    styled = pairwise and "style" in found
    turns = sorted({turn for each in found["models"] for turn in each.get("turns", {})}, key=int)
    header = ["rank", "model", *(["judge"] if judged else []), "score", percent]
    header += ["wins by question", "at equal style"] if styled else ["wins by question"] if pairwise else []
    header += [f"turn {turn}" for turn in turns] + ["verdicts"]
    table = Table(*header, title=title, title_justify="left", box=SIMPLE_HEAD)
    table.columns[1].overflow = "fold"
    for each in found["models"]:
        row = [_places(each), plain(each["model"])]
        row += [plain(each.get("judge") or "")] if judged else []
        row += [f"{each['score']:.2f}", _limits(each["low"], each["high"])]
        if pairwise:
            row.append(_score(each["win_rate"]))
        if styled:
            row.append(_score(each["style_score"]))
        row += [_score(each["turns"].get(turn, {}).get("score")) for turn in turns]
        table.add_row(*row, str(each["n"]))
    return table


def _details(found: dict[str, Any]) -> list["Table"]:
    from rich.table import Table

    tables = []
    graded = found["kind"] == "graded"
    parts = {
        name: {model["model"]: model for model in part["models"]}
        for name, part in found.get("categories", {}).items()
    }
    for model in found["models"] if graded else ():
        for name, cell in model.get("categories", {}).items():
            parts.setdefault(name, {})[model["model"]] = cell
    if parts:
        table = Table("category", *(plain(each["model"]) for each in found["models"]), title="By category")
        for name, cells in parts.items():
            scores = (cells.get(each["model"], {}).get("score") for each in found["models"])
            table.add_row(plain(name), *map(_score, scores))
        tables.append(table)
    if found["comparisons"]:
        table = Table(
            "model",
            "minus",
            "difference",
            "interval",
            "p (permutation)",
            "p (sign)",
            "p (Holm)",
            "detectable",
            title="Neighbours on the questions that both answered",
        )
        for each in found["comparisons"]:
            table.add_row(
                plain(each["first"]),
                plain(each["second"]),
                f"{each['difference']:+.2f}",
                _limits(each["low"], each["high"]),
                f"{each['p_permutation']:.4f}",
                f"{each['p_sign']:.4f}",
                f"{each['p_holm']:.4f}",
                _score(each["minimum_detectable"]),
            )
        tables.append(table)
    return tables


def _places(entry: dict[str, Any]) -> str:
    low, high = entry["rank_low"], entry["rank_high"]
    return f"{entry['rank']}" if low == high else f"{entry['rank']} ({low}–{high})"


def _limits(low: float | None, high: float | None) -> str:
    return "–" if low is None or high is None else f"{low:.2f} to {high:.2f}"


def _score(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
