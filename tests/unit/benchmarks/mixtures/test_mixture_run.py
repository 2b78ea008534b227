"""A run asks every method about every task, keeps what is finished, and goes on where it was stopped."""

import asyncio
import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from base.reply import AskError, Reply
from base.usage import TokenUsage
from benchmarks.mixtures.__main__ import main
from benchmarks.mixtures.methods import METHODS
from benchmarks.mixtures.mixture_run import Job, Model, ModelLine, Results, jobs, run_job
from benchmarks.mixtures.settings import PRESETS, Sizes
from benchmarks.mixtures.task_list import TASKS
from benchmarks.mixtures.tested_model import PrefixCounts, answers, greedy, identity, serving
from experts.answer_store import AnswerStore
from experts.asker import Asker
from experts.expert import Expert
from experts.expert_line import AskedExpert, ExpertAsk, ExpertLine
from experts.fake import Behaviour, RunningFake, run_fake_expert
from experts.registry import RegistryError, UnknownExpert
from prompts.mixture.call_budget import Messages, PrefixCache
from prompts.mixture.hyperparameters import BuildConfig
from prompts.mixture.mixture import Matrix

SIZES = Sizes(train=40, test=12, shots=4, concurrency=8)
JOB = Job(TASKS["topics"], 0)


def encode(texts: Sequence[str]) -> Matrix:
    """Words as directions: enough for regions to be found."""
    rows = np.zeros((len(texts), 64), dtype=np.float32)
    for row, text in zip(rows, texts, strict=True):
        for word in text.split():
            row[int(hashlib.sha256(word.encode()).hexdigest(), 16) % 64] += 1
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), dtype=np.float32)


def copies_the_last_answer(body: Mapping[str, Any]) -> Behaviour:
    """A model that says what the demo before the question says, and nothing without demos."""
    said = [message["content"] for message in body["messages"] if message["role"] == "assistant"]
    return Behaviour(reply=said[-1] if said else "I do not know that")


def expert_at(endpoint: str, **more: Any) -> Expert:
    return Expert(
        name="toy", endpoint=endpoint, model="toy", params_b=1.0, context_length=4096, max_in_flight=8, **more
    )


@pytest.fixture
def fake() -> Iterator[RunningFake]:
    with run_fake_expert(copies_the_last_answer, models=["toy"]) as running:
        yield running


async def run(fake: RunningFake, folder: Path, sizes: Sizes = SIZES, job: Job = JOB) -> int:
    """How many methods were run."""
    expert = expert_at(fake.endpoint)
    with AnswerStore(folder / "answers.sqlite") as store:
        asker = Asker(store, ExpertLine(), concurrency=8)
        async with asker.open():
            counts = PrefixCounts(ExpertAsk(asker, AskedExpert(expert, {}, server="")))
            line = ModelLine(counts, counts.read)
            model = Model(identity(expert), expert.context_length, lambda: line)
            return await run_job(job, sizes, model, encode, Results(folder), lambda *_: None)


async def test_every_method_leaves_a_result_with_one_score_for_each_test_item(
    fake: RunningFake, tmp_path: Path
) -> None:
    assert await run(fake, tmp_path) == len(METHODS)
    found = {each["method"]: each for each in Results(tmp_path).all(SIZES)}
    assert set(found) == set(METHODS)
    for each in found.values():
        assert len(each["right"]) == len(each["kinds"]) == len(each["prompt_tokens"]) == SIZES.test
        assert set(each["right"]) <= {0.0, 1.0}
    assert sum(found["nearest demos"]["right"]) > sum(found["zero-shot"]["right"]) == 0
    assert len(found["mixture"]["regions"]) == SIZES.test
    assert found["zero-shot"]["regions"] == []


async def test_the_search_for_one_instruction_takes_no_more_calls_than_the_mixture(
    fake: RunningFake, tmp_path: Path
) -> None:
    await run(fake, tmp_path)
    bills = {each["method"]: each["bill"] for each in Results(tmp_path).all(SIZES)}
    taken = {name: bill.get("calls", 0) + bill.get("cached", 0) for name, bill in bills.items()}
    assert 0 < taken["instruction"] <= taken["mixture"] <= 400
    assert taken["zero-shot"] == taken["random demos"] == taken["nearest demos"] == 0


