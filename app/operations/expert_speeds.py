"""What the experts of this machine do a second, told at the end of a start."""

from collections.abc import Sequence

from app.operations.process_group import Say
from experts.client import ExpertClient
from experts.errors import ExpertError
from experts.expert import Expert
from experts.local.speed import PROBE_S, Speed, measure_speed

TYPICAL_TOKENS = 150
"""Of an answer."""


async def tell_speeds(experts: Sequence[Expert], say: Say, *, seconds: float = PROBE_S) -> None:
    """Measure `experts` one after the other, each within twice `seconds`, and `say` a line for each."""
    async with ExpertClient() as client:
        for expert in experts:
            try:
                speed = await measure_speed(client, expert, seconds=seconds)
            except ExpertError as error:
                say("experts", f"{expert.name}: speed not measured: {error}")
            else:
                say("experts", f"{expert.name}: {speed_line(speed)}")


def speed_line(speed: Speed) -> str:
    """`speed` in words."""
    answer_s = speed.answer_s(TYPICAL_TOKENS)
    takes = "not known" if answer_s is None else f"about {answer_s:.2g} s"
    return (
        f"{_rate(speed.tokens_per_s)} alone, {_rate(speed.together_per_s)} with {speed.streams} at once; "
        f"an answer of {TYPICAL_TOKENS} tokens alone: {takes}"
    )


def _rate(tokens_per_s: float | None) -> str:
    return "unknown tokens/s" if tokens_per_s is None else f"{tokens_per_s:.3g} tokens/s"
