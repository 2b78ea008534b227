"""What the experts of this machine do a second, and what their answers take, told at the end of a start."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from app.operations.process_group import Say
from experts.client import ExpertClient
from experts.errors import ExpertError
from experts.expert import Expert
from experts.local.speed import PROBE_S, Speed, measure_speed
from routers.composition import CompositionError, load_composition
from routers.request_costs import mean_uses

TYPICAL_TOKENS = 150
"""Of an answer, where the composition expects nothing."""


@dataclass(frozen=True, slots=True)
class MeasuredServer:
    """`expert` is asked; `names` are all experts that its server answers for."""

    expert: Expert
    names: Sequence[str]


async def tell_speeds(
    servers: Sequence[MeasuredServer], tokens: Mapping[str, float], say: Say, *, seconds: float = PROBE_S
) -> None:
    """Measure `servers` one after the other, each within twice `seconds`, and `say` a line for
    each. `tokens`: of an expected answer, by expert."""
    async with ExpertClient() as client:
        for server in servers:
            name = server.expert.name
            try:
                speed = await measure_speed(client, server.expert, seconds=seconds)
            except ExpertError as error:
                say("experts", f"{name}: speed not measured: {error}")
            else:
                expected = {each: tokens[each] for each in server.names if each in tokens}
                say("experts", f"{name}: {speed_line(speed, expected)}")


def answer_tokens(composition: Path) -> Mapping[str, float]:
    """Tokens that an answer of each expert is expected to have, by the composition in that folder. Empty
    where it has none or cannot be read: the service, which reads it too, says why."""
    try:
        read = load_composition(composition)
    except CompositionError:
        return {}
    if read.tokens is None:
        return {}
    uses = mean_uses(read.tokens, read.experts, None)
    written = {card.name: each.tokens_out for card, each in zip(read.experts, uses, strict=True)}
    return {name: tokens for name, tokens in written.items() if tokens is not None}


def speed_line(speed: Speed, tokens: Mapping[str, float]) -> str:
    """`speed` in words, with what answers of expected `tokens` take alone, by expert."""
    answers = [_answer(speed, count, f" of {name}") for name, count in tokens.items()]
    takes = "; ".join(answers or [_answer(speed, TYPICAL_TOKENS, "")])
    together = f"{_rate(speed.together_per_s)} with {speed.streams} at once"
    return f"{_rate(speed.tokens_per_s)} alone, {together}; {takes}"


def _answer(speed: Speed, tokens: float, whose: str) -> str:
    answer_s = speed.answer_s(tokens)
    takes = "an unknown time" if answer_s is None else f"about {answer_s:.2g} s"
    return f"an answer{whose} ({tokens:.0f} tokens) takes {takes}"


def _rate(tokens_per_s: float | None) -> str:
    return "unknown tokens/s" if tokens_per_s is None else f"{tokens_per_s:.3g} tokens/s"
