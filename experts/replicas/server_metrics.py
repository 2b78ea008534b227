"""What a vLLM server says of its load at `/metrics`, in Prometheus' text format."""

import re
from dataclasses import dataclass

_LINE = re.compile(
    r"^vllm:(num_requests_running|num_requests_waiting|kv_cache_usage_perc|gpu_cache_usage_perc|cache_config_info"
    r"|lora_requests_info)(?:\{(.*)\})? +(\S+)",
    re.MULTILINE,
)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True, slots=True)
class ServerLoad:
    """`running` and `waiting`: requests; `kv_usage`: share (0..1) of the KV cache that running requests hold,
    0 where it is not told; `kv_tokens`: tokens that the cache holds, None where it is not told; `adapters`:
    those in use, None where the server has none."""

    running: float = 0.0
    waiting: float = 0.0
    kv_usage: float = 0.0
    kv_tokens: int | None = None
    adapters: frozenset[str] | None = None


def read_metrics(text: str) -> ServerLoad | None:
    """The load in the text of `/metrics`, engines of one server added up; None where it says nothing of
    it."""
    counts = {"running": 0.0, "waiting": 0.0}
    usages: list[float] = []
    tokens, told, adapters = 0, False, None
    latest = -1.0
    for name, labels, value in _LINE.findall(text):
        try:
            number = float(value)
        except ValueError:
            continue
        told = True
        if name in {"num_requests_running", "num_requests_waiting"}:
            counts[name.removeprefix("num_requests_")] += number
        elif name in {"kv_cache_usage_perc", "gpu_cache_usage_perc"}:
            usages.append(number)
        elif name == "cache_config_info":
            tokens += _cache_tokens(dict(_LABEL.findall(labels)))
        elif number > latest:
            # One line for each state since the start; its value is the time of it.
            latest, said = number, dict(_LABEL.findall(labels))
            names = f"{said.get('running_lora_adapters', '')},{said.get('waiting_lora_adapters', '')}"
            adapters = frozenset(each.strip() for each in names.split(",") if each.strip())
    if not told:
        return None
    usage = min(1.0, max(0.0, max(usages, default=0.0)))
    return ServerLoad(counts["running"], counts["waiting"], usage, tokens or None, adapters)


def _cache_tokens(labels: dict[str, str]) -> int:
    blocks = labels.get("num_gpu_blocks", "")
    size = labels.get("block_size", "")
    return int(blocks) * int(size) if blocks.isdigit() and size.isdigit() else 0
