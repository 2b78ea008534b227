"""The live benchmark of strategies, against a running service over fake experts."""

import asyncio
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from benchmarks.live_strategies import BEGIN, END, main
from experts.fake import Behaviour
from routers.decision import FAMILIES
from tests.integration.app.strategy_world import serving

ITEMS = 32


def a_suite(path: Path) -> Path:
    """Sums; the cheap experts know the small ones."""
    lines = [
        {
            "id": f"sum-{number}",
            "category": "smalltalk",
            "prompt": f"hello, what is {number} + 1?",
            "check": {"kind": "number", "value": number + 1},
            "max_tokens": 20,
        }
        for number in range(ITEMS)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def knows_up_to(limit: int) -> Any:
    def choose(body: Mapping[str, Any]) -> Behaviour:
        asked = str(body["messages"][-1]["content"])
        if not asked.startswith("hello"):
            return Behaviour(reply="1")
        number = int(asked.split()[3])
        right = number <= limit
        noise = random.Random(number).uniform(-0.1, 0.1)
        return Behaviour(reply=str(number + 1 if right else -1), confidence=(0.8 if right else 0.4) + noise)

    return choose


async def test_the_benchmark_reports_and_goes_on_where_it_stopped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ways = {"talker": knows_up_to(20), "backup": knows_up_to(30), "coder": knows_up_to(99)}
    docs = tmp_path / "docs.md"
    docs.write_text(f"before\n{BEGIN}\nNot run yet.\n{END}\nafter\n")
    async with serving(tmp_path / "world", ways) as api:
        words = ["--api", api.url, "--suite", str(a_suite(tmp_path / "suite.jsonl"))]
        words += ["--out", str(tmp_path / "out"), "--docs", str(docs), "--concurrency", "8"]
        words += ["--cache", str(tmp_path / "answers.sqlite")]
        assert await asyncio.to_thread(main, words) == 0
        asked = {name: fake.log.started for name, fake in api.fakes.items()}
        assert await asyncio.to_thread(main, words) == 0
        assert {name: fake.log.started for name, fake in api.fakes.items()} == asked
    table = (tmp_path / "out" / "table.md").read_text()
    rows = {line.split("|")[1].strip(): line for line in table.splitlines() if line.startswith("| ")}
    assert {"talker", "coder", "single", "chain", *FAMILIES} <= rows.keys()
    score = {name: float(line.split("|")[2].split("±")[0]) for name, line in rows.items() if "±" in line}
    assert score["coder"] == 1
    assert score["talker"] < score["vote"] <= score["self_select"] == 1
    assert docs.read_text().startswith("before\n")
    assert "| cascade |" in docs.read_text()
    assert "Not run yet" not in docs.read_text()
    assert (tmp_path / "out" / "strategies.png").stat().st_size > 1000
    capsys.readouterr()


async def test_it_says_what_to_do_when_no_api_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--api", "http://127.0.0.1:9", "--out", str(tmp_path / "out")]
    assert await asyncio.to_thread(main, words) == 1
    assert "No API answers" in capsys.readouterr().err
