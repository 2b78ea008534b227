"""Outcome tables hold what was measured, and a missing score is never a zero."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as parquet
import pytest
import yaml

from base.reply import Reply
from base.usage import TokenUsage
from client import ExpertInfo, PriceInfo
from eval.checks import NumberCheck
from eval.outcome_writing import ALL, cell, cells, failures, summary_markdown, summary_rows, write_outcomes
from eval.scoring import Outcome, Outcomes
from eval.suite import CheckablePrompt, Suite
from routers.outcome_table import read_outcomes

ITEMS = tuple(
    CheckablePrompt(
        id=f"{category}-{n}", category=category, prompt=f"{n}?", check=NumberCheck(kind="number", value=n)
    )
    for category in ("math", "law")
    for n in (1, 2, 3)
)
SMALL = ExpertInfo(
    name="small", params_b=0.135, context_length=2048, description="Quick", capabilities=("tools",)
)
LARGE = ExpertInfo(name="large", params_b=8, active_params_b=2, price=PriceInfo(input=0.2, output=0.6))


def outcome(item: CheckablePrompt, expert: str, score: float | None, tokens: int | None = 4) -> Outcome:
    if score is None:
        return Outcome(item, expert, None, "status 503", "expert_unavailable", None)
    answer = Reply(f"{score}", usage=TokenUsage(completion=tokens), seconds=0.1)
    return Outcome(item, expert, score, "" if score == 1 else "read 0", None, answer)


def outcomes() -> Outcomes:
    small = [1.0, 0.0, 0.5, None, 1.0, None]
    large = [1.0, 1.0, 1.0, 1.0, 1.0, 0.0]
    every = [
        outcome(item, expert, score)
        for expert, scores in (("small", small), ("large", large))
        for item, score in zip(ITEMS, scores, strict=True)
    ]
    return Outcomes(Suite(ITEMS, "d1"), (SMALL, LARGE), tuple(every))


def test_a_table_on_disk_has_a_column_an_expert_and_nulls_where_there_was_no_answer(tmp_path: Path) -> None:
    write_outcomes(outcomes(), tmp_path / "table", {"api": "here"})

    folder = tmp_path / "table"
    assert parquet.read_table(folder / "prompts.parquet").to_pylist()[0] == {
        "uid": "math-1",
        "category": "math",
        "prompt": "1?",
    }
    scores = parquet.read_table(folder / "scores.parquet")
    assert scores.column_names == ["uid", "small", "large"]
    assert scores["small"].to_pylist() == [1.0, 0.0, 0.5, None, 1.0, None]
    answers = parquet.read_table(folder / "answers.parquet")
    assert answers["small"].to_pylist() == ["1.0", "0.0", "0.5", None, "1.0", None]
    details = parquet.read_table(folder / "details.parquet").to_pylist()
    assert len(details) == 12
    assert details[3]["error"] == "expert_unavailable"
    assert details[3]["completion_tokens"] is None
    assert json.loads((folder / "run.json").read_text()) == {"api": "here"}
    assert sorted(path.stem for path in folder.glob("*.parquet")) == [
        "answers",
        "details",
        "prompts",
        "samples",
        "scores",
        "seconds",
        "tokens_out",
    ]


def test_a_cell_of_several_samples_is_their_mean_and_an_unasked_one_is_empty(tmp_path: Path) -> None:
    def answer(sample: int, score: float | None, tokens: int | None) -> Outcome:
        reply = Reply(
            f"sample {sample}", usage=TokenUsage(completion=tokens, reasoning=tokens), seconds=sample
        )
        failed = score is None
        code = "timeout" if failed else None
        return Outcome(ITEMS[0], "large", score, "", code, None if failed else reply, sample)

    several = (answer(0, None, None), answer(1, 1.0, 10), answer(2, 0.0, None), answer(3, 0.5, 40))
    write_outcomes(Outcomes(Suite(ITEMS, "d1"), (SMALL, LARGE), several), tmp_path, {})

    def cells_in(name: str, expert: str = "large") -> list[object]:
        found: list[object] = parquet.read_table(tmp_path / f"{name}.parquet")[expert].to_pylist()
        return found

    empty = [None] * 5
    assert cells_in("scores") == [0.5, *empty]
    assert cells_in("samples") == [3, *empty]
    assert cells_in("spread") == [0.5, *empty]
    assert cells_in("tokens_out") == cells_in("tokens_reasoning") == [25, *empty]
    assert cells_in("seconds") == [2, *empty]
    assert cells_in("answers") == ["sample 1", *empty]
    assert cells_in("scores", "small") == [None, *empty]
    assert not (tmp_path / "tokens_in.parquet").exists()


def test_what_is_no_longer_known_is_no_longer_in_the_folder(tmp_path: Path) -> None:
    write_outcomes(outcomes(), tmp_path, {})
    assert (tmp_path / "tokens_out.parquet").exists()

    without = tuple(outcome(each.item, each.expert, each.score, None) for each in outcomes().outcomes)
    write_outcomes(Outcomes(Suite(ITEMS, "d1"), (SMALL, LARGE), without), tmp_path, {})

    assert not (tmp_path / "tokens_out.parquet").exists()


def test_the_standard_error_is_over_prompts_and_not_over_their_samples() -> None:
    many = [
        Outcome(item, "large", score, "", None, Reply("x"), sample)
        for item, score in ((ITEMS[0], 1.0), (ITEMS[1], 0.0))
        for sample in range(50)
    ]

    found = cell(many)

    assert (found.n, found.missing, found.mean) == (2, 0, 0.5)
    assert found.error == pytest.approx(0.5)


def test_experts_are_written_with_sizes_and_prices(tmp_path: Path) -> None:
    write_outcomes(outcomes(), tmp_path, {})

    small, large = yaml.safe_load((tmp_path / "experts.yaml").read_text())["experts"]
    assert small["params_b"] == small["active_params_b"] == 0.135
    assert small["description"] == "Quick"
    assert (large["params_b"], large["active_params_b"]) == (8, 2)
    assert (large["input_price"], large["output_price"]) == (0.2, 0.6)


def test_what_was_written_is_an_outcome_table_that_fitting_reads(tmp_path: Path) -> None:
    write_outcomes(outcomes(), tmp_path, {})

    table = read_outcomes(tmp_path)

    assert table.uids == tuple(item.id for item in ITEMS)
    assert table.expert_names == ("small", "large")
    assert np.isnan(table.scores[3, 0])
    assert table.scores[2, 0] == 0.5
    assert table.experts[1].active_params_b == 2
    assert table.experts[1].price_output == 0.6


def test_means_and_standard_errors_leave_missing_scores_out() -> None:
    table = cells(outcomes())

    small = table["math"]["small"]
    assert (small.n, small.missing, small.mean) == (3, 0, 0.5)
    assert small.error == pytest.approx(0.5 / 3**0.5)
    assert table["law"]["small"].mean == 1.0
    assert table["law"]["small"].error is None
    assert table["law"]["small"].missing == 2
    assert table[ALL]["large"].mean == pytest.approx(5 / 6)
    assert failures(outcomes()) == {"small": {"expert_unavailable": 2}, "large": {}}


def test_an_expert_without_any_score_has_no_mean() -> None:
    none = cell([outcome(ITEMS[0], "small", None)])

    assert (none.n, none.missing, none.mean, none.error) == (0, 1, None, None)
    assert str(none) == "–"


def test_the_summary_shows_every_category_and_counts_what_is_missing() -> None:
    header, rows = summary_rows(outcomes())

    assert header == ["category", "prompts", "small", "large"]
    assert [row[0] for row in rows] == ["math", "law", "all", "missing", "tokens per answer"]
    assert rows[3][2:] == ["2", "0"]
    page = summary_markdown(outcomes())
    assert "| math | 3 | 0.50 ± 0.29 | 1.00 ± 0.00 |" in page
    assert "Missing for small: expert_unavailable 2×." in page
