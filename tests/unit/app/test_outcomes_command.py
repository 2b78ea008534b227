"""`coterie outcomes` speaks to people and to machines, and says what is wrong with a table."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner, Result

from app.cli.root import build


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Two categories of four prompts; `coder` codes, `talker` talks."""
    uids = [f"p{row}" for row in range(8)]
    pq.write_table(
        pa.table(
            {
                "uid": uids,
                "category": ["coding"] * 4 + ["smalltalk"] * 4,
                "prompt": [f"prompt {uid}" for uid in uids],
            }
        ),
        tmp_path / "prompts.parquet",
    )
    pq.write_table(
        pa.table({"uid": uids, "coder": [1.0] * 4 + [0.0] * 4, "talker": [0.0] * 4 + [1.0] * 3 + [None]}),
        tmp_path / "scores.parquet",
    )
    experts = [{"name": "coder", "params_b": 7}, {"name": "talker", "params_b": 1, "input_price": 0.5}]
    (tmp_path / "experts.yaml").write_text(yaml.safe_dump({"experts": experts}))
    return tmp_path


def outcomes(*words: str | Path) -> Result:
    return CliRunner().invoke(build(), ["outcomes", *map(str, words)])


def test_a_table_is_described_for_people(table: Path) -> None:
    shown = outcomes("describe", table)
    assert shown.exit_code == 0
    assert "8 prompts · 2 categories · 2 experts · 1 of 16 scores missing" in shown.output
    assert "no tokens are known" in shown.output
    assert "no prompt occurs twice" in shown.output
    assert "coder" in shown.output and "100%" in shown.output


def test_known_tokens_are_counted_and_their_gaps_named(table: Path) -> None:
    counts = {"uid": ["p0", "p1", "p2"], "coder": [10, 20, None]}
    for name in ("tokens_in", "tokens_out"):
        pq.write_table(pa.table(counts), table / f"{name}.parquet")

    shown = " ".join(outcomes("describe", table).output.split())

    assert "tokens known in 2 of 16 cells; in none of talker, whose cost and compute are unknown" in shown
    assert "in none of smalltalk, where the mean of each expert is taken" in shown
    tokens = json.loads(outcomes("describe", table, "--json").output)["tokens"]
    assert tokens == {"known": 2, "cells": 16, "experts": ["talker"], "categories": ["smalltalk"]}


def test_a_table_is_described_for_machines(table: Path) -> None:
    document = json.loads(outcomes("describe", table, "--json").output)
    assert document["prompts"] == 8
    assert {each["name"]: each["best"] for each in document["categories"]} == {
        "coding": "coder",
        "smalltalk": "talker",
    }
    assert document["experts"][1]["price_input"] == 0.5
    assert document["duplicates"] == {"groups": 0, "extra": 0, "conflicting": 0, "examples": []}


def test_a_bad_table_ends_the_command_with_what_is_wrong(table: Path) -> None:
    (table / "scores.parquet").unlink()
    refused = outcomes("describe", table)
    assert refused.exit_code == 1
    assert "scores.parquet is missing" in refused.output


def test_a_plan_for_people_names_cells_and_what_they_bring(table: Path) -> None:
    shown = outcomes("plan", table, "--new-prompts", "--judgments", "40")
    assert shown.exit_code == 0
    assert "expected regret of the map" in shown.output


def test_a_plan_for_machines_keeps_to_the_prompts_that_are_there(table: Path) -> None:
    document = json.loads(outcomes("plan", table, "--json").output)
    assert document["judgments"] <= 1
    for cell in document["cells"]:
        assert (cell["category"], cell["expert"], cell["prompts"]) == ("smalltalk", "talker", 1)


def test_a_table_without_gaps_is_planned_beyond_unless_that_is_unwanted(table: Path) -> None:
    pq.write_table(
        pa.table({"uid": [f"p{row}" for row in range(8)], "coder": [1.0, 0.0] * 4, "talker": [0.0, 1.0] * 4}),
        table / "scores.parquet",
    )
    assert json.loads(outcomes("plan", table, "--json").output)["judgments"] == 200
    refused = outcomes("plan", table, "--known-prompts")
    assert refused.exit_code == 1
    assert "every expert" in refused.output


def test_a_composition_without_evidence_says_what_to_do() -> None:
    refused = outcomes("plan", Path("routers/compositions/tiny"))
    assert refused.exit_code == 1
    assert "fit" in refused.output
