"""Evaluations end to end through Inspect, against a service and judges on loopback."""

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest

from client import RetryPolicy
from eval.benchmark_registry import RunRequest, prepare
from eval.engine.contestants import ContestantError
from eval.engine.items import RunItem
from eval.engine.manifest import RunError
from eval.engine.run import Finished, RunOptions, run_benchmark
from eval.reports.results import results_of
from experts.answer_store import StoreError
from experts.fake import Behaviour, run_fake_expert
from tests.commands import coterie
from tests.integration.eval.evaluation_world import World, fill_up, prompt_of, serving, verdict_of

ROOT = Path(__file__).resolve().parents[3]
QUICK = RetryPolicy(attempts=2, first_wait_s=0.01, longest_wait_s=0.01)


def sums(path: Path, count: int) -> Path:
    rows = (
        {
            "id": f"sum-{n}",
            "category": "math",
            "prompt": f"{n} + {4 - n}?",
            "check": {"kind": "number", "value": 4},
        }
        for n in range(count)
    )
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def run(world: World, folder: Path, **request: Any) -> Finished:
    prepared = prepare(RunRequest(api=world.api, **request))
    return run_benchmark(
        prepared.benchmark,
        prepared.contestants,
        folder / "run",
        options=RunOptions(cache=folder / "answers.sqlite", retries=QUICK),
    )


def by_question(items: tuple[RunItem, ...], contestant: str) -> dict[str, RunItem]:
    return {item.question: item for item in items if item.contestant == contestant}


def test_the_service_and_single_experts_are_scored_and_the_decision_is_kept(tmp_path: Path) -> None:
    with serving(lambda body: "4" if body["model"] != "small" else "5") as world:
        finished = run(world, tmp_path, benchmark=str(sums(tmp_path / "s.jsonl", 6)), against="coterie,small")

    assert finished.complete
    assert {item.score for item in by_question(finished.items, "small").values()} == {0.0}
    routed = by_question(finished.items, "coterie")["sum-0"]
    assert routed.score == 1.0
    assert routed.turns[0].routing is not None
    assert routed.turns[0].routing["reason"] == "matched"
    assert finished.run.manifest.status == "complete"
    assert finished.run.manifest.asked == {"coterie": 6, "small": 6}
    results = results_of(finished.run)
    assert [each["score"] for each in results["contestants"]] == [1.0, 0.0]
    assert results["contestants"][1]["active_params_b"] == 0.5


def test_inspects_logs_are_there_for_its_viewer(tmp_path: Path) -> None:
    from inspect_ai.log import list_eval_logs, read_eval_log

    with serving(lambda body: "4") as world:
        finished = run(world, tmp_path, benchmark=str(sums(tmp_path / "s.jsonl", 3)), against="coterie")

    (log,) = list_eval_logs(str(finished.run.folder / "logs"))
    read = read_eval_log(log)
    assert read.status == "success"
    assert read.samples is not None
    assert {sample.output.completion for sample in read.samples} == {"4"}
    assert read.samples[0].metadata["routing"][0]["expert"] in {"small", "large"}


def test_nothing_answered_is_asked_again_by_another_run(tmp_path: Path) -> None:
    suite = sums(tmp_path / "s.jsonl", 5)
    with serving(lambda body: "4") as world:
        run(world, tmp_path, benchmark=str(suite), against="small")
        (tmp_path / "run").rename(tmp_path / "first")
        finished = run(world, tmp_path, benchmark=str(suite), against="small,mine=#small")

        assert len(world.bodies) == 5
    assert finished.complete
    assert all(item.turns[0].cached for item in finished.items)
    assert finished.run.manifest.asked == {}


def test_another_composition_is_asked_anew(tmp_path: Path) -> None:
    suite = str(sums(tmp_path / "s.jsonl", 2))
    with serving(lambda body: "4") as world:
        run(world, tmp_path, benchmark=suite, against="coterie")
        world.composition = "0ther"
        with pytest.raises(RunError, match="other contestants"):
            run(world, tmp_path, benchmark=suite, against="coterie")
        (tmp_path / "run").rename(tmp_path / "first")
        run(world, tmp_path, benchmark=suite, against="coterie")

        assert len(world.bodies) == 4


