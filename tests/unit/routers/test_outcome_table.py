"""Outcome tables are read as they were meant, or refused by file with what to do."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from routers.outcome_table import OutcomeError, OutcomeTable, read_cards, read_outcomes

PROMPTS: dict[str, list[Any]] = {
    "uid": ["p1", "p2", "p3"],
    "category": ["law", "law", "math"],
    "prompt": ["a?", "b?", "1+1"],
}
SCORES: dict[str, list[Any]] = {
    "uid": ["p1", "p2", "p3"],
    "small": [0.0, 0.5, 1.0],
    "large": [1.0, None, 0.25],
}
EXPERTS: list[dict[str, Any]] = [
    {"name": "small", "params_b": 0.1},
    {"name": "large", "params_b": 70, "active_params_b": 12.5, "input_price": 0.5, "output_price": 1.5},
]


def write(
    folder: Path,
    prompts: Mapping[str, Sequence[Any]] = PROMPTS,
    scores: Mapping[str, Sequence[Any]] = SCORES,
    experts: Any = EXPERTS,
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(dict(prompts)), folder / "prompts.parquet")
    pq.write_table(pa.table(dict(scores)), folder / "scores.parquet")
    (folder / "experts.yaml").write_text(yaml.safe_dump({"experts": experts}))
    return folder


def refusal(folder: Path, **parts: Any) -> str:
    with pytest.raises(OutcomeError) as caught:
        read_outcomes(write(folder, **parts))
    return str(caught.value)


def test_a_table_is_read_whole(tmp_path: Path) -> None:
    table = read_outcomes(write(tmp_path))
    assert len(table) == 3
    assert (table.uids, table.categories, table.prompts) == tuple(map(tuple, PROMPTS.values()))
    assert table.expert_names == ("small", "large")
    assert np.array_equal(
        table.scores, np.asarray([[0, 1], [0.5, np.nan], [1, 0.25]], dtype=np.float32), equal_nan=True
    )
    small, large = table.experts
    assert (small.active_params_b, small.price_input, small.price_output) == (0.1, None, None)
    assert (large.active_params_b, large.price_input, large.price_output) == (12.5, 0.5, 1.5)


def test_the_order_of_rows_and_columns_does_not_matter(tmp_path: Path) -> None:
    shuffled = {name: SCORES[name][::-1] for name in ("large", "uid", "small")}
    plain = read_outcomes(write(tmp_path / "plain"))
    mixed = read_outcomes(write(tmp_path / "mixed", scores=shuffled))
    assert np.array_equal(plain.scores, mixed.scores, equal_nan=True)
    assert plain.uids == mixed.uids


def test_a_prompt_without_a_row_of_scores_is_unscored(tmp_path: Path) -> None:
    table = read_outcomes(write(tmp_path, scores={"uid": ["p3"], "small": [1.0], "large": [0.0]}))
    assert np.isnan(table.scores[:2]).all()
    assert table.scores[2].tolist() == [1, 0]


def test_rows_and_experts_can_be_taken_out(tmp_path: Path) -> None:
    table = read_outcomes(write(tmp_path))
    assert table.take([2, 0]).uids == ("p3", "p1")
    assert table.take([2, 0]).scores[:, 0].tolist() == [1, 0]
    swapped = table.keep_experts(["large", "small"])
    assert swapped.expert_names == ("large", "small")
    assert swapped.scores[0].tolist() == [1, 0]
    with pytest.raises(OutcomeError, match=r"tiny.* small, large"):
        table.keep_experts(["small", "tiny"])


@pytest.mark.parametrize("name", ["prompts.parquet", "scores.parquet", "experts.yaml"])
def test_a_missing_file_is_named(tmp_path: Path, name: str) -> None:
    (write(tmp_path) / name).unlink()
    with pytest.raises(OutcomeError, match=f"{name} is missing"):
        read_outcomes(tmp_path)


@pytest.mark.parametrize("name", ["prompts.parquet", "scores.parquet"])
def test_a_file_that_is_no_parquet_is_named(tmp_path: Path, name: str) -> None:
    (write(tmp_path) / name).write_text("uid,category\n")
    with pytest.raises(OutcomeError, match=f"{name} is not a Parquet file"):
        read_outcomes(tmp_path)


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"prompts": {"uid": ["a"], "prompt": ["x"]}}, "prompts.parquet: no column category"),
        ({"scores": {"small": [1.0], "large": [1.0]}}, "scores.parquet: no column uid"),
        ({"prompts": {**PROMPTS, "uid": ["p1", "p2", "p2"]}}, "prompts.parquet: p2 more than once"),
        ({"scores": {**SCORES, "uid": ["p1", "p1", "p3"]}}, "scores.parquet: p1 more than once"),
        ({"scores": {**SCORES, "uid": ["p1", "p2", "p9"]}}, "scores.parquet: p9"),
        ({"scores": {"uid": ["p1"], "small": [1.0]}}, "scores.parquet: no column"),
        ({"scores": {**SCORES, "huge": [0.1] * 3}}, "scores.parquet has huge"),
        (
            {"prompts": {**PROMPTS, "category": ["law", " ", "x"]}},
            "prompts.parquet: category",
        ),
        ({"prompts": {**PROMPTS, "category": ["law", None, "x"]}}, "p2"),
        ({"prompts": {**PROMPTS, "prompt": ["", "b", ""]}}, "p1, p3"),
        (
            {"scores": {**SCORES, "small": [0.1, 7.5, -1.0]}},
            "2 scores outside 0..1, the first 7.5 for small at p2",
        ),
        ({"scores": {**SCORES, "small": [0.1, float("inf"), 0.0]}}, "1 scores outside 0..1"),
        ({"scores": {**SCORES, "small": ["good", "bad", "ugly"]}}, "scores.parquet: small: "),
    ],
)
def test_a_bad_table_is_refused_by_file_and_row(tmp_path: Path, parts: dict[str, Any], message: str) -> None:
    assert message in refusal(tmp_path, **parts)


@pytest.mark.parametrize(
    ("experts", "message"),
    [
        ([], "at least one expert"),
        (None, "at least one expert"),
        ({"small": 1}, "at least one expert"),
        (["small"], "expert number 1: the entry"),
        ([{"params_b": 1}], "expert number 1: name"),
        ([{"name": "small"}], "expert 'small': params_b: "),
        ([{"name": "small", "params_b": -1}], "expert 'small': params_b: "),
        ([{"name": "small", "params_b": "big"}], "expert 'small': params_b"),
        ([{"name": "small", "params_b": 1, "parms": 2}], "expert 'small': parms: "),
        ([{"name": "small", "params_b": 1, "capabilities": ["fly"]}], "expert 'small': capabilities"),
        ([{"name": "small", "params_b": 1, "input_price": -2}], "expert 'small': input_price"),
        ([{"name": "small", "params_b": 1}] * 2, "small more than once"),
    ],
)
def test_bad_experts_are_refused_by_name_and_field(tmp_path: Path, experts: Any, message: str) -> None:
    said = refusal(tmp_path, experts=experts)
    assert "experts.yaml" in said
    assert message in said


@pytest.mark.parametrize("text", ["", "just words", "models: []", "experts: [", "- a\n- b"])
def test_a_file_that_describes_no_experts_says_what_was_expected(tmp_path: Path, text: str) -> None:
    path = tmp_path / "experts.yaml"
    path.write_text(text)
    with pytest.raises(OutcomeError, match=r"experts\.yaml: .*experts:"):
        read_cards(path)


def test_a_long_list_of_culprits_is_cut(tmp_path: Path) -> None:
    scores = {"uid": [f"q{i}" for i in range(9)], "small": [0.1] * 9, "large": [0.1] * 9}
    assert "q0, q1, q2 and 6 more not in prompts.parquet" in refusal(tmp_path, scores=scores)


words = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12).filter(str.strip)
score = st.one_of(st.none(), st.floats(0, 1, width=32))


@given(rows=st.lists(st.tuples(words, words, score, score), min_size=1, max_size=8, unique_by=lambda r: r[0]))
def test_a_table_comes_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, float | None, float | None]]
) -> None:
    uids, prompts, small, large = (list(column) for column in zip(*rows, strict=True))
    types = pa.schema([("uid", pa.string()), ("small", pa.float32()), ("large", pa.float32())])
    folder = write(
        tmp_path_factory.mktemp("table"),
        prompts={"uid": uids, "category": ["any"] * len(uids), "prompt": prompts},
    )
    pq.write_table(
        pa.table({"uid": uids, "small": small, "large": large}, schema=types), folder / "scores.parquet"
    )
    table: OutcomeTable = read_outcomes(folder)
    assert table.uids == tuple(uids)
    assert table.prompts == tuple(prompts)
    read = [[None if np.isnan(value) else value for value in row] for row in table.scores.tolist()]
    assert read == [[a, b] for a, b in zip(small, large, strict=True)]
