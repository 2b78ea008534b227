"""The speed of a model on a machine without a GPU, by how it is served: `python -m benchmarks.cpu_speed`.

Starts a vLLM server for each variant, one after the other, on a machine that should have nothing else to do,
and measures as `coterie up` does. Prints a table; `--page FILE` puts it into a page.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from base.terminal import console
from benchmarks.measured_pages import fill_page
from experts.client import ExpertClient
from experts.expert import Expert
from experts.local.speed import Speed, measure_speed
from experts.local.supervisor import Supervisor
from experts.local.vllm import prepare_servers
from experts.registry import Registry

MARKERS = "<!-- measured: cpu speed -->", "<!-- end -->"
MODEL = "qwen2.5-coder-1.5b-instruct"
STREAMS = (8, 32)
SECONDS = 15.0
"""Of each measurement."""
SYSTEM = "You help people to plan journeys. " + "Say what each step costs, how long it takes and why. " * 40
"""A system prompt of some 500 tokens, for what prefix caching saves."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A way to serve the model: fields of the registry's `local`, and variables over the server's own."""

    local: Mapping[str, Any]
    environment: Mapping[str, str] = field(default_factory=dict)


VARIANTS: Mapping[str, Variant] = {
    "bfloat16": Variant({"dtype": "bfloat16"}),
    "float32": Variant({"dtype": "float32"}),
    "int8 weights": Variant({"dtype": "bfloat16", "weights": "int8"}),
    "bfloat16, a thread for each core, not bound": Variant({"dtype": "bfloat16", "threads": 2}),
    "bfloat16, one core reserved": Variant({"dtype": "bfloat16"}, {"VLLM_CPU_NUM_OF_RESERVED_CPU": "1"}),
    "bfloat16, no prefix caching": Variant({"dtype": "bfloat16", "args": ["--no-enable-prefix-caching"]}),
}


@dataclass(frozen=True, slots=True)
class Measured:
    """A variant's figures. `speeds`: by the number of answers at once; `cold_s`, `warm_s`: seconds to the
    first token under a long system prompt that the server has never read, and that it has just read;
    `memory`: peak bytes of its processes, shared pages counted for each. None: not known."""

    about: str
    speeds: Mapping[int, Speed]
    cold_s: float | None
    warm_s: float | None
    memory: int | None


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cpu_speed", description=__doc__)
    parser.add_argument("--model", default=MODEL, help="a shipped model, a folder or a hub repository")
    parser.add_argument("--variant", action="append", choices=VARIANTS, help="one of them; may be repeated")
    parser.add_argument("--page", type=Path, metavar="FILE", help="a page with a place for the table")
    given = parser.parse_args(arguments)
    measured = {}
    with tempfile.TemporaryDirectory() as logs:
        for name in given.variant or VARIANTS:
            measured[name] = asyncio.run(measure(given.model, VARIANTS[name], Path(logs)))
            sys.stderr.write(f"{name}: {measured[name].about}\n")
    text = table(measured)
    console(stderr=False).print(text, markup=False, soft_wrap=True)
    if given.page is not None:
        fill_page(given.page, *MARKERS, text)
    return 0


async def measure(model: str, variant: Variant, logs: Path, port: int = 8199) -> Measured:
    """Start a server of `model` on `port` and measure it. Raises LocalError, ExpertError."""
    local = {"source": model, "port": port, "max_model_len": 4096, **variant.local}
    expert = Expert.model_validate(
        {"name": "measured", "model": "m", "params_b": 1, "context_length": 4096, "local": local}
    )
    (server,) = prepare_servers(Registry.of(expert))
    server = replace(server, environment={**server.environment, **variant.environment})
    async with Supervisor([server], logs=logs) as supervisor, ExpertClient() as client:
        speeds, cold_s, warm_s = await ask(client, expert)
        pid = supervisor.statuses[server.name].pid
        return Measured(server.about, speeds, cold_s, warm_s, None if pid is None else peak_memory(pid))


async def ask(
    client: ExpertClient, expert: Expert, *, seconds: float = SECONDS
) -> tuple[dict[int, Speed], float | None, float | None]:
    """The speeds of `expert`, and its seconds to the first token under a system prompt, new and known."""
    # The first answer of a server is slower than the rest.
    await measure_speed(client, expert, streams=1, seconds=seconds)
    speeds = {
        streams: await measure_speed(client, expert, streams=streams, seconds=seconds) for streams in STREAMS
    }
    first_s = [
        (await measure_speed(client, expert, streams=1, seconds=seconds, system=SYSTEM + end)).first_token_s
        for end in ("Be brief.", "Be exact.")
    ]
    return speeds, first_s[0], first_s[1]


def peak_memory(pid: int) -> int | None:
    """Peak resident bytes of the process and all below it, summed, from /proc; None where there is none."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines()
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    except OSError:
        return None
    own = sum(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    return own + sum(peak_memory(int(child)) or 0 for child in below)


def table(measured: Mapping[str, Measured]) -> str:
    """Markdown."""
    heads = ["served with", "alone, tokens/s", *(f"{streams} at once" for streams in STREAMS)]
    heads += ["first token, new prompt, s", "known prompt, s", "memory, GB"]
    lines = [f"| {' | '.join(heads)} |", "|---|" + "---:|" * (len(heads) - 1)]
    for name, each in measured.items():
        alone = each.speeds[STREAMS[0]].tokens_per_s
        figures = [alone, *(each.speeds[streams].together_per_s for streams in STREAMS)]
        figures += [each.cold_s, each.warm_s, None if each.memory is None else each.memory / 1e9]
        lines.append(f"| {' | '.join([name, *map(_figure, figures)])} |")
    return "\n".join(lines)


def _figure(value: float | None) -> str:
    return "unknown" if value is None else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
