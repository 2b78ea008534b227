"""Whether the same request, reworded, goes the same way: docs/explanation/steadiness.md.

    python -m benchmarks.steadiness [--tables TABLES [--only llmrouter9]]
        [--page docs/explanation/steadiness.md]

Rewords our test prompts by every kind of `eval.variants`, routes originals and variants with the shipped CPU
composition, and compares the decisions; then the same requests in other languages
(`translated_requests.yaml`). With `--tables`, the folder of outcome tables, `coterie fit` also makes a
composition of a part of each, which is judged on other prompts of it; the scores of both decisions are those
of the original prompt. Nothing is fitted on what is measured.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import yaml

from base.files import write_text
from benchmarks.routing_page import with_part
from benchmarks.routing_quality import SETTINGS, RoutingSetting, coterie
from eval.outcome_export import write_table
from eval.paired_comparison import paired_interval
from eval.variants import KINDS, variant_of
from prompts.mixture.held_out_evidence import wilson
from prompts.seeds import load_seeds
from routers.composition import Composition, load_composition
from routers.decision import Decision
from routers.encoder import load_encoder
from routers.outcome_table import OutcomeTable, read_outcomes
from routers.request import Request, Turn
from routers.router import Router

TRANSLATIONS = Path(__file__).with_name("translated_requests.yaml")
FITTED, JUDGED = 2_000, 300
"""Prompts of an outcome table that are fitted and judged on."""

Column = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Steadiness:
    """Of the prompts `rows` that a kind changes, how many variants go to the same expert and fall in the same
    category; `gains`: for each the score of the variant's expert less that of the original's (NaN unknown).
    """

    kind: str
    rows: tuple[int, ...]
    same_expert: int
    same_category: int
    gains: Column | None = None

    @property
    def prompts(self) -> int:
        return len(self.rows)


def decided(router: Router, text: str) -> Decision:
    """What the service decides for `text` alone."""
    return router.route(Request("check", (Turn("user", text),)))


def steadiness(
    router: Router, prompts: Sequence[str], table: OutcomeTable | None = None, seed: int = 0
) -> list[Steadiness]:
    """By kind, for those that change any of `prompts`, which are the rows of `table` if given."""
    before = [decided(router, prompt) for prompt in prompts]
    found = []
    for kind in KINDS:
        pairs = [
            (row, decided(router, text))
            for row, prompt in enumerate(prompts)
            if (text := variant_of(prompt, kind, seed)) is not None
        ]
        if pairs:
            originals = [before[row] for row, _ in pairs]
            found.append(
                _compared(kind, originals, [after for _, after in pairs], [r for r, _ in pairs], table)
            )
    return found


def _compared(
    kind: str,
    before: Sequence[Decision],
    after: Sequence[Decision],
    rows: Sequence[int],
    table: OutcomeTable | None,
) -> Steadiness:
    return Steadiness(
        kind,
        tuple(rows),
        sum(one.expert == other.expert for one, other in zip(before, after, strict=True)),
        sum(one.category == other.category for one, other in zip(before, after, strict=True)),
        None if table is None else _scores(table, rows, after) - _scores(table, rows, before),
    )


def _scores(table: OutcomeTable, rows: Sequence[int], decisions: Sequence[Decision]) -> Column:
    columns = [table.expert_names.index(each.expert) for each in decisions]
    return table.scores[list(rows), columns].astype(np.float64)


def translated(router: Router) -> list[Steadiness]:
    """By language: whether requests go where they go in English."""
    requests: list[dict[str, str]] = yaml.safe_load(TRANSLATIONS.read_text(encoding="utf-8"))
    english = [decided(router, each["en"]) for each in requests]
    languages = [name for name in requests[0] if name not in ("category", "en")]
    return [
        _compared(
            name, english, [decided(router, each[name]) for each in requests], range(len(requests)), None
        )
        for name in languages
    ]


def lines(found: Sequence[Steadiness]) -> list[str]:
    """A Markdown table of shares with 95 % Wilson intervals, the mean over kinds last; its score is the mean
    over prompts of what each gains over its variants."""
    scored = any(each.gains is not None for each in found)
    head = "| kind | prompts | same expert | same category |" + (
        " score, variants less originals |" if scored else ""
    )
    rows = [head, "|---" * (head.count("|") - 1) + "|"]
    for each in found:
        cells = [
            each.kind,
            str(each.prompts),
            *(_share(n, each.prompts) for n in (each.same_expert, each.same_category)),
        ]
        if each.gains is not None:
            cells.append(_gain(each.gains))
        rows.append(f"| {' | '.join(cells)} |")
    experts = np.mean([each.same_expert / each.prompts for each in found])
    categories = np.mean([each.same_category / each.prompts for each in found])
    last = f"| **mean** | | **{experts:.3f}** | **{categories:.3f}** |"
    rows.append(f"{last} {_gain(gains_by_prompt(found))} |" if scored else last)
    return rows


def gains_by_prompt(found: Sequence[Steadiness]) -> Column:
    """For each prompt that any kind changes, the mean of the known gains of its variants."""
    rows = np.concatenate([each.rows for each in found if each.gains is not None]).astype(int)
    gains = np.concatenate([each.gains for each in found if each.gains is not None])
    known = ~np.isnan(gains)
    sums, counts = np.bincount(rows[known], gains[known]), np.bincount(rows[known])
    return np.asarray(sums[counts > 0] / counts[counts > 0])


def _gain(gains: Column) -> str:
    known = gains[~np.isnan(gains)]
    if not len(known):
        return "–"
    gap = paired_interval(known, np.zeros_like(known))
    return f"{gap.difference:+.4f} ({gap.low:+.4f} to {gap.high:+.4f})"


def _share(same: int, count: int) -> str:
    low, high = wilson(same, count)
    return f"{same / count:.3f} ({low:.2f} to {high:.2f})"


def fit_on_part(
    setting: RoutingSetting, tables: Path, out: Path, fitted: int = FITTED, judged: int = JUDGED
) -> tuple[Composition, OutcomeTable]:
    """What `coterie fit` makes of `fitted` prompts of a table, drawn once and kept in `out`, and `judged`
    others. Identical prompts count once. Raises CalledProcessError when the fit fails."""
    table = read_outcomes(tables / setting.table)
    different = {prompt.strip(): row for row, prompt in enumerate(table.prompts)}
    drawn = np.random.default_rng(0).permutation(list(different.values()))
    folder = out / setting.table
    write_table(table.take(drawn[judged : judged + fitted]), folder / "fit")
    coterie("fit", folder / "fit", "--out", folder / "composition", "--no-report", *setting.options)
    return load_composition(folder / "composition"), table.take(drawn[:judged])


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--composition", type=Path, default=Path("routers/compositions/cpu"))
    parser.add_argument("--tables", type=Path, help="the folder of outcome tables")
    parser.add_argument("--only", nargs="+", help="only these tables")
    parser.add_argument("--fitted", type=int, default=FITTED, help="prompts of a table to fit on")
    parser.add_argument("--judged", type=int, default=JUDGED, help="prompts of a table to judge on")
    parser.add_argument("--out", type=Path, default=Path("var/steadiness"), help="for what is fitted")
    parser.add_argument("--page", type=Path, help="the page whose measured parts are replaced")
    options = parser.parse_args(arguments)
    encoder = load_encoder()

    def shipped() -> Router:
        return Router(encoder, load_composition(options.composition))

    def on_table(setting: RoutingSetting) -> list[Steadiness]:
        composition, held_out = fit_on_part(
            setting, options.tables, options.out, options.fitted, options.judged
        )
        return steadiness(Router(encoder, composition), held_out.prompts, held_out)

    parts: dict[str, Callable[[], list[Steadiness]]] = {
        "test prompts": lambda: steadiness(shipped(), [seed.prompt for seed in load_seeds("test")]),
        "translations": lambda: translated(shipped()),
    }
    if options.tables:
        parts |= {
            each.table: partial(on_table, each)
            for each in SETTINGS
            if not options.only or each.table in options.only
        }
    if options.page:
        page = options.page.read_text(encoding="utf-8")
        for name in parts:
            with_part(page, name, ())  # fail early, not after an hour
    for name, measure in parts.items():
        part = lines(measure())
        sys.stdout.write("\n".join([f"## {name}", "", *part, "", ""]))
        if options.page:
            write_text(with_part(options.page.read_text(encoding="utf-8"), name, part), options.page)


if __name__ == "__main__":
    main()
