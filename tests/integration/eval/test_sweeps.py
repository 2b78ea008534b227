"""Sweeps over a fake API: killed and gone on with, kept in SQLite or PostgreSQL, reported with baselines."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmarks.postgres_server import NoPostgres, running_postgres
from client import RetryPolicy
from eval.sweeps.sweep_file import LiveSweep, SweepError, read_sweep
from eval.sweeps.sweep_run import run_sweep, write_items, write_report
from eval.sweeps.sweep_store import ItemRow, SweepStore
from experts.answer_store import StoreError
from experts.fake import Behaviour, run_fake_expert
from tests.commands import coterie
from tests.integration.eval.evaluation_world import fill_up

ROOT = Path(__file__).resolve().parents[3]
ITEMS = 1000
CONCURRENCY = 8


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgres)])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A new, empty database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'sweeps.db'}"
        return
    try:
        with running_postgres() as server:
            yield server.new_database()
    except NoPostgres as error:
        pytest.skip(str(error))


def sums(path: Path, count: int) -> Path:
    """A suite of `count` sums, all of which are 4."""
    lines = [
        {
            "id": f"sum-{number}",
            "category": ("odd", "even")[number % 2 == 0],
            "prompt": f"Sum {number}?",
            "check": {"kind": "number", "value": 4},
            "max_tokens": 8,
        }
        for number in range(count)
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def sweep_file(path: Path, api: str, **changes: Any) -> Path:
    document = {
        "kind": "live",
        "name": "sums",
        "api": api,
        "allow_seen": True,
        "baselines": False,
        "concurrency": CONCURRENCY,
        "benchmark": {"name": "sums.jsonl"},
        **changes,
    }
    path.write_text(yaml.safe_dump(document))
    return path


def live(path: Path) -> LiveSweep:
    sweep = read_sweep(path)
    assert isinstance(sweep, LiveSweep)
    return sweep


def test_a_killed_sweep_goes_on_without_losing_or_repeating_an_item(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    sums(tmp_path / "sums.jsonl", ITEMS)
    with run_fake_expert(Behaviour(reply="4", delay_s=0.01), models=["coterie"]) as fake:
        file = sweep_file(tmp_path / "sweep.yaml", fake.endpoint)
        command = [sys.executable, "-m", "app.cli", "eval", "sweep", str(file), "--database", database]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        with subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        ) as running:
            deadline = time.monotonic() + 120
            while fake.log.finished < ITEMS // 3:
                assert running.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.005)
            running.send_signal(signal.SIGKILL)
        with SweepStore(database) as store:
            ((run, _),) = store.runs()
            kept = {uid for _, uid in store.done(run.id)}
        assert ITEMS // 4 < len(kept) < ITEMS
        before = len(fake.log.bodies)

        monkeypatch.chdir(tmp_path)
        done = coterie("eval", "sweep", str(file), "--database", database)

        assert done.code == 0, done.err
        asked = Counter(body["messages"][-1]["content"] for body in fake.log.bodies)
        again = Counter(body["messages"][-1]["content"] for body in fake.log.bodies[before:])
    assert len(asked) == ITEMS
    assert not {f"Sum {uid.removeprefix('sum-')}?" for uid in kept} & set(again)
    # A request that was in flight when the process died has to be asked again: its answer is lost.
    assert sum(asked.values()) <= ITEMS + CONCURRENCY
    with SweepStore(database) as store:
        items = store.items(run.id)
        finished = store.run(run.id)
    assert len(items) == len({item.uid for item in items}) == ITEMS
    assert {item.score for item in items} == {1.0}
    assert finished is not None
    assert finished.finished_at is not None
    report = json.loads((tmp_path / "var/eval/sweeps" / run.id / "report.json").read_text())
    assert report["rows"][0]["n"] == ITEMS


def test_a_finished_sweep_asks_nobody_again_and_a_fresh_one_is_another_run(
    tmp_path: Path, database: str
) -> None:
    sums(tmp_path / "sums.jsonl", 20)
    with run_fake_expert(Behaviour(reply="4"), models=["coterie"]) as fake, SweepStore(database) as store:
        sweep = live(sweep_file(tmp_path / "sweep.yaml", fake.endpoint))
        first = run_sweep(sweep, store, cache=tmp_path / "a.sqlite")
        again = run_sweep(sweep, store, cache=tmp_path / "b.sqlite")
        assert (again.run, fake.log.started) == (first.run, 20)
        fresh = run_sweep(sweep, store, fresh=True, cache=tmp_path / "b.sqlite")
        assert fresh.run == f"{first.run}.2"
        assert fake.log.started == 40
        assert [count for _, count in store.runs()] == [20, 20]
        assert write_items(store, fresh.run, tmp_path / "items.csv") == 20
        assert len((tmp_path / "items.csv").read_text().splitlines()) == 21
        with pytest.raises(SweepError, match="no run"):
            write_items(store, "other", tmp_path / "no.csv")


def test_an_item_is_written_once(tmp_path: Path, database: str) -> None:
    with SweepStore(database) as store:
        store.begin("r", name="r", kind="live", config={}, manifest={})
        assert not store.begin("r", name="r", kind="live", config={}, manifest={})
        for score in (1.0, 0.0):
            store.add([ItemRow(run_id="r", configuration="c", uid="u", category="x", score=score)])
        (item,) = store.items("r")
        assert (item.score, store.done("r")) == (1.0, {("c", "u")})


def test_routing_options_travel_with_each_request_and_baselines_stand_beside(tmp_path: Path) -> None:
    sums(tmp_path / "sums.jsonl", 30)

    def answer(body: Mapping[str, Any]) -> Behaviour:
        number = int(body["messages"][-1]["content"].split()[1].strip("?"))
        right = {"small": number % 2 == 0, "large": True, "coterie": number % 3 > 0}[body["model"]]
        return Behaviour(reply="4" if right else "5")

    with (
        run_fake_expert(answer, models=["coterie", "small", "large"]) as fake,
        SweepStore(str(tmp_path / "s.db")) as store,
    ):
        grid = {
            "experts": ["all", ["small"]],
            "strategy": [{"name": "cascade", "options": {"threshold": 0.5}, "label": "careful"}],
            "prompts": [{"name": "plain"}, {"name": "brief", "system": "Be brief."}],
        }
        sweep = live(sweep_file(tmp_path / "s.yaml", fake.endpoint, baselines=True, grid=grid))
        report = run_sweep(sweep, store, cache=tmp_path / "a.sqlite")
        bodies = [body for body in fake.log.bodies if body["model"] == "coterie"]
    strategy = {"strategy": "cascade", "options": {"threshold": 0.5}}
    sent = {json.dumps(body["routing"], sort_keys=True) for body in bodies}
    excluding = {"exclude": ["large"], **strategy}
    assert sent == {json.dumps(each, sort_keys=True) for each in (strategy, excluding)}
    assert Counter(body["messages"][0]["role"] for body in bodies) == {"user": 60, "system": 60}
    rows = {row.name: row for row in report.rows}
    assert len([row for row in report.rows if row.kind == "configuration"]) == 4
    assert rows["large"].score == 1.0
    assert rows["small"].score == 0.5
    assert rows["best_single"].score == 1.0
    assert rows["oracle"].score == 1.0
    assert {"random", "knn", "kmeans", "category_oracle"} <= set(rows)
    configuration = rows["served experts=all plain"]
    assert configuration.score == pytest.approx(2 / 3)
    assert configuration.gain is not None
    assert configuration.gain.high < 0
    assert any("NOT CHECKED" in note for note in report.notes)


def test_what_could_not_be_asked_is_missing_and_asked_for_the_next_time(tmp_path: Path) -> None:
    sums(tmp_path / "sums.jsonl", 12)
    down = [True]

    def answer(body: Mapping[str, Any]) -> Behaviour:
        return Behaviour(status=503) if down[0] else Behaviour(reply="4")

    with (
        run_fake_expert(answer, models=["coterie"]) as fake,
        SweepStore(str(tmp_path / "s.db")) as store,
    ):
        sweep = live(sweep_file(tmp_path / "s.yaml", fake.endpoint))
        once = RetryPolicy(attempts=1)
        report = run_sweep(sweep, store, cache=tmp_path / "a.sqlite", retries=once)
        assert not report.complete
        assert report.rows[0].score is None
        assert any("asks for them again" in note for note in report.notes)
        down[0] = False
        report = run_sweep(sweep, store, cache=tmp_path / "a.sqlite", retries=once)
    assert report.complete
    assert (report.rows[0].n, report.rows[0].score) == (12, 1.0)
    write_report(report, tmp_path / "out")
    assert (tmp_path / "out/pareto.png").stat().st_size > 1000
    assert (tmp_path / "out/table.csv").read_text().startswith("name,kind,n,score")


def test_a_sweep_whose_answers_cannot_be_kept_stops_and_says_so(tmp_path: Path) -> None:
    sums(tmp_path / "sums.jsonl", 40)
    fill_up(tmp_path / "a.sqlite")
    with (
        run_fake_expert(Behaviour(reply="4"), models=["coterie"]) as fake,
        SweepStore(f"sqlite:///{tmp_path / 's.db'}") as store,
    ):
        sweep = live(sweep_file(tmp_path / "sweep.yaml", fake.endpoint))
        with pytest.raises(StoreError, match="disk is full"):
            run_sweep(sweep, store, cache=tmp_path / "a.sqlite")
        assert fake.log.started <= CONCURRENCY


def test_a_composition_that_says_nothing_of_its_fit_is_not_reported_on(tmp_path: Path) -> None:
    sums(tmp_path / "sums.jsonl", 3)
    with (
        run_fake_expert(Behaviour(reply="4"), models=["coterie"]) as fake,
        SweepStore(str(tmp_path / "s.db")) as store,
    ):
        sweep = live(sweep_file(tmp_path / "s.yaml", fake.endpoint, allow_seen=False))
        with pytest.raises(SweepError, match="allow_seen"):
            run_sweep(sweep, store, cache=tmp_path / "a.sqlite")
        assert fake.log.started == 0


def test_a_server_that_is_not_there_is_named(tmp_path: Path) -> None:
    sums(tmp_path / "sums.jsonl", 3)
    with SweepStore(str(tmp_path / "s.db")) as store:
        sweep = live(sweep_file(tmp_path / "s.yaml", "http://127.0.0.1:9/v1"))
        with pytest.raises(SweepError, match="No API answers"):
            run_sweep(sweep, store, cache=tmp_path / "a.sqlite")
