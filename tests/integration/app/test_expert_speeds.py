import re

from app.operations.expert_speeds import TYPICAL_TOKENS, speed_line, tell_speeds
from experts.fake import Behaviour, run_fake_expert
from experts.local.speed import Speed
from tests.integration.experts.conftest import make_expert


async def test_each_expert_has_a_line_and_one_that_fails_does_not_stop_the_rest() -> None:
    said: list[tuple[str, str]] = []
    with run_fake_expert(Behaviour(reply=" ".join(["word"] * 30), token_delay_s=0.001)) as fake:
        gone = make_expert("http://127.0.0.1:9/v1", name="gone")
        there = make_expert(fake.endpoint, name="there", max_in_flight=2)
        await tell_speeds([gone, there], lambda part, line: said.append((part, line)), seconds=30)
    (_, failed), (_, measured) = said
    assert failed.startswith("gone: speed not measured: ")
    assert re.fullmatch(
        r"there: \S+ tokens/s alone, \S+ tokens/s with 2 at once; .* tokens alone: about \S+ s", measured
    )


def test_what_is_not_known_is_said_so() -> None:
    line = speed_line(Speed(None, None, None, 8))
    assert "unknown tokens/s alone" in line
    assert line.endswith(f"{TYPICAL_TOKENS} tokens alone: not known")