async def test_a_finished_run_asks_nothing_again(fake: RunningFake, tmp_path: Path) -> None:
    await run(fake, tmp_path)
    asked = fake.log.started
    assert await run(fake, tmp_path) == 0
    assert fake.log.started == asked


async def test_a_run_that_failed_goes_on_with_the_answers_it_has(tmp_path: Path) -> None:
    seen = 0

    def fails_after_a_while(body: Mapping[str, Any]) -> Behaviour:
        nonlocal seen
        seen += 1
        return Behaviour(status=400) if seen == 60 else copies_the_last_answer(body)

    with run_fake_expert(fails_after_a_while, models=["toy"]) as breaking:
        with pytest.raises(AskError):
            await run(breaking, tmp_path / "broken")
        first = breaking.log.started
        await run(breaking, tmp_path / "broken")
        both = breaking.log.started
    with run_fake_expert(copies_the_last_answer, models=["toy"]) as whole:
        await run(whole, tmp_path / "whole")
        # The call that failed, and those in flight beside it, are asked twice.
        assert both - whole.log.started <= SIZES.concurrency
        assert first >= 60
    assert scores(tmp_path / "broken") == scores(tmp_path / "whole")


def scores(folder: Path) -> dict[str, list[float]]:
    return {each["method"]: each["right"] for each in Results(folder).all(SIZES)}


async def test_a_method_that_is_missing_is_run_alone(fake: RunningFake, tmp_path: Path) -> None:
    await run(fake, tmp_path)
    Results(tmp_path).path(JOB, "instruction").unlink()
    assert await run(fake, tmp_path) == 1
    assert set(scores(tmp_path)) == set(METHODS)


async def test_results_of_other_sizes_are_not_taken(fake: RunningFake, tmp_path: Path) -> None:
    await run(fake, tmp_path)
    assert await run(fake, tmp_path, Sizes(train=40, test=10, shots=4, concurrency=8)) == len(METHODS)
    assert list(Results(tmp_path).all(SIZES)) == []


async def test_a_damaged_result_is_made_again(fake: RunningFake, tmp_path: Path) -> None:
    await run(fake, tmp_path)
    Results(tmp_path).path(JOB, "mixture").write_text('{"setup": ')
    assert await run(fake, tmp_path) == 1


async def test_how_many_are_asked_at_once_changes_no_result(fake: RunningFake, tmp_path: Path) -> None:
    await run(fake, tmp_path / "one", Sizes(train=40, test=12, shots=4, concurrency=1))
    await run(fake, tmp_path / "many")
    assert scores(tmp_path / "one") == scores(tmp_path / "many")
    assert fake.log.max_in_flight <= SIZES.concurrency


def test_jobs_go_seed_by_seed() -> None:
    asked = jobs([TASKS["topics"], TASKS["desk"]], 2)
    assert [(job.task.name, job.seed) for job in asked] == [
        ("topics", 0),
        ("desk", 0),
        ("topics", 1),
        ("desk", 1),
    ]


async def test_prefix_hits_are_counted_only_where_the_server_tells_them() -> None:
    told = iter(
        [
            Reply("", usage=TokenUsage(100, cached=64)),
            Reply("", usage=TokenUsage(50, cached=0)),
            Reply("", usage=TokenUsage(50, cached=50), kept=True),
            Reply("", usage=TokenUsage(50)),
        ]
    )

    async def ask(messages: Messages, *, max_tokens: int, temperature: float, seed: int) -> Reply:
        return next(told)

    counts = PrefixCounts(ask)
    for _ in range(3):
        await counts([], max_tokens=1, temperature=0.0, seed=0)
    assert counts.read() == PrefixCache(150, 64)
    await counts([], max_tokens=1, temperature=0.0, seed=0)
    assert counts.read() is None


def test_an_expert_is_asked_greedily() -> None:
    expert = expert_at("http://127.0.0.1:1/v1", sampling={"temperature": 0.7, "repetition_penalty": 1.1})
    assert dict(greedy(expert).sampling) == {}