def test_a_composition_that_changes_meanwhile_spoils_no_answer(tmp_path: Path) -> None:
    with serving(lambda body: "4") as world:
        prepared = prepare(
            RunRequest(api=world.api, benchmark=str(sums(tmp_path / "s.jsonl", 2)), against="coterie")
        )
        world.composition = "0ther"
        finished = run_benchmark(
            prepared.benchmark,
            prepared.contestants,
            tmp_path / "run",
            options=RunOptions(cache=tmp_path / "answers.sqlite", retries=QUICK),
        )

    assert not finished.complete
    assert {item.error for item in finished.items} == {"composition_changed"}


def test_a_service_with_a_canary_is_not_evaluated_as_one_composition(tmp_path: Path) -> None:
    suite = str(sums(tmp_path / "s.jsonl", 2))
    with serving(lambda body: "4") as world:
        world.canary = {"digest": "canary", "share": 0.1}
        with pytest.raises(ContestantError, match="canary stop"):
            run(world, tmp_path, benchmark=suite, against="coterie")
        run(world, tmp_path, benchmark=suite, against="small")
        assert len(world.bodies) == 2


def test_what_failed_is_asked_again_when_the_run_goes_on_and_the_rest_is_not(tmp_path: Path) -> None:
    broken = {"0 + 4?": 503, "1 + 3?": 400}
    suite = str(sums(tmp_path / "s.jsonl", 4))
    with serving(lambda body: broken.get(prompt_of(body), "4")) as world:
        first = run(world, tmp_path, benchmark=suite, against="small")
        errors = {item.question: item.error for item in first.items if item.error}
        broken.clear()
        asked = len(world.bodies)
        second = run(world, tmp_path, benchmark=suite, against="small")

        # A refusal is final: asking the same again would be refused again.
        assert [prompt_of(body) for body in world.bodies[asked:]] == ["0 + 4?"]
    assert errors == {"sum-0": "refused", "sum-1": "refused"}
    assert (first.complete, first.run.manifest.status) == (False, "incomplete")
    assert {item.question for item in second.items if item.score == 1.0} == {"sum-0", "sum-2", "sum-3"}
    assert second.complete


def test_a_run_whose_answers_cannot_be_kept_stops_and_says_so(tmp_path: Path) -> None:
    suite = str(sums(tmp_path / "s.jsonl", 20))
    fill_up(tmp_path / "answers.sqlite")
    with serving(lambda body: "4") as world:
        with pytest.raises(StoreError, match="disk is full"):
            run(world, tmp_path, benchmark=suite, against="small")
        assert len(world.bodies) < 20


def test_a_server_that_is_gone_is_given_up_on(tmp_path: Path) -> None:
    with serving(lambda body: 503) as world:
        finished = run(world, tmp_path, benchmark=str(sums(tmp_path / "s.jsonl", 40)), against="small")

        assert len(world.bodies) < 60
    assert {item.error for item in finished.items} == {"not_asked"}
    assert "5 times in a row" in finished.items[0].reason


def test_a_killed_run_goes_on_without_losing_or_repeating_an_item(tmp_path: Path) -> None:
    suite = sums(tmp_path / "s.jsonl", 60)
    with run_fake_expert(Behaviour(reply="4", delay_s=0.05)) as fake:
        command = [
            sys.executable, "-m", "app.cli", "eval", "run", str(suite), "--against", "fake",
            "--api", fake.endpoint, "--concurrency", "4", "--cache", str(tmp_path / "answers.sqlite"),
            "--runs", str(tmp_path / "runs"),
        ]  # fmt: skip
        process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 240
        while fake.log.finished < 20 and time.monotonic() < deadline:
            time.sleep(0.02)
        process.kill()
        process.wait()
        answered = fake.log.finished
        assert 20 <= answered < 60
        done = coterie("eval", "resume", "last", "--runs", str(tmp_path / "runs"))

        assert done.code == 0, done.err
        # Those in flight when it was killed were answered without anybody to keep the answer.
        assert 60 <= fake.log.started <= 60 + 2 * 4
    (folder,) = (tmp_path / "runs").iterdir()
    lines = (folder / "items.jsonl").read_text().splitlines()
    assert {json.loads(line)["question"] for line in lines} == {f"sum-{n}" for n in range(60)}
    assert "60" in done.out


# MT-Bench

