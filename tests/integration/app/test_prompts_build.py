"""`coterie prompts build` against fake experts: what it writes, what it says, and how it goes on."""

import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from numpy.typing import NDArray
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from typer.testing import CliRunner

from app.cli.prompts_build import in_parts, prefix_cache_of
from app.cli.root import build as build_command
from app.settings import PROJECT
from experts.fake import Behaviour, Chooser, RunningFake, create_fake_expert, run_fake_expert, serve_in_thread
from prompts.mixture.artefact import load_mixture
from prompts.mixture.call_budget import PrefixCache
from routers.encoder import Encoder

CAPITAL = "Name the capital of the country."
SUM = "Add up the numbers."
CAPITALS = {
    "France": "Paris",
    "Japan": "Tokyo",
    "Egypt": "Cairo",
    "Peru": "Lima",
    "Norway": "Oslo",
    "Kenya": "Nairobi",
    "Chile": "Santiago",
    "Ghana": "Accra",
    "Spain": "Madrid",
    "Cuba": "Havana",
    "Nepal": "Kathmandu",
    "Oman": "Muscat",
    "Qatar": "Doha",
    "Greece": "Athens",
    "Poland": "Warsaw",
}


pytestmark = pytest.mark.usefixtures("encoder")  # the command loads it


@pytest.fixture
def demos(tmp_path: Path) -> Path:
    """Forty-five demos of two kinds: capitals and sums."""
    rows = [{"input": f"Country: {country}", "output": city} for country, city in CAPITALS.items()]
    rows += [{"input": f"{n} + {n * 3}", "output": str(n * 4)} for n in range(11, 41)]
    return written(tmp_path / "demos.jsonl", rows)


