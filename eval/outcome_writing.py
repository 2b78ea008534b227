"""Writes outcomes: the outcome table for `coterie fit`, the replies and a summary."""

import json
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from base.files import replacing, write_text
from base.json_documents import write_json
from base.jsonl import parse_row, read_lines
from base.reply import Reply
from client import ExpertInfo
from eval.engine.benchmark import opening
from eval.engine.contestants import Contestant
from eval.protocols.checkable import item_question
from eval.scoring import Outcome, Outcomes
from experts.asker import exported_keys

ALL = "all"


@dataclass(frozen=True, slots=True)
class Cell:
    """One expert on one category: `mean` and standard error `error` of `n` prompts' mean scores; `missing`
    prompts were asked and have no score."""

    n: int
    missing: int
    mean: float | None
    error: float | None
    completion_tokens: float | None
    """Mean over the answers with a token count."""

    def __str__(self) -> str:
        if self.mean is None:
            return "–"
        error = f" ± {self.error:.2f}" if self.error is not None else ""
        return f"{self.mean:.2f}{error}"


def cell(outcomes: Iterable[Outcome]) -> Cell:
    """Mean score, its standard error (None below two prompts) and counts."""
    outcomes = list(outcomes)
    by_prompt = _by_prompt(outcomes)
    scores = [mean for each in by_prompt.values() if (mean := _mean(_scores(each))) is not None]
    tokens = [
        each.answer.usage.completion
        for each in outcomes
        if each.answer is not None and each.answer.usage.completion is not None
    ]
    return Cell(
        n=len(scores),
        missing=len(by_prompt) - len(scores),
        mean=statistics.fmean(scores) if scores else None,
        error=statistics.stdev(scores) / math.sqrt(len(scores)) if len(scores) > 1 else None,
        completion_tokens=statistics.fmean(tokens) if tokens else None,
    )


def cells(outcomes: Outcomes) -> dict[str, dict[str, Cell]]:
    """Category, then expert, to its cell; the last category is `all`."""
    table = {
        category: {
            expert.name: cell(o for o in outcomes.of(expert.name) if o.item.category == category)
            for expert in outcomes.experts
        }
        for category in outcomes.suite.categories
    }
    return {**table, ALL: {expert.name: cell(outcomes.of(expert.name)) for expert in outcomes.experts}}


def failures(outcomes: Outcomes) -> dict[str, Counter[str]]:
    """Counts of error codes by expert, of every sample."""
    return {
        expert.name: Counter(each.error for each in outcomes.of(expert.name) if each.error is not None)
        for expert in outcomes.experts
    }


