"""The shipped composition against each of its experts alone, on a running service.

    python -m benchmarks.live_evaluation --data MT_BENCH_FOLDER [--arena ARENA_HARD_FOLDER]

Runs `coterie` and every expert on MT-Bench (first turns, short answers; graded by a judge), on its checkable
first turns, and on our held-out suite; `--arena` also judges answers replayed from a file and measures the
judge's agreement with the verdicts beside them. Resumable: an interrupted command continues when run again.
Writes `summary.md` (the table of docs/explanation/evaluation.md) and a plot.
"""

import argparse
import asyncio
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from base.progress import ProgressBars
from client import AsyncClient
from eval.benchmark_registry import PROBLEMS, RunRequest, options_of, prepare
from eval.engine.items import RunItem
from eval.engine.run import Finished, RunOptions, run_benchmark
from eval.reports.results import results_of
from eval.reports.write import write_report
from experts.answer_store import default_store

OUT = Path("var/eval/live")
PARTS = ("held-out", "exact", "mt-bench", "judges")


@dataclass(frozen=True, slots=True)
class Part:
    """One run and its numbers."""

    name: str
    results: Mapping[str, Any]
    report: Path


def requests(given: argparse.Namespace, experts: Sequence[str]) -> dict[str, RunRequest]:
    """The runs of the selected parts."""
    common: dict[str, Any] = {"api": given.api, "concurrency": given.concurrency, "cache": given.cache}
    everybody = ",".join(["coterie", *experts])
    live = {**common, "against": everybody, "limit": given.limit}
    found = {"held-out": RunRequest(benchmark="held-out", **live)}
    if given.data:
        mt_bench = {**live, "data": str(given.data), "turns": given.turns, "max_tokens": given.max_tokens}
        found["exact"] = RunRequest(benchmark="mt-bench-exact", **mt_bench)
        if given.judge:
            found["mt-bench"] = RunRequest(
                benchmark="mt-bench",
                judge=given.judge,
                judge_max_tokens=given.judge_max_tokens,
                judge_explains=given.judge_explains,
                **mt_bench,
            )
    if given.arena and given.judge:
        found["judges"] = RunRequest(
            benchmark="arena-hard",
            data=str(given.arena),
            answers=next(iter(sorted(given.arena.glob("answers*"))), None),
            against=given.arena_models,
            judge=given.judge,
            judge_max_tokens=given.judge_max_tokens,
            judge_explains=given.judge_explains,
            limit=given.arena_limit,
            verdicts=next(iter(sorted(given.arena.glob("battles*.parquet"))), None),
            same=dict(each.split("=", 1) for each in given.arena_same),
            **common,
        )
    return {name: request for name, request in found.items() if name in given.only}


def run_part(name: str, request: RunRequest, out: Path) -> Part:
    """Run or resume one part, with a progress bar per contestant."""
    prepared = prepare(request)
    with ProgressBars() as progress:
        total = len(prepared.benchmark.questions)
        bars = {each.name: progress.add(f"{name}: {each.name}", total) for each in prepared.contestants}
        seen: set[tuple[str, str]] = set()

        def done(item: RunItem) -> None:
            place = (item.contestant, item.question)
            progress.advance(bars[item.contestant], int(place not in seen))
            seen.add(place)

        finished: Finished = run_benchmark(
            prepared.benchmark,
            prepared.contestants,
            out / name,
            options=RunOptions(
                concurrency=request.concurrency,
                seed=request.seed,
                cache=request.cache or default_store(),
                command=("python -m benchmarks.live_evaluation", *sys.argv[1:]),
                options=options_of(request),
            ),
            progress=done,
        )
    results = results_of(finished.run, verdicts=request.verdicts, same=request.same)
    return Part(name, results, write_report(finished.run, results))