def written(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def clever(body: Mapping[str, Any]) -> Behaviour:
    """An expert that does what its system message says, and writes such messages when asked."""
    said = body["messages"][-1]["content"]
    front = body["messages"][0]["content"] if body["messages"][0]["role"] == "system" else ""
    if said.startswith("Somebody was given"):
        return Behaviour(reply=CAPITAL if body["seed"] % 2 else SUM)
    if said.startswith("Country: ") and CAPITAL in front:
        return Behaviour(reply=CAPITALS[said.removeprefix("Country: ")])
    if "+" in said and SUM in front:
        return Behaviour(reply=str(sum(int(part) for part in said.split("+"))))
    return Behaviour(reply="I do not know")


@pytest.fixture
def fake() -> Iterator[RunningFake]:
    with run_fake_expert(clever) as running:
        yield running


def registry(tmp_path: Path, endpoint: str, **fields: Any) -> Path:
    entry = {"name": "llm", "model": "fake", "endpoint": endpoint, "params_b": 1, "context_length": 4096}
    path = tmp_path / "experts.yaml"
    path.write_text(yaml.safe_dump({"experts": [entry | fields]}))
    return path


def arguments(tmp_path: Path, demos: Path, endpoint: str, *more: str, **fields: Any) -> list[str]:
    return [
        *("prompts", "build", str(demos), "--expert", "llm", "--out", str(tmp_path / "capitals")),
        *(
            "--registry",
            str(registry(tmp_path, endpoint, **fields)),
            "--cache",
            str(tmp_path / "kept.sqlite"),
        ),
        *more,
    ]


def run(words: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> tuple[int, str, str]:
    """Exit code, standard output and error of the command, in this process."""
    monkeypatch.setenv("COLUMNS", "200")
    done = CliRunner().invoke(build_command(), list(words), catch_exceptions=False)
    return done.exit_code, done.stdout, done.stderr


def test_a_build_writes_a_mixture_and_says_what_it_measured(
    tmp_path: Path, demos: Path, fake: RunningFake, monkeypatch: pytest.MonkeyPatch, encoder: Encoder
) -> None:
    code, out, err = run(arguments(tmp_path, demos, fake.endpoint), monkeypatch)
    assert code == 0, err
    mixture = load_mixture(tmp_path / "capitals")
    assert (mixture.name, mixture.base) == ("capitals", "llm")
    assert (mixture.encoder, mixture.encoder_revision) == (encoder.name, encoder.revision)
    assert {region.instruction for region in mixture.regions} == {CAPITAL, SUM}
    assert f"capitals ({mixture.digest}) is in {tmp_path / 'capitals'}" in out
    assert f"{fake.log.started} calls and 0 from the cache" in out
    assert "prefix cache" not in out
    assert fake.log.started <= 1500
    asked = encoder.encode(["Country: Italy"])[0]
    said = mixture.messages(mixture.choose(asked), [{"role": "user", "content": "Country: Italy"}])
    assert said[0] == {"role": "system", "content": CAPITAL}


def test_a_second_build_is_answered_from_the_cache(
    tmp_path: Path, demos: Path, fake: RunningFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = arguments(tmp_path, demos, fake.endpoint)
    run(words, monkeypatch)
    first, asked = load_mixture(tmp_path / "capitals").digest, fake.log.started
    code, out, _ = run(words, monkeypatch)
    assert (code, fake.log.started) == (0, asked)
    assert f"0 calls and {asked} from the cache" in out
    assert load_mixture(tmp_path / "capitals").digest == first


def test_the_expert_can_be_asked_through_an_api(
    tmp_path: Path, demos: Path, fake: RunningFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    api = fake.endpoint.removesuffix("/v1")
    code, _, err = run(arguments(tmp_path, demos, "http://127.0.0.1:1/v1", "--api", api), monkeypatch)
    assert code == 0, err
    assert fake.log.last["model"] == "llm"


def test_the_prefix_caches_hit_rate_is_on_the_bill(
    tmp_path: Path, demos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = 0

    def metrics(request: Request) -> PlainTextResponse:
        nonlocal read
        read += 1
        labels = '{engine="0",model_name="fake"}'
        return PlainTextResponse(
            "# TYPE vllm:prefix_cache_queries counter\n"
            f"vllm:prefix_cache_queries_total{labels} {1000.0 * read}\n"
            "# TYPE vllm:prefix_cache_hits counter\n"
            f"vllm:prefix_cache_hits_total{labels} {600.0 * read}\n"
        )

    server = Starlette(routes=[Route("/metrics", metrics), Mount("/", create_fake_expert(clever))])
    with serve_in_thread(server) as port:
        words = arguments(tmp_path, demos, f"http://127.0.0.1:{port}/v1")
        code, out, err = run(words, monkeypatch)
    assert code == 0, err
    assert "60% of prompt tokens" in out
    assert load_mixture(tmp_path / "capitals").manifest["bill"]["prefix_cache"] == {
        "queries": 1000,
        "hits": 600,
    }


def test_other_metrics_have_no_hit_rate() -> None:
    assert prefix_cache_of("", "m") is None
    assert prefix_cache_of("vllm:prefix_cache_hits_total 3.0\n", "m") is None
    assert prefix_cache_of("<html>busy</html>", "m") is None
    two = "".join(
        f'vllm:prefix_cache_{name}_total{{model_name="{model}"}} {value}\n'
        for name, value in (("queries", 10), ("hits", 4))
        for model in ("m", "other")
    )
    assert prefix_cache_of(two, "m") == PrefixCache(10, 4)


def test_hyperparameters_come_from_a_file_with_options_over_them(
    tmp_path: Path, demos: Path, fake: RunningFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("candidates: 3\nseed: 1\nmetric: contains\n")
    words = arguments(tmp_path, demos, fake.endpoint, "--config", str(config), "--seed", "7")
    code, _, err = run(words, monkeypatch)
    assert code == 0, err
    said = load_mixture(tmp_path / "capitals").manifest["config"]
    assert (said["candidates"], said["seed"], said["metric"]) == (3, 7, "contains")
    assert (said["concurrency"], said["context_tokens"]) == (64, 4096)


def test_no_more_calls_are_in_flight_than_the_expert_takes(
    tmp_path: Path, demos: Path, fake: RunningFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    fields = {"max_in_flight": 3, "max_queued": 0}
    words = arguments(tmp_path, demos, fake.endpoint, "--concurrency", "50", **fields)
    code, _, err = run(words, monkeypatch)
    assert code == 0, err
    assert fake.log.max_in_flight <= 3


def nothing_was_written(tmp_path: Path) -> bool:
    return not any(path.name.startswith((".mixture", "capitals")) for path in tmp_path.iterdir())


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"input": "x"}, r"demos\.jsonl:46: output: is missing"),
        ({"input": "Country: France", "output": "Lyon"}, r"demos\.jsonl:46: .*:1 "),
    ],
)
def test_bad_demos_are_named_by_line_and_cost_nothing(
    tmp_path: Path,
    demos: Path,
    fake: RunningFake,
    monkeypatch: pytest.MonkeyPatch,
    row: Mapping[str, str],
    complaint: str,
) -> None:
    demos.write_text(demos.read_text() + json.dumps(row) + "\n")
    code, _, err = run(arguments(tmp_path, demos, fake.endpoint), monkeypatch)
    assert code == 1
    assert re.search(complaint, err)
    assert fake.log.started == 0
    assert nothing_was_written(tmp_path)


@pytest.mark.parametrize(
    ("behaviour", "complaint"),
    [
        (Behaviour(reply=""), "with nothing at all"),
        (Behaviour(status=400, error={"message": "no"}), "rejected the request"),
        (lambda body: Behaviour(status=500) if "+" in repr(body) else Behaviour(reply="x"), "failed"),
    ],
    ids=["silent", "refusing", "failing"],
)
def test_an_expert_that_gives_no_answers_leaves_nothing_behind(
    tmp_path: Path,
    demos: Path,
    monkeypatch: pytest.MonkeyPatch,
    behaviour: Behaviour | Chooser,
    complaint: str,
) -> None:
    with run_fake_expert(behaviour) as fake:
        code, _, err = run(arguments(tmp_path, demos, fake.endpoint), monkeypatch)
    assert code == 1
    assert complaint in err
    assert nothing_was_written(tmp_path)


def test_a_moment_of_trouble_is_waited_out(
    tmp_path: Path, demos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed: set[str] = set()

    def shaky(body: Mapping[str, Any]) -> Behaviour:
        question = repr(body["messages"])
        if len(question) % 7 == 0 and question not in failed:
            failed.add(question)
            return Behaviour(status=503)
        return clever(body)

    with run_fake_expert(shaky) as fake:
        code, _, err = run(arguments(tmp_path, demos, fake.endpoint), monkeypatch)
    assert code == 0, err


def test_a_small_context_is_told_by_the_server_and_costs_demos_alone(
    tmp_path: Path, demos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_fake_expert(lambda body: Behaviour(reply="42"), context_length=80) as fake:
        code, _, err = run(arguments(tmp_path, demos, fake.endpoint), monkeypatch)
    assert code == 0, err
    assert (tmp_path / "capitals").exists()


WRONG_OPTIONS = [
    (["--expert", "lm"], "did you mean llm"),
    (["--metric", "likelihood"], "--metric: "),
    (["--metric", "choice"], "no letter of a choice"),
    (["--name", "a b"], "cannot name a mixture"),
    (["--out", "my mixture"], "--name"),
    (["--out", "/proc/none/mixture"], "nothing can be written"),
    (["--name", "llm"], "name of its expert"),
    (["--config", "missing.yaml"], "missing.yaml: no such file"),
    (["--out", "."], "holds no mixture"),
    (["--max-calls", "3"], "smallest build"),
    (["--api", "ftp://x"], "http://"),
]
"""Options that cannot be, and a part of what is said about them."""


def test_a_wrong_option_says_what_to_do(
    tmp_path: Path, demos: Path, fake: RunningFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    (here / "notes.txt").write_text("no mixture\n")
    monkeypatch.chdir(here)  # so that no name of a folder above is looked at
    for more, complaint in WRONG_OPTIONS:
        code, _, err = run(arguments(tmp_path, demos, fake.endpoint, *more), monkeypatch)
        assert (code, complaint in err) == (1, True), f"{more}: {err}"
    assert fake.log.started == 0


def add_expert(folder: Path, entry: dict[str, Any]) -> None:
    """Put one more expert into the registry of the folder."""
    registry = yaml.safe_load((folder / "experts.yaml").read_text())
    registry["experts"].append(entry)
    (folder / "experts.yaml").write_text(yaml.safe_dump(registry))


def test_a_registry_may_name_the_mixture_before_it_is_built(
    tmp_path: Path, demos: Path, fake: RunningFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = arguments(tmp_path, demos, fake.endpoint)
    add_expert(tmp_path, {"name": "capitals", "base": "llm", "mixture": "capitals"})
    code, _, err = run(words, monkeypatch)
    assert code == 0, err
    assert "another name" not in err


def test_a_name_that_another_expert_has_is_said(
    tmp_path: Path, demos: Path, fake: RunningFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = arguments(tmp_path, demos, fake.endpoint, "--name", "friend", "--max-calls", "60")
    add_expert(tmp_path, {"name": "friend", "base": "llm", "system_prompt": "Be kind."})
    code, _, err = run(words, monkeypatch)
    assert code == 0, err
    assert "another expert 'friend'" in err


def test_a_server_that_refuses_says_why(tmp_path: Path, demos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refusal = Behaviour(status=400, error={"message": "No chat template is defined."})
    with run_fake_expert(refusal) as fake:
        code, _, err = run(arguments(tmp_path, demos, fake.endpoint), monkeypatch)
    assert code == 1
    assert "No chat template is defined." in err


def test_an_expert_that_goes_away_for_good_is_said_with_how_to_go_on(
    tmp_path: Path, demos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second build asks only what the first did not hear."""
    heard = 0

    def goes_away(body: Mapping[str, Any]) -> Behaviour:
        nonlocal heard
        heard += 1
        return clever(body) if heard <= 30 else Behaviour(rubbish_after=0)

    with run_fake_expert(goes_away) as fake:
        words = arguments(tmp_path, demos, fake.endpoint, "--concurrency", "4")
        code, _, err = run(words, monkeypatch)
        assert code == 1
        assert str(tmp_path / "kept.sqlite") in err
        assert nothing_was_written(tmp_path)
        heard = -10_000
        code, _, err = run(words, monkeypatch)
    assert code == 0, err
    assert load_mixture(tmp_path / "capitals").manifest["bill"]["cached"] == 30


def test_a_folder_that_was_taken_meanwhile_costs_no_answers(
    tmp_path: Path, demos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "capitals"

    def taken(body: Mapping[str, Any]) -> Behaviour:
        out.write_text("mine")
        return clever(body)

    with run_fake_expert(taken) as fake:
        words = arguments(tmp_path, demos, fake.endpoint)
        code, _, err = run(words, monkeypatch)
        asked = fake.log.started
        assert (code, out.read_text()) == (1, "mine")
        assert "same command" in err
        out.unlink()
        code, _, err = run(words, monkeypatch)
        assert (code, fake.log.started) == (0, asked), err


def test_a_silent_model_that_was_mended_is_asked_again(
    tmp_path: Path, demos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    behaviours = [lambda body: Behaviour(reply=""), clever]
    with run_fake_expert(lambda body: behaviours[0](body)) as fake:
        words = arguments(tmp_path, demos, fake.endpoint)
        code, _, err = run(words, monkeypatch)
        assert (code, "with nothing at all" in err) == (1, True)
        del behaviours[0]
        code, out, err = run(words, monkeypatch)
    assert code == 0, err
    assert " and 0 from the cache" in out


def test_questions_that_the_server_refused_as_too_long_are_on_the_bill(
    tmp_path: Path, demos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with run_fake_expert(clever, context_length=40) as fake:
        code, out, err = run(arguments(tmp_path, demos, fake.endpoint), monkeypatch)
    assert code == 0, err
    assert re.search(r"\d+ of \d+ questions .*context_length of 4096", out)


def test_a_prompt_expert_is_no_base(
    tmp_path: Path, demos: Path, fake: RunningFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = arguments(tmp_path, demos, fake.endpoint)
    add_expert(tmp_path, {"name": "friend", "base": "llm", "system_prompt": "Be kind."})
    code, _, err = run([*words, "--expert", "friend"], monkeypatch)
    assert code == 1
    assert "--expert llm" in err


def test_a_build_that_is_stopped_embeds_no_further() -> None:
    """A thread cannot be ended from outside: Ctrl-C would wait for thousands of demos."""
    stopped, asked = threading.Event(), list[int]()

    def encode(texts: Sequence[str]) -> NDArray[np.float32]:
        asked.append(len(texts))
        if len(asked) == 2:
            stopped.set()
        return np.ones((len(texts), 4), dtype=np.float32)

    told: list[tuple[str, int, int]] = []
    embed = in_parts(encode, lambda *step: told.append(step), stopped)
    assert embed(["a"] * 20).shape == (20, 4)
    with pytest.raises(RuntimeError, match="stopped"):
        embed(["a"] * 500)
    assert asked == [20, 32]
    assert told[1] == ("embedding demos", 20, 20)


def test_ctrl_c_says_how_to_go_on_and_going_on_asks_only_the_rest(
    tmp_path: Path, demos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    delay_s = 0.05

    def slow(body: Mapping[str, Any]) -> Behaviour:
        return Behaviour(reply=clever(body).reply, delay_s=delay_s)

    with run_fake_expert(slow) as fake:
        words = [*arguments(tmp_path, demos, fake.endpoint), "--concurrency", "4"]
        begun = subprocess.Popen(
            [sys.executable, "-m", "app.cli", *words],
            cwd=PROJECT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            # A test run in a shell's background inherits that Ctrl-C is ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        while fake.log.finished < 60:
            assert begun.poll() is None, begun.communicate()
            time.sleep(0.01)
        begun.send_signal(signal.SIGINT)
        _, err = begun.communicate(timeout=60)
        assert begun.returncode == 130
        assert "same command" in err
        assert nothing_was_written(tmp_path)
        delay_s = 0.0
        code, _, err = run(words, monkeypatch)
    assert code == 0, err
    bill = load_mixture(tmp_path / "capitals").manifest["bill"]
    assert bill["cached"] >= 56  # at most four were in flight