def write_registry(folder: Path, endpoint: str) -> Path:
    path = folder / "experts.yaml"
    path.write_text(
        "experts:\n"
        "  - name: toy\n"
        f"    endpoint: {endpoint}\n"
        "    model: toy\n"
        "    params_b: 1\n"
        "    context_length: 4096\n"
        "    sampling: {temperature: 0.7}\n"
    )
    return path


async def test_an_endpoint_on_the_command_line_wins_over_the_registry(
    fake: RunningFake, tmp_path: Path
) -> None:
    registry = write_registry(tmp_path, "http://127.0.0.1:1/v1")
    asked = serving(registry, "toy", endpoint=fake.endpoint, threads=None, concurrency=40, logs=tmp_path)
    async with asked as expert:
        assert expert.endpoint == fake.endpoint
        assert expert.max_in_flight >= 40
        assert await answers(expert)
    dead = serving(registry, "toy", endpoint=None, threads=None, concurrency=4, logs=tmp_path)
    async with dead as expert:
        assert not await answers(expert)


async def test_an_expert_that_is_not_there_is_named(tmp_path: Path) -> None:
    registry = write_registry(tmp_path, "http://127.0.0.1:1/v1")
    with pytest.raises(UnknownExpert, match="smollm2"):
        async with serving(registry, "smollm2", endpoint=None, threads=None, concurrency=4, logs=tmp_path):
            pass
    with pytest.raises(RegistryError):
        async with serving(
            tmp_path / "none.yaml", "toy", endpoint=None, threads=None, concurrency=4, logs=tmp_path
        ):
            pass


def test_the_command_reports_what_is_finished_and_writes_it_into_the_page(
    fake: RunningFake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = Sizes(train=40, test=12)
    for name in ("topics", "letters"):
        asyncio.run(run(fake, tmp_path / "toy", sizes, Job(TASKS[name], 0)))
    page = tmp_path / "page.md"
    page.write_text("Before\n<!-- evidence:toy -->\nold\n<!-- end:toy -->\nAfter\n")
    words = ["--expert", "toy", "--out", str(tmp_path), "--train", "40", "--test", "12", "--report-only"]
    assert main([*words, "--page", str(page)]) == 0
    shown = page.read_text()
    assert shown.startswith("Before\n<!-- evidence:toy -->\n")
    assert shown.endswith("<!-- end:toy -->\nAfter\n")
    assert "old" not in shown
    assert "| topics | 1 |" in shown
    assert "| letters | 4 |" in shown
    assert "--expert toy --train 40 --test 12 --out DIR" in shown
    assert str(tmp_path) not in shown
    assert (tmp_path / "images" / "mixture-toy.png").read_bytes().startswith(b"\x89PNG")
    summary = json.loads((tmp_path / "toy.json").read_text())
    assert summary["runs"] == 2
    assert "| topics" in capsys.readouterr().out


def test_a_page_without_markers_is_left_alone_and_told(
    fake: RunningFake, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(run(fake, tmp_path / "toy", Sizes(train=40, test=12)))
    page = tmp_path / "page.md"
    page.write_text("Nothing to see")
    words = ["--expert", "toy", "--out", str(tmp_path), "--train", "40", "--test", "12", "--report-only"]
    assert main([*words, "--page", str(page)]) == 1
    assert "<!-- evidence:toy -->" in capsys.readouterr().err
    assert page.read_text() == "Nothing to see"


def test_nothing_finished_and_unknown_tasks_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--out", str(tmp_path), "--report-only"]) == 1
    assert "no task is finished" in capsys.readouterr().err
    assert main(["--out", str(tmp_path), "--tasks", "letters,chess"]) == 1
    assert "'chess'" in capsys.readouterr().err


def test_results_say_every_hyperparameter_that_they_hang_on() -> None:
    """So that those of other defaults are not taken for today's."""
    each_task_has_its_own = {"seed", "metric", "answer_tokens", "context_tokens"}
    changes_no_result = {"concurrency"}
    for preset in PRESETS:
        said = Sizes(preset=preset).record()["config"]
        assert set(said) == set(BuildConfig.model_fields) - each_task_has_its_own - changes_no_result
    assert Sizes(preset="paper").record()["config"]["candidates"] == BuildConfig().candidates