def summary(parts: Sequence[Part], turns: int) -> str:
    """The tables as Markdown; `turns` of MT-Bench were judged."""
    judged = "MT-Bench's first turns" if turns == 1 else "MT-Bench, both turns"
    by_name = {part.name: part for part in parts}
    texts = []
    for name, title in (
        ("held-out", "Own held-out questions, checked by a program (share right)"),
        ("exact", "MT-Bench's first turns that a program can check (share right)"),
        ("mt-bench", f"{judged}, graded by a judge (mean of ratings / 10)"),
    ):
        if name in by_name:
            texts.append(f"### {title}\n\n{_scores(by_name[name].results)}")
    if "mt-bench" in by_name:
        texts.append(f"By category:\n\n{_categories(by_name['mt-bench'].results)}")
    if "held-out" in by_name:
        texts.append(f"Held-out by category:\n\n{_categories(by_name['held-out'].results)}")
    if "judges" in by_name:
        texts.append(f"### The judge on replayed Arena-Hard answers\n\n{_judges(by_name['judges'].results)}")
    notes = [f"- {part.name}: {note}" for part in parts for note in part.results["notes"]]
    return "\n\n".join([*texts, "\n".join(notes)]) + "\n"


def _scores(results: Mapping[str, Any]) -> str:
    rows = [
        "| | score | 95 % interval | n | active B | median s | answered by |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in results["contestants"]:
        experts = ", ".join(f"{name} {count}" for name, count in each["experts"].items())
        rows.append(
            f"| {each['name']} | {_number(each['score'])} "
            f"| {_number(each['low'])} to {_number(each['high'])} | {each['n']} "
            f"| {_size(each['active_params_b'])} | {_number(each['latency_s_median'], 1)} "
            f"| {experts if each['name'] == 'coterie' else ''} |"
        )
    for name, value in ((results["baselines"] or {}).get("scores") or {}).items():
        if name != "coterie":
            rows.append(f"| *{name}* | {_number(value)} | | {results['baselines']['n']} | | | |")
    for each in results["comparisons"]:
        rows.append(
            f"| *{each['first']} − {each['second']}* | {each['difference']:+.3f} | {each['low']:+.3f} to "
            f"{each['high']:+.3f} | {each['n']} | | | |"
        )
    return "\n".join(rows)


def _categories(results: Mapping[str, Any]) -> str:
    names = [each["name"] for each in results["contestants"]]
    categories = sorted({name for each in results["contestants"] for name in each["categories"]})
    rows = ["| | " + " | ".join(names) + " | n |", "|---" * (len(names) + 2) + "|"]
    for category in categories:
        cells = [each["categories"].get(category) for each in results["contestants"]]
        n = max(cell["n"] for cell in cells if cell)
        values = " | ".join(_number(cell["score"], 2) if cell else "" for cell in cells)
        rows.append(f"| {category} | {values} | {n} |")
    return "\n".join(rows)


def _judges(results: Mapping[str, Any]) -> str:
    rows = [
        "| judge | judgments | unread | same in both positions | first / second favoured | longer won "
        "| agrees with | n | same | where both decide | kappa |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, each in results["judges"]["judges"].items():
        positions = each["positions"]
        agreements: dict[str, dict[str, Any]] = each["agreement"] or {"": {}}
        for who, found in agreements.items():
            rows.append(
                f"| {name} | {each['judgments']} | {each['unparsed']} | {_number(positions['same'], 2)} "
                f"| {_number(positions['first'], 2)} / {_number(positions['second'], 2)} "
                f"| {_number(each['length']['longer_won'], 2)} | {who} | {found.get('n', '')} "
                f"| {_number(found.get('same'), 2)} | {_number(found.get('same_decided'), 2)} "
                f"| {_number(found.get('kappa'), 2)} |"
            )
    return "\n".join(rows)


def _size(billions: float | None) -> str:
    return "" if billions is None else f"{billions:.3g}"


def _number(value: float | None, digits: int = 3) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def draw(parts: Sequence[Part], path: Path) -> None:
    """Plot scores with intervals, one panel per part that asked the experts, with mean active parameters
    beside each name."""
    from matplotlib.figure import Figure

    shown = [part for part in parts if part.name != "judges"]
    if not shown:
        return
    titles = {
        "held-out": "own held-out, checked",
        "exact": "MT-Bench, checked",
        "mt-bench": "MT-Bench, judged",
    }
    figure = Figure(figsize=(1.0 + 4.0 * len(shown), 2.9), layout="constrained")
    for axes, part in zip(figure.subplots(1, len(shown), squeeze=False)[0], shown, strict=True):
        scored = [each for each in part.results["contestants"] if each["score"] is not None]
        for place, each in enumerate(reversed(scored)):
            colour = "#1f5fa8" if each["name"] == "coterie" else "#c2571a"
            if each["low"] is not None:
                axes.plot([each["low"], each["high"]], [place, place], color=colour, linewidth=1.6)
            axes.plot(each["score"], place, "D" if each["name"] == "coterie" else "o", color=colour)
        axes.set_yticks(range(len(scored)), [_label(each) for each in reversed(scored)], fontsize=8)
        axes.set_ylim(-0.6, len(scored) - 0.4)
        axes.set_xlim(0, 1)
        axes.set_xlabel("mean score, 95 % interval", fontsize=8)
        axes.tick_params(axis="x", labelsize=8)
        axes.set_title(f"{titles[part.name]} ({part.results['questions']} questions)", fontsize=9)
        axes.grid(axis="x", color="#e3ddd2", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=130)


def _label(contestant: Mapping[str, Any]) -> str:
    size = contestant["active_params_b"]
    return contestant["name"] if size is None else f"{contestant['name']}\n{_size(size)} B active"


async def _experts(base: str) -> list[str]:
    async with AsyncClient(base) as api:
        return [each.name for each in await api.experts() if each.name != "coterie"]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.live_evaluation",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--api", default="http://127.0.0.1:8000/v1")
    parser.add_argument("--data", type=Path, help="MT-Bench's folder; without it only our own questions")
    parser.add_argument("--experts", default="", help="with commas between; all of the service's by default")
    parser.add_argument("--judge", default="qwen-coder", help="'' judges nothing")
    parser.add_argument("--turns", type=int, default=1, choices=(1, 2))
    parser.add_argument("--max-tokens", type=int, default=256, help="of an answer to MT-Bench")
    parser.add_argument("--judge-max-tokens", type=int, default=256)
    parser.add_argument("--judge-explains", action="store_true", help="reasons before the verdict: slower")
    parser.add_argument("--limit", type=int, help="questions of each part, from its categories in turn")
    parser.add_argument(
        "--arena", type=Path, help="Arena-Hard's folder with answers*.parquet and battles*.parquet"
    )
    parser.add_argument("--arena-models", default="gemma-2-27b-it,llama-3.1-8b-instruct")
    parser.add_argument(
        "--arena-same",
        nargs="*",
        default=["llama-3.1-8b-instruct=llama3_1_8b"],
        metavar="NAME=OTHER",
        help="what battles*.parquet calls a model",
    )
    parser.add_argument("--arena-limit", type=int, default=40)
    parser.add_argument("--concurrency", type=int, default=8)
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--picture", type=Path, help="where to draw; OUT/live-evaluation.png by default")
    parser.add_argument("--only", nargs="*", default=list(PARTS), choices=PARTS, metavar="PART")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    parts = []
    try:
        experts = given.experts.split(",") if given.experts else asyncio.run(_experts(given.api))
        for name, request in requests(given, experts).items():
            parts.append(run_part(name, request, given.out))
            sys.stderr.write(f"{name}: {parts[-1].report}\n")
    except PROBLEMS as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("\nStopped. What was answered is kept; the same command goes on.\n")
        return 130
    text = summary(parts, given.turns)
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "summary.md").write_text(text, encoding="utf-8")
    draw(parts, given.picture or given.out / "live-evaluation.png")
    sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
