"""What a model server's steps and the service's requests cost: published figures, our own, and a roofline
between.

A decoding step reads every weight that its batch touches and the batch's KV cache once; a prompt is bound
by arithmetic. Knows nothing of traffic or time.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from app.settings import PROJECT
from experts.registry import load_registry

PAGE = PROJECT / "docs" / "performance.md"
CHUNKS = 20
"""Of the streams in that page's table."""


class CostsMissing(Exception):
    """A page has no figure where one is expected; the message names it."""


@dataclass(frozen=True, slots=True)
class Accelerator:
    """One GPU. Peaks are the vendor's; `bandwidth_share` and `arithmetic_share` of them are what is
    reached."""

    memory_gb: float = 80.0
    bandwidth_tb_s: float = 3.35
    tflop_s: float = 989.0
    bandwidth_share: float = 0.75
    arithmetic_share: float = 0.40
    memory_share: float = 0.90


H100 = Accelerator()
"""H100 SXM. Bandwidth: one stream of an 8 B model in 16 bits takes 6.48 ms a token on it (InferenceBench,
yobitelcomm.github.io/bench/recipes/concurrency-sweep), which is 74 %. Arithmetic: Llama 3 was trained at 38
to 43 % (arXiv 2407.21783)."""

TENSOR_PARALLEL = {1: 1.0, 2: 0.9, 4: 0.8}
"""Share of the GPUs' sum that tensor parallelism leaves (assumed)."""


@dataclass(frozen=True, slots=True)
class Served:
    """A model on one replica of `gpus` GPUs."""

    name: str
    params_b: float
    active_params_b: float
    weight_bytes: float
    """Per parameter."""
    kv_bytes: float
    """Per token, in 16 bits."""
    gpus: int
    accelerator: Accelerator = H100

    @property
    def _bytes_s(self) -> float:
        gpu = self.accelerator
        return gpu.bandwidth_tb_s * 1e12 * gpu.bandwidth_share * self.gpus * TENSOR_PARALLEL[self.gpus]

    @property
    def _flop_s(self) -> float:
        gpu = self.accelerator
        return gpu.tflop_s * 1e12 * gpu.arithmetic_share * self.gpus * TENSOR_PARALLEL[self.gpus]

    @property
    def prompt_tokens_s(self) -> float:
        """Prompt tokens a second: two operations a token and active parameter."""
        return self._flop_s / (2e9 * self.active_params_b)

    @property
    def cache_tokens(self) -> int:
        """Tokens of KV cache beside the weights."""
        room = self.accelerator.memory_gb * self.accelerator.memory_share * self.gpus
        return int((room - self.weights_gb) * 1e9 / self.kv_bytes)

    @property
    def weights_gb(self) -> float:
        return self.params_b * self.weight_bytes

    def step_s(self, batch: int, context: float) -> float:
        """Seconds of a step that gives each of `batch` answers a token; `context`: tokens of all together.

        A mixture of experts reads the share of its weights that `batch` tokens touch, if each token chooses
        at random.
        """
        share = 1 - (1 - self.active_params_b / self.params_b) ** batch
        read = (self.weights_gb * 1e9 * share + context * self.kv_bytes) / self._bytes_s
        return max(read, 2e9 * self.active_params_b * batch / self._flop_s)


def pool() -> dict[str, Served]:
    """The models of experts/gpu.yaml. Sizes are the registry's; bytes a parameter follow from their
    formats, bytes of KV cache from layers, heads and widths (`large` and `small`: assumed); GPUs are those
    of docker-compose.yml."""
    experts = load_registry(PROJECT / "experts" / "gpu.yaml").experts
    shapes = {
        "small": (2.0, 147e3, 1),
        "coder": (1.0, 98e3, 1),
        "reasoner": (0.55, 74e3, 2),
        "large": (1.0, 49e3, 4),
    }
    found = {}
    for name, (weight_bytes, kv_bytes, gpus) in shapes.items():
        expert = experts[name]
        found[name] = Served(
            name, expert.params_b, expert.active_params_b or expert.params_b, weight_bytes, kv_bytes, gpus
        )
    return found


@dataclass(frozen=True, slots=True)
class RouterCosts:
    """Seconds of one core: a request, without its chunks, and each chunk of a stream."""

    request_s: float
    chunk_s: float

    def answer_s(self, chunks: float) -> float:
        return self.request_s + chunks * self.chunk_s


def router_costs(row: str, page: Path = PAGE) -> RouterCosts:
    """Ours, from the table that benchmarks/front_end.py writes. Raises CostsMissing."""
    number = r"\| *([\d.]+) *"
    found = re.search(rf"^\| *{re.escape(row)} *{number}{number}\|", page.read_text("utf-8"), re.MULTILINE)
    if found is None:
        raise CostsMissing(f"{page}: has no row {row!r} with milliseconds of a request and of a stream")
    request, stream = (float(each) / 1000 for each in found.groups())
    return RouterCosts(request, max(0.0, stream - request) / CHUNKS)
