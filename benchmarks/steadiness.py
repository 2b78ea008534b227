"""Whether the same request, reworded, goes the same way: docs/explanation/steadiness.md.

    python -m benchmarks.steadiness [--tables TABLES] [--page docs/explanation/steadiness.md]

Rewords our test prompts by every kind of `eval.variants`, routes originals and variants with the shipped CPU
composition, and compares the decisions; then the same requests in other languages
(`translated_requests.yaml`). With `--tables`, the folder of outcome tables, also the first prompts that
`benchmarks.routing_quality` holds out of each, with the composition that `coterie fit` makes of the rest; the
scores of both decisions are those of the original prompt. Nothing is fitted on what is measured.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import yaml

from base.files import write_text
from benchmarks.routing_page import with_part
from benchmarks.routing_quality import SETTINGS, fit_and_judge, write_split
from eval.paired_comparison import ScoreDifference, paired_interval
from eval.variants import KINDS, variant_of
from prompts.mixture.held_out_evidence import wilson
from prompts.seeds import load_seeds
from routers.composition import load_composition
from routers.decision import Decision
from routers.encoder import load_encoder
from routers.outcome_table import OutcomeTable, read_outcomes
from routers.request import Request, Turn
from routers.router import Router

TRANSLATIONS = Path(__file__).with_name("translated_requests.yaml")
FOLDS = 5


@dataclass(frozen=True, slots=True)
class Steadiness:
    """Of `prompts` that a kind changes, how many variants go to the same expert and fall in the same
    category; `score`: the mean score of the variants' experts less that of the originals'."""

    kind: str
    prompts: int
    same_expert: int
    same_category: int
    score: ScoreDifference | None = None


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
    score = None
    if table is not None:
        theirs, ours = (_scores(table, rows, decisions) for decisions in (before, after))
        known = ~np.isnan(ours) & ~np.isnan(theirs)
        score = paired_interval(ours[known], theirs[known]) if known.any() else None
    return Steadiness(
        kind,
        len(rows),
        sum(one.expert == other.expert for one, other in zip(before, after, strict=True)),
        sum(one.category == other.category for one, other in zip(before, after, strict=True)),
        score,
    )


def _scores(
    table: OutcomeTable, rows: Sequence[int], decisions: Sequence[Decision]
) -> npt.NDArray[np.float64]:
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
    """A Markdown table of shares with 95 % Wilson intervals, the mean over kinds last."""
    scored = any(each.score for each in found)
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
        if scored:
            gap = each.score
            cells.append("–" if gap is None else f"{gap.difference:+.3f} ({gap.low:+.3f} to {gap.high:+.3f})")
        rows.append(f"| {' | '.join(cells)} |")
    means = (
        np.mean([each.same_expert / each.prompts for each in found]),
        np.mean([each.same_category / each.prompts for each in found]),
    )
    rows.append(f"| **mean** | | **{means[0]:.3f}** | **{means[1]:.3f}** |" + (" |" if scored else ""))
    return rows


def _share(same: int, count: int) -> str:
    low, high = wilson(same, count)
    return f"{same / count:.3f} ({low:.2f} to {high:.2f})"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--composition", type=Path, default=Path("routers/compositions/cpu"))
    parser.add_argument("--tables", type=Path, help="the folder of outcome tables")
    parser.add_argument("--only", nargs="+", help="only these tables")
    parser.add_argument("--most", type=int, default=300, help="prompts of a table")
    parser.add_argument("--out", type=Path, default=Path("var/routing"), help="folds, as of routing_quality")
    parser.add_argument("--page", type=Path, help="the page whose measured parts are replaced")
    options = parser.parse_args(arguments)
    encoder = load_encoder()
    shipped = Router(encoder, load_composition(options.composition))
    parts = {
        "test prompts": lines(steadiness(shipped, [seed.prompt for seed in load_seeds("test")])),
        "translations": lines(translated(shipped)),
    }
    for setting in SETTINGS if options.tables else ():
        if options.only and setting.table not in options.only:
            continue
        folder = options.out / setting.table / "fold0"
        if not (folder / "test" / "experts.yaml").exists():
            write_split(options.tables / setting.table, folder, 0, FOLDS)
        fit_and_judge(setting, folder, "fit", "quality", ())
        held_out = read_outcomes(folder / "test")
        held_out = held_out.take(np.arange(min(options.most, len(held_out))))
        router = Router(encoder, load_composition(folder / "quality" / "composition"))
        parts[setting.table] = lines(steadiness(router, held_out.prompts, held_out))
    for name, part in parts.items():
        sys.stdout.write("\n".join([f"## {name}", "", *part, "", ""]))
        if options.page:
            write_text(with_part(options.page.read_text(encoding="utf-8"), name, part), options.page)


if __name__ == "__main__":
    main()