def summary_rows(outcomes: Outcomes) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the summary: mean ± standard error by category and expert, then the counts."""
    table = cells(outcomes)
    names = [expert.name for expert in outcomes.experts]
    rows = [
        [
            category,
            str(max(each.n + each.missing for each in by_expert.values())),
            *map(str, by_expert.values()),
        ]
        for category, by_expert in table.items()
    ]
    totals = table[ALL].values()
    rows.append(["missing", "", *(str(each.missing) for each in totals)])
    rows.append(
        ["tokens per answer", "", *(_tokens(each.completion_tokens) for each in totals)],
    )
    return ["category", "prompts", *names], rows


def summary_markdown(outcomes: Outcomes) -> str:
    """The summary as a Markdown page."""
    header, rows = summary_rows(outcomes)
    lines = [
        "# Scores of the experts on checkable prompts",
        "",
        f"Mean score (0 to 1) ± its standard error over prompts, asked {sampling_text(outcomes)}.",
        "A prompt that was asked and has no score is missing, not 0; – is a category that was not asked.",
        "",
        "| " + " | ".join(header) + " |",
        "|" + "---|" * len(header),
        *("| " + " | ".join(row) + " |" for row in rows),
        "",
    ]
    for expert, codes in failures(outcomes).items():
        if codes:
            counted = ", ".join(f"{code} {count}×" for code, count in codes.most_common())
            lines.append(f"Missing for {expert}: {counted}.")
    return "\n".join(lines).rstrip() + "\n"


def sampling_text(outcomes: Outcomes) -> str:
    """How often and how the prompts were asked, for people."""
    most = max((each.sample for each in outcomes.outcomes), default=0) + 1
    times = "once" if most == 1 else f"up to {most} times"
    return times + (" at temperature 0" if outcomes.greedy else " with each expert's own sampling")


def write_outcomes(outcomes: Outcomes, folder: Path, facts: Mapping[str, Any]) -> None:
    """Write the outcome table into `folder`, each file atomically.

    - `prompts.parquet`: uid, category, prompt
    - files of `uid` and one column an expert, null where unknown: `scores.parquet` (means over samples, 0..1)
      and those of `_CELLS`; a file that would hold nothing is left out
    - `details.parquet`: one row an answer: uid, expert, sample, score, reason, error, text, tokens, seconds
    - `experts.yaml`: name, sizes in billions, prices in $ per million tokens
    - `summary.md`, and `run.json` with `facts` about the run
    """
    import pyarrow as pa
    import pyarrow.parquet as parquet

    folder.mkdir(parents=True, exist_ok=True)
    items = outcomes.suite.items
    by_expert = {expert.name: _by_prompt(outcomes.of(expert.name)) for expert in outcomes.experts}
    uid = pa.array([item.id for item in items], pa.string())

    def wide(value: Callable[[Sequence[Outcome]], float | str | None], kind: pa.DataType) -> pa.Table:
        columns = {
            name: pa.array([value(cells[item.id]) if item.id in cells else None for item in items], kind)
            for name, cells in by_expert.items()
        }
        return pa.table([uid, *columns.values()], names=["uid", *columns])

    every = outcomes.outcomes
    tables = {
        "prompts": pa.table(
            {
                "uid": uid,
                "category": pa.array([item.category for item in items], pa.string()),
                "prompt": pa.array([item.prompt for item in items], pa.string()),
            }
        ),
        "scores": wide(lambda cell: _mean(_scores(cell)), pa.float64()),
        "details": pa.table(
            {
                "uid": pa.array([o.item.id for o in every], pa.string()),
                "expert": pa.array([o.expert for o in every], pa.string()),
                "sample": pa.array([o.sample for o in every], pa.int64()),
                "score": pa.array([o.score for o in every], pa.float64()),
                "reason": pa.array([o.reason for o in every], pa.string()),
                "error": pa.array([o.error for o in every], pa.string()),
                **{
                    name: pa.array([_document(o).get(name) for o in every], kind)
                    for name, kind in (
                        ("text", pa.string()),
                        ("finish_reason", pa.string()),
                        ("prompt_tokens", pa.int64()),
                        ("completion_tokens", pa.int64()),
                        ("reasoning_tokens", pa.int64()),
                        ("latency_s", pa.float64()),
                    )
                },
            }
        ),
    }
    for name, value in _CELLS.items():
        table = wide(value, pa.string() if name == "answers" else pa.float64())
        if all(column.null_count == len(column) for column in table.columns[1:]):
            (folder / f"{name}.parquet").unlink(missing_ok=True)
        else:
            tables[name] = table
    for name, table in tables.items():
        with replacing(folder / f"{name}.parquet") as partial:
            parquet.write_table(table, partial)
    write_text(experts_yaml(outcomes.experts), folder / "experts.yaml")
    write_text(summary_markdown(outcomes), folder / "summary.md")
    write_json(facts, folder / "run.json")


def experts_yaml(experts: Sequence[ExpertInfo]) -> str:
    """The experts of an outcome table, as YAML."""
    entries = []
    for expert in experts:
        entry: dict[str, Any] = {
            "name": expert.name,
            "params_b": expert.params_b,
            "active_params_b": expert.active_params_b or expert.params_b,
            "input_price": expert.price.input,
            "cached_price": expert.price.cached_input,
            "output_price": expert.price.output,
            "context_length": expert.context_length,
            "capabilities": sorted(expert.capabilities),
            "description": expert.description,
            "base": expert.base,
        }
        entries.append({key: value for key, value in entry.items() if value not in (None, "")})
    return yaml.safe_dump({"experts": entries}, sort_keys=False, allow_unicode=True, width=100)


def write_answers(outcomes: Outcomes, contestants: Sequence[Contestant], path: Path) -> None:
    """Write the answers as JSONL under `exported_keys`, so that they can be taken elsewhere with the table; a
    table that is scored again begins with them. Lines about other prompts stay. Raises JsonlError."""
    before = read_lines(path, unfinished=True) if path.exists() else ()
    rows = {parse_row(line, place)["key"]: line for place, line in before}
    by_name = {each.name: each for each in contestants}
    for each in outcomes.outcomes:
        if each.answer is not None:
            question = item_question(each.item, sample=each.sample, greedy=outcomes.greedy)
            key, *earlier = exported_keys(by_name[each.expert], *opening(question))
            for old in earlier:
                rows.pop(old, None)
            row = {"key": key, "expert": each.expert, **_document(each)}
            rows[key] = json.dumps(row, ensure_ascii=False, separators=(",", ":"))
    write_text("".join(f"{line}\n" for line in rows.values()), path)


def _document(outcome: Outcome) -> dict[str, Any]:
    names = {
        "text",
        "finish_reason",
        "prompt_tokens",
        "completion_tokens",
        "cached_tokens",
        "reasoning_tokens",
        "latency_s",
    }
    found = {} if outcome.answer is None else outcome.answer.document()
    return {name: value for name, value in found.items() if name in names}


def _by_prompt(outcomes: Iterable[Outcome]) -> dict[str, list[Outcome]]:
    """One expert's outcomes by item id."""
    found: dict[str, list[Outcome]] = defaultdict(list)
    for each in outcomes:
        found[each.item.id].append(each)
    return dict(found)


def _scores(cell: Sequence[Outcome]) -> list[float]:
    return [each.score for each in cell if each.score is not None]


def _mean(values: Sequence[float]) -> float | None:
    return statistics.fmean(values) if values else None


def _mean_of(value: Callable[[Reply], float | None]) -> Callable[[Sequence[Outcome]], float | None]:
    """The mean over a cell's answers of a figure that is known of some."""

    def mean(cell: Sequence[Outcome]) -> float | None:
        found = [value(each.answer) for each in cell if each.answer is not None]
        return _mean([each for each in found if each is not None])

    return mean


def _spread(cell: Sequence[Outcome]) -> float | None:
    scores = _scores(cell)
    return statistics.stdev(scores) if len(scores) > 1 else None


def _text(cell: Sequence[Outcome]) -> str | None:
    return next((each.answer.text for each in cell if each.answer is not None), None)


_CELLS: Mapping[str, Callable[[Sequence[Outcome]], float | str | None]] = {
    "samples": lambda cell: len(_scores(cell)) or None,
    "spread": _spread,
    "tokens_in": _mean_of(lambda reply: reply.usage.prompt),
    "tokens_out": _mean_of(lambda reply: reply.usage.completion),
    "tokens_reasoning": _mean_of(lambda reply: reply.usage.reasoning),
    "seconds": _mean_of(lambda reply: reply.seconds or None),
    "answers": _text,
}
"""Optional files of an outcome table: what a cell holds, of its outcomes in the order of samples."""


def _tokens(mean: float | None) -> str:
    return "–" if mean is None else f"{mean:.1f}"
