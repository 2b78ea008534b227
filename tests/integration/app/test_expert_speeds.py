import re
from dataclasses import replace
from pathlib import Path

import numpy as np

from app.operations.expert_speeds import (
    TYPICAL_TOKENS,
    MeasuredServer,
    answer_tokens,
    speed_line,
    tell_speeds,
)
from experts.fake import Behaviour, run_fake_expert
from experts.local.speed import Speed
from routers.composition import load_composition, save_composition
from routers.request_costs import ExpectedTokens
from tests.integration.app.world import small_composition
from tests.integration.experts.conftest import make_expert

TENTH = Speed(1.0, 10.0, 40.0, streams=8)


async def test_each_server_has_a_line_and_one_that_fails_does_not_stop_the_rest() -> None:
    said: list[str] = []
    with run_fake_expert(Behaviour(reply=" ".join(["word"] * 30), token_delay_s=0.001)) as fake:
        gone = MeasuredServer(make_expert("http://127.0.0.1:9/v1", name="gone"), ["gone"])
        there = MeasuredServer(make_expert(fake.endpoint, name="there", max_in_flight=2), ["there", "arm"])
        tokens = {"arm": 300.0, "elsewhere": 10.0}
        await tell_speeds([gone, there], tokens, lambda _, line: said.append(line), seconds=30)
    failed, measured = said
    assert failed.startswith("gone: speed not measured: ")
    assert re.match(r"there: \S+ tokens/s alone, \S+ tokens/s with 2 at once; ", measured)
    assert "of arm (300 tokens)" in measured
    assert "elsewhere" not in measured


def test_an_answer_takes_what_the_composition_expects_of_each_arm() -> None:
    line = speed_line(TENTH, {"coder": 90.0, "worked": 190.0})
    assert "an answer of coder (90 tokens) takes about 10 s" in line
    assert "an answer of worked (190 tokens) takes about 20 s" in line


def test_without_expectations_an_answer_is_a_typical_one() -> None:
    assert speed_line(TENTH, {}).endswith(f"an answer ({TYPICAL_TOKENS} tokens) takes about 16 s")


def test_what_is_not_known_is_said_so() -> None:
    line = speed_line(Speed(None, None, None, 8), {})
    assert line.startswith("unknown tokens/s alone, unknown tokens/s with 8")
    assert line.endswith("takes an unknown time")


def test_the_compositions_tokens_are_those_of_its_mix_of_categories(tmp_path: Path) -> None:
    small_composition(tmp_path)
    assert answer_tokens(tmp_path) == {}
    composition = load_composition(tmp_path)
    shape = (len(composition.categories), len(composition.experts))
    written = np.full(shape, 50, dtype=np.float32)
    written[0, 0] = 200
    written[:, -1] = np.nan
    shares = np.zeros(shape[0], dtype=np.float32)
    shares[:2] = 0.75, 0.25
    tokens = ExpectedTokens(np.full_like(written, 10), written, shares)
    save_composition(replace(composition, tokens=tokens), tmp_path)
    first, *middle, _ = composition.expert_names
    assert answer_tokens(tmp_path) == {first: 162.5, **dict.fromkeys(middle, 50.0)}


def test_a_composition_that_cannot_be_read_expects_nothing(tmp_path: Path) -> None:
    assert answer_tokens(tmp_path / "none") == {}
