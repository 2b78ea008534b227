"""`coterie score` from the command line: a table, a summary, honest exits."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest
import typer
from typer.testing import CliRunner, Result

from eval.cli.score import score
from experts.answer_store import AnswerStore
from experts.fake import Behaviour, run_fake_expert
from tests.integration.eval.world import running

ROOT = Path(__file__).resolve().parents[3]

cli = typer.Typer()
cli.command("score")(score)
SUM = {"id": "sum-1", "prompt": "2 + 2?", "check": {"kind": "number", "value": 4}, "max_tokens": 8}
CODE = {
    "id": "code-1",
    "prompt": "Code!",
    "check": {"kind": "python", "tests": ["assert f() == 1"]},
    "max_tokens": 8,
}


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    path = tmp_path / "sums.jsonl"
    lines = [{**SUM, "id": f"sum-{n}", "prompt": f"{n} + {4 - n}?"} for n in range(6)]
    path.write_text("\n".join(map(json.dumps, [*lines, CODE])))
    return path


def run(*arguments: object) -> Result:
    return CliRunner().invoke(cli, list(map(str, arguments)))


def answers(body: Mapping[str, Any]) -> Behaviour:
    code = body["messages"][-1]["content"] == "Code!"
    return Behaviour(reply="```python\ndef f(): return 1\n```" if code else "4")


def test_a_run_writes_the_table_and_prints_the_summary(tmp_path: Path, suite: Path) -> None:
    with running(answers) as world:
        result = run("--api", world.api, "--suite", suite, "--out", tmp_path / "out", "--allow-network-code")

    assert result.exit_code == 0, result.output
    assert "small" in result.stdout
    assert "14 answers asked for" in result.stdout
    table = parquet.read_table(tmp_path / "out" / "scores.parquet")
    assert table["small"].to_pylist() == table["large"].to_pylist() == [1.0] * 7
    manifest = json.loads((tmp_path / "out" / "run.json").read_text())
    assert manifest["prompts"] == 7
    assert [each["name"] for each in manifest["experts"]] == ["small", "large"]
    assert "| sums | 7 | 1.00 ± 0.00 | 1.00 ± 0.00 |" in (tmp_path / "out" / "summary.md").read_text()


def test_thinking_experts_may_be_given_room_beyond_what_prompts_allow(tmp_path: Path, suite: Path) -> None:
    with running(answers) as world:
        common = ("--api", world.api, "--suite", suite, "--out", tmp_path / "out", "--expert", "small")
        run(*common, "--allow-network-code", "--thinking-tokens", 2000)
        # An answer under other limits is another answer.
        assert "7 answers asked for" in run(*common, "--allow-network-code").stdout

    assert [body["max_tokens"] for body in world.log.bodies] == [2008] * 7 + [8] * 7


def test_a_repeated_run_asks_nothing_unless_told_to(tmp_path: Path, suite: Path) -> None:
    with running(answers) as world:
        common = ("--api", world.api, "--suite", suite, "--out", tmp_path / "out", "--expert", "small")
        assert "7 answers asked for" in run(*common, "--allow-network-code").stdout
        assert "0 answers asked for" in run(*common, "--allow-network-code").stdout
        assert "7 answers asked for" in run(*common, "--allow-network-code", "--fresh").stdout

    lines = [
        (tmp_path / "out" / name).read_text().count("\n") for name in ("answers.old.jsonl", "answers.jsonl")
    ]
    assert lines == [7, 7]
    assert parquet.read_table(tmp_path / "out" / "scores.parquet").column_names == ["uid", "small"]


def test_samples_are_written_as_means_with_their_number_and_tokens(tmp_path: Path, suite: Path) -> None:
    def second_is_wrong(body: Mapping[str, Any]) -> Behaviour:
        return Behaviour(reply="5") if body.get("seed") == 1 else answers(body)

    out = tmp_path / "out"
    with running(second_is_wrong) as world:
        common = ("--api", world.api, "--suite", suite, "--out", out, "--allow-network-code")
        result = run(*common, "--samples", 2, "--only", "small=sums")
        assert "0 answers asked for" in run(*common, "--samples", 2).stdout

    assert result.exit_code == 0, result.output
    assert "28 answers asked for" in result.stdout
    scores, samples, spread = (
        parquet.read_table(out / f"{name}.parquet")["large"].to_pylist()
        for name in ("scores", "samples", "spread")
    )
    assert (scores, samples) == ([0.5] * 7, [2] * 7)
    assert spread == pytest.approx([0.5**0.5] * 7)
    details = parquet.read_table(out / "details.parquet").to_pylist()
    assert {(each["sample"], each["score"]) for each in details} == {(0, 1.0), (1, 0.0)}
    tokens = parquet.read_table(out / "tokens_out.parquet")["large"].to_pylist()
    by_uid: dict[str, list[int]] = {}
    for each in details:
        if each["expert"] == "large":
            by_uid.setdefault(each["uid"], []).append(each["completion_tokens"])
    assert tokens == [sum(each) / 2 for each in by_uid.values()]


def test_an_expert_without_any_score_makes_the_run_fail_but_keeps_the_others(
    tmp_path: Path, suite: Path
) -> None:
    def large_refuses(body: Mapping[str, Any]) -> Behaviour:
        return Behaviour(status=400) if body["model"] == "large" else answers(body)

    with running(large_refuses) as world:
        result = run("--api", world.api, "--suite", suite, "--out", tmp_path / "out", "--allow-network-code")

    assert result.exit_code == 1
    assert "large: 7 without a score" in result.stdout
    assert parquet.read_table(tmp_path / "out" / "scores.parquet")["large"].null_count == 7


def test_a_plain_server_needs_sizes_and_says_so(tmp_path: Path, suite: Path) -> None:
    with run_fake_expert(answers, name="solo") as fake:
        common = ("--api", fake.endpoint, "--suite", suite, "--out", tmp_path / "out", "--allow-network-code")
        without = run(*common)
        sized = run(*common, "--params-b", "solo=1.5")

    assert without.exit_code == 1
    assert "--params-b solo=SIZE" in without.stderr
    assert sized.exit_code == 0
    assert "params_b: 1.5" in (tmp_path / "out" / "experts.yaml").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--api", "http://127.0.0.1:9/v1"), "No API answers"),
        (("--suite", "missing.jsonl"), "missing.jsonl"),
        (("--category", "cooking"), "no category cooking"),
        (("--params-b", "small=huge"), "NAME=SIZE"),
        (("--concurrency", "0"), "--concurrency"),
        (("--only", "small"), "EXPERT=CATEGORY"),
        (("--greedy", "--samples", "2"), "--greedy"),
    ],
)
def test_what_cannot_work_is_said_in_a_line(tmp_path: Path, arguments: tuple[str, ...], said: str) -> None:
    result = run("--out", tmp_path / "out", *arguments)

    assert result.exit_code in {1, 2}
    assert said in result.stderr.replace("\n", "")
    assert "Traceback" not in result.output


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path, data_folder: Path) -> None:
    """The process is killed outright; the next run must lose nothing and repeat only what was in flight."""
    suite = tmp_path / "sums.jsonl"
    suite.write_text("\n".join(json.dumps({**SUM, "id": f"sum-{n}", "prompt": f"{n}?"}) for n in range(60)))
    out = tmp_path / "out"
    with running(Behaviour(reply="4", delay_s=0.05)) as world:
        arguments = ["--api", world.api, "--suite", str(suite), "--out", str(out)]
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import typer; from eval.cli.score import score; typer.run(score)",
                *arguments,
            ],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + 30
        while world.log.finished < 30 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        process.wait()
        with AnswerStore(data_folder / "answers.sqlite") as store:
            kept = len(store)
        result = run(*arguments)
        total = world.log.started

    assert 0 < kept < 120
    assert f"{120 - kept} answers asked for" in result.stdout
    assert total <= 120 + 2 * 2 * 4
    assert parquet.read_table(out / "scores.parquet")["small"].to_pylist() == [1.0] * 60