RATINGS = {"judge": 8, "second-judge": 6}


def rated(body: Mapping[str, Any]) -> str:
    if body["model"] in RATINGS:
        return verdict_of(body, RATINGS[body["model"]])
    return f"{body['model']} answers turn {sum(m['role'] == 'user' for m in body['messages'])}"


def test_mt_bench_asks_both_turns_at_each_categorys_temperature_and_grades_each(tmp_path: Path) -> None:
    with serving(rated) as world:
        finished = run(
            world, tmp_path, benchmark="mt-bench", data="own", against="small", judge="judge,second-judge"
        )

        temperatures = {(body["temperature"], len(body["messages"])) for body in world.asked("small")}
        judged = [prompt_of(body) for body in world.asked("judge")]
    assert temperatures == {(t, n) for t in (0.0, 0.1, 0.7) for n in (1, 3)}
    assert len(finished.items) == 16
    assert len(judged) == 32
    with_reference = [text for text in judged if "reference answer" in text]
    assert len(with_reference) == 12
    item = by_question(finished.items, "small")["1"]
    assert item.values == {"turn_1": 7.0, "turn_2": 7.0}
    assert item.score == pytest.approx(0.7)
    table = parquet.read_table(finished.run.folder / "verdicts.parquet").to_pylist()
    assert len(table) == 64
    assert {(row["judge"], row["turn"], row["score"]) for row in table} == {
        (judge, turn, float(rating)) for judge, rating in RATINGS.items() for turn in (1, 2)
    }


def test_an_unreadable_judgment_is_asked_for_again_then_counted_and_is_never_a_verdict(
    tmp_path: Path,
) -> None:
    def answer(body: Mapping[str, Any]) -> str:
        if body["model"] != "judge":
            return "an answer"
        texts = json.dumps(body["messages"])
        if "lighthouse" in texts:
            return "I would rather not say."
        if "bakery" in texts and len(body["messages"]) < 4:
            return "Hard to tell."
        return verdict_of(body, 5)

    with serving(answer) as world:
        finished = run(
            world,
            tmp_path,
            benchmark="mt-bench",
            data="own",
            category=("writing",),
            turns=1,
            against="small",
            judge="judge",
        )

        # The third time it would be asked the very same as the second, since it said the same.
        assert len(world.asked("judge")) == 2 + 2
    lighthouse, bakery = by_question(finished.items, "small").values()
    assert (lighthouse.score, lighthouse.unparsed, lighthouse.verdicts[0]["score"]) == (None, 1, None)
    assert (bakery.score, bakery.unparsed, bakery.judgments[0]["attempts"]) == (0.5, 0, 2)
    results = results_of(finished.run)
    assert results["contestants"][0]["unparsed"] == 1
    assert results["judges"]["judges"]["judge"]["retried"] == 2
    assert any("1 of 2 judgments" in note for note in results["notes"])
    assert results["ratings"]["models"][0]["score"] == 5.0


def test_a_judge_whose_server_takes_no_schema_is_asked_in_words(tmp_path: Path) -> None:
    def answer(body: Mapping[str, Any]) -> str | int:
        if body["model"] != "judge":
            return "an answer"
        return 400 if "response_format" in body else "Fine. Rating: [[9]]"

    with serving(answer) as world:
        finished = run(
            world,
            tmp_path,
            benchmark="mt-bench",
            data="own",
            limit=2,
            turns=1,
            against="small",
            judge="judge",
        )

    assert [item.score for item in finished.items] == [0.9, 0.9]


def test_pairs_are_judged_in_both_positions_and_disagreement_is_a_tie(tmp_path: Path) -> None:
    def answer(body: Mapping[str, Any]) -> str:
        if body["model"] != "judge":
            return f"from {body['model']}"
        text = prompt_of(body)
        large_is_b = text.index("from large") > text.index("from small")
        if "lighthouse" in text:
            return verdict_of(body, "A>B")
        return verdict_of(body, "B>A" if large_is_b else "A>B")

    with serving(answer) as world:
        finished = run(
            world,
            tmp_path,
            benchmark="mt-bench",
            data="own",
            category=("writing",),
            turns=1,
            mode="pairwise",
            baseline="small",
            against="small,large",
            judge="judge",
        )

    assert [(item.contestant, item.score) for item in finished.items] == [("large", 0.5), ("large", 1.0)]
    rows = parquet.read_table(finished.run.folder / "verdicts.parquet").to_pylist()
    assert [(row["baseline"], row["win"], row["tie"], row["loss"]) for row in rows] == [
        ("small", 0, 1, 0),
        ("small", 1, 0, 0),
    ]
    checks = results_of(finished.run)["judges"]["judges"]["judge"]["positions"]
    assert checks == {"pairs": 2, "same": 0.5, "first": 0.5, "second": 0.0}


