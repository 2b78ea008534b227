"""`coterie residency simulate`, by the command line."""

import itertools
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli.root import build
from app.operations.residency_replay import Traffic, stored_stream, table_stream
from app.settings import Settings
from app.storage.database import Database
from app.storage.rows import DecisionRow
from app.storage.schema import ensure

REGISTRY = """
residency:
  memory_gb: 24
experts:
  - {name: code, endpoint: http://one:8000/v1, model: m, params_b: 7, context_length: 8192, memory_gb: 20}
  - {name: terse, base: code, system_prompt: Be brief.}
  - {name: chat, endpoint: http://two:8000/v1, model: m, params_b: 7, context_length: 8192, memory_gb: 20}
  - {name: hosted, endpoint: http://three:8000/v1, model: m, params_b: 70, context_length: 8192}
"""
STREAM = """
{"time": "2026-01-01T00:00:10+00:00", "expert": "chat", "seconds": 2.5}
{"time": "2026-01-01T00:00:00+00:00", "expert": "code"}
{"time": "2026-01-01T00:01:00+00:00", "expert": "terse"}
{"time": "2026-01-01T00:01:20+00:00", "expert": "hosted"}
{"time": "2026-01-01T00:02:00+00:00", "expert": "code"}
"""


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    (tmp_path / "experts.yaml").write_text(REGISTRY, encoding="utf-8")
    (tmp_path / "stream.jsonl").write_text(STREAM, encoding="utf-8")
    return ["--experts", str(tmp_path / "experts.yaml"), "--stream", str(tmp_path / "stream.jsonl")]


def run(*words: str) -> str:
    result = CliRunner().invoke(build(), ["residency", "simulate", *words])
    assert result.exit_code == 0, result.output
    return result.output


def failed(*words: str) -> str:
    result = CliRunner().invoke(build(), ["residency", "simulate", *words])
    assert result.exit_code == 1, result.output
    return " ".join(result.output.split())


def test_arms_share_their_servers_memory_and_hosted_experts_take_no_turns(files: list[str]) -> None:
    output = run(*files, "--policy", "lru", "--leaves", "level1", "--segment", "2", "--json")
    found = json.loads(output[output.index("{") :])
    assert found["servers"] == {"code": 20.0, "chat": 20.0}
    assert (found["requests"], found["left_out"], found["memory_gb"]) == (4, 1, 24.0)
    (result,) = found["results"]
    assert (result["switches"], result["hit_rate"]) == (3, 0.25), "code, chat, code for its arm; then a hit"
    assert found["segments"][0]["length"] == 2


def test_everything_is_shown_and_drawn(files: list[str], tmp_path: Path) -> None:
    picture = tmp_path / "waits.png"
    output = run(*files, "--segment", "3", "--picture", str(picture))
    for word in ("level1", "level2", "stopped", "predictor", "belady", "SRP", "SCH"):
        assert word in output
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_mistakes_are_explained(files: list[str], tmp_path: Path) -> None:
    assert "give lru, lfu, predictor, belady" in failed(*files, "--policy", "fifo")
    assert "give more --memory" in failed(*files, "--memory", "10")
    assert "belong together" in failed("--outcomes", str(tmp_path))
    (tmp_path / "stream.jsonl").write_text('{"time": 3}\n', encoding="utf-8")
    assert "stream.jsonl:1: needs" in failed(*files)
    (tmp_path / "stream.jsonl").write_text('{"time": 3, "expert": "code", "seconds": -1}', encoding="utf-8")
    assert "stream.jsonl:1: needs" in failed(*files)


def test_a_service_without_decisions_says_what_to_give(
    files: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COTERIE_DATA", str(tmp_path))
    assert "has no decisions yet" in failed(*files[:2])
    assert not list(tmp_path.glob("*.db")), "reading makes none"
    (tmp_path / "coterie.db").write_bytes(b"")
    assert "decisions cannot be read" in failed(*files[:2])


async def test_decisions_of_the_service_are_replayed_in_their_order(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path)
    database = Database(settings.database)
    await ensure(database)
    start = datetime(2026, 1, 1, tzinfo=UTC)
    async with database.session() as session:
        for number, expert in enumerate(("code", "chat")):
            row = DecisionRow(
                id=str(number),
                composition="c",
                classification="classified",
                expert=expert,
                strategy="single",
                reason="matched",
                detail="",
                created_at=start + timedelta(seconds=10 * number),
                request_id="r",
                model="coterie",
                status="ok",
                http_status=200,
                latency_ms=1500.0 if number else None,
                runners_up=[],
                ranking=[],
            )
            session.add(row)
        await session.commit()
    await database.close()
    found = await stored_stream(settings, 5.0)
    assert [(each.at_s, each.server, each.answer_s) for each in found] == [(0, "code", 5), (10, "chat", 1.5)]


def test_prompts_come_in_runs_of_their_category() -> None:
    categories = ["a"] * 50 + ["b"] * 50
    stream = table_stream(categories, categories, Traffic(rate=2.0, run=10.0, requests=2_000, seed=1))
    changes = sum(one.server != two.server for one, two in itertools.pairwise(stream))
    assert changes == pytest.approx(2_000 / 10 / 2, rel=0.25), "half of the runs stay by chance"
    assert stream[-1].at_s == pytest.approx(1_000, rel=0.1)
    assert stream == table_stream(categories, categories, Traffic(rate=2.0, run=10.0, requests=2_000, seed=1))
