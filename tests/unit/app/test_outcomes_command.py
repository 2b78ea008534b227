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
    assert "no prompt occurs twice" in shown.output
    assert "coder" in shown.output and "100%" in shown.output


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