# Arena-Hard


def test_arena_hard_plays_two_games_against_the_baseline_and_counts_decisive_verdicts_thrice(
    tmp_path: Path,
) -> None:
    def answer(body: Mapping[str, Any]) -> str:
        if body["model"] != "judge":
            return "from large"
        text = prompt_of(body)
        model_is_b = "from large" in text[text.index("answer of B") :]
        return verdict_of(body, "B>>A" if model_is_b else "A=B")

    with serving(answer) as world:
        finished = run(
            world, tmp_path, benchmark="arena-hard", data="own", against="large", judge="judge", limit=2
        )

        assert len(world.asked("large")) == 2
        assert len(world.asked("judge")) == 4
    rows = parquet.read_table(finished.run.folder / "verdicts.parquet").to_pylist()
    assert [(row["baseline"], row["win"], row["tie"], row["loss"]) for row in rows] == [
        ("reference", 3, 1, 0)
    ] * 2
    assert {"length", "baseline_length", "headers", "lists", "bold"} <= set(rows[0])
    assert [item.score for item in finished.items] == [3.5 / 4] * 2


def test_one_unreadable_game_leaves_the_question_without_a_verdict(tmp_path: Path) -> None:
    def answer(body: Mapping[str, Any]) -> str:
        if body["model"] != "judge":
            return "from large"
        texts = json.dumps(body["messages"])
        first_game = texts.index("from large") > texts.index("answer of B")
        return "no idea" if first_game else verdict_of(body, "A>B")

    with serving(answer) as world:
        finished = run(
            world, tmp_path, benchmark="arena-hard", data="own", against="large", judge="judge", limit=1
        )

    (item,) = finished.items
    assert (item.score, item.unparsed, item.verdicts) == (None, 1, ())
    assert not (finished.run.folder / "verdicts.parquet").exists()


def test_replayed_answers_are_judged_without_asking_their_models(tmp_path: Path) -> None:
    answers = tmp_path / "answers.jsonl"
    rows = [
        {"question_id": f"own-{n:02}", "model": m, "answer": f"{m} says"} for n in (1, 2) for m in ("x", "y")
    ]
    answers.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with serving(lambda body: verdict_of(body, "A=B")) as world:
        finished = run(
            world,
            tmp_path,
            benchmark="arena-hard",
            data="own",
            answers=answers,
            baseline="x",
            judge="judge",
            limit=3,
        )

        assert {body["model"] for body in world.bodies} == {"judge"}
    scores = {item.question: (item.score, item.error) for item in finished.items}
    assert scores["own-01"] == scores["own-02"] == (0.5, None)
    assert scores["own-03"] == (None, "no_answer")


def test_what_a_composition_was_fitted_on_is_left_out(tmp_path: Path) -> None:
    from eval.engine.exclusions import composition_folder
    from routers.composition import load_composition

    digest = load_composition(ROOT / "routers" / "compositions" / "cpu").digest
    assert composition_folder(digest) == ROOT / "routers" / "compositions" / "cpu"
    fitted = json.loads((ROOT / "prompts" / "checkable" / "math.jsonl").read_text().splitlines()[0])
    suite = sums(tmp_path / "s.jsonl", 3)
    suite.write_text(suite.read_text() + json.dumps({**fitted, "category": "math"}) + "\n")
    with serving(lambda body: "4") as world:
        world.composition = digest
        finished = run(world, tmp_path, benchmark=str(suite), against="coterie,small")

        assert fitted["prompt"] not in {prompt_of(body) for body in world.bodies}
        with pytest.raises(RunError, match="used to fit"):
            prepare(RunRequest(api=world.api, benchmark="checkable", against="coterie", category=("math",)))
    assert len(finished.items) == 6
    assert any("1 questions left out" in note for note in results_of(finished.run)["notes"])
