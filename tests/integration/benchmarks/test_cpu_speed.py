import os

import pytest

from benchmarks.cpu_speed import STREAMS, VARIANTS, Measured, ask, peak_memory, table
from experts.client import ExpertClient
from experts.expert import LocalServer
from experts.fake import Behaviour, run_fake_expert
from experts.local.speed import Speed
from tests.integration.experts.conftest import make_expert


@pytest.mark.parametrize("name", VARIANTS)
def test_each_variant_is_a_server_of_the_registry(name: str) -> None:
    block = {"source": "a/b", "port": 8101, "max_model_len": 2048}
    assert LocalServer.model_validate({**block, **VARIANTS[name].local})


async def test_a_server_is_measured_by_the_number_of_answers_and_under_a_system_prompt() -> None:
    with run_fake_expert(Behaviour(reply="some words to count", token_delay_s=0.001)) as fake:
        expert = make_expert(fake.endpoint, context_length=4096)
        async with ExpertClient() as client:
            speeds, cold_s, warm_s = await ask(client, expert, seconds=30)
        # A warm-up, the speeds and two system prompts, each alone and then at once.
        assert fake.log.started == (1 + 1) + sum(1 + streams for streams in STREAMS) + 2 * (1 + 1)
    assert set(speeds) == set(STREAMS)
    assert all(speed.together_per_s for speed in speeds.values())
    assert cold_s is not None and warm_s is not None


def test_memory_is_that_of_a_process_and_those_below_it() -> None:
    own = peak_memory(os.getpid())
    assert own is not None and own > 2**20
    assert peak_memory(2**22 + 1) is None


def test_what_is_not_known_is_no_figure() -> None:
    speeds = {streams: Speed(None, None, 40.0, streams) for streams in STREAMS}
    last = table({"bfloat16": Measured("", speeds, None, 1.0, 9_000_000_000)}).splitlines()[-1]
    assert last == "| bfloat16 | unknown | 40 | 40 | unknown | 1 | 9 |"
