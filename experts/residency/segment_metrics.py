"""Local consistency of a stream of decisions: how well few experts serve a stretch of it, whatever the
policy.

After Liang et al., "Not All Models Suit Expert Offloading" (arXiv 2505.16056, version 3), whose tokens and
experts of a layer are requests and servers here, one server a request.
"""

from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class SegmentMetrics:
    """Of stretches of `length` requests. `srp`: Segment Routing Best Performance, F1 of the best fixed group
    for each stretch; `group`: how many servers that group has on average; `coverage`: the share of a
    stretch's requests that the best group within the memory serves; `sch`: Segment Cache Best Hit Rate, of a
    cache within the memory that knows the next `length` requests."""

    length: int
    srp: float
    group: float
    coverage: float
    sch: float

    def document(self) -> dict[str, float]:
        return {
            "length": self.length,
            "srp": round(self.srp, 4),
            "group": round(self.group, 3),
            "coverage": round(self.coverage, 4),
            "sch": round(self.sch, 4),
        }


def segment_metrics(
    stream: Sequence[str], sizes: Mapping[str, float], memory_gb: float, length: int
) -> SegmentMetrics:
    """The metrics of `stream` (servers by request) for servers of `sizes` (GB). Raises ValueError when the
    stream is shorter than `length`."""
    if len(stream) < length:
        raise ValueError(f"the stream has {len(stream)} requests, fewer than a segment's {length}")
    counts = _window_counts(stream, sorted(sizes), length)
    srp, group = best_group(counts, length)
    return SegmentMetrics(
        length,
        srp,
        group,
        coverage(counts, np.asarray([sizes[name] for name in sorted(sizes)]), memory_gb, length),
        cache_hit_rate(stream, sizes, memory_gb, length),
    )


def best_group(counts: "np.ndarray[tuple[int, int], np.dtype[np.int64]]", length: int) -> tuple[float, float]:
    """SRP and the mean size of its groups, from how often each stretch (rows) asks for each server (columns).
    A stretch's group is whom it asks for at least p times; p, one for all stretches, has the best F1 of what
    the groups would serve (`length` requests each member) and what is asked for."""
    asked = int(counts.sum())
    best, size = 0.0, 0.0
    for least in range(1, length + 1):
        chosen = counts >= least
        predicted = int(chosen.sum()) * length
        f1 = 2.0 * int(counts[chosen].sum()) / (predicted + asked)
        if f1 > best:
            best, size = f1, int(chosen.sum()) / len(counts)
    return best, size


def coverage(
    counts: "np.ndarray[tuple[int, int], np.dtype[np.int64]]",
    sizes: "np.ndarray[tuple[int], np.dtype[np.float64]]",
    memory_gb: float,
    length: int,
) -> float:
    """The mean share of a stretch's requests that a fixed group within the memory serves, chosen for each
    stretch by requests per GB and, where it serves more, by requests."""
    served = np.zeros(len(counts))
    for key in (counts / sizes, counts.astype(float)):
        order = np.argsort(-key, axis=1, kind="stable")
        left, by_order = np.full(len(counts), memory_gb), np.zeros(len(counts))
        for rank in range(counts.shape[1]):
            column = order[:, rank]
            fits = sizes[column] <= left + 1e-9
            left = left - np.where(fits, sizes[column], 0.0)
            by_order += np.where(fits, counts[np.arange(len(counts)), column], 0)
        served = np.maximum(served, by_order)
    return float(served.mean() / length)


def cache_hit_rate(stream: Sequence[str], sizes: Mapping[str, float], memory_gb: float, ahead: int) -> float:
    """Hit rate of a cache, empty at first, that gives up whom the next `ahead` requests ask for least; of
    equals, whom nobody asked for longest."""
    coming = Counter(stream[:ahead])
    window = deque(stream[:ahead])
    last: dict[str, int] = {}
    cached: set[str] = set()
    hits, used = 0, 0.0
    for place, server in enumerate(stream):
        # The window holds what comes after this request.
        coming[window.popleft()] -= 1
        if place + ahead < len(stream):
            window.append(stream[place + ahead])
            coming[stream[place + ahead]] += 1
        if server in cached:
            hits += 1
        else:
            while used + sizes[server] > memory_gb + 1e-9:
                out = min(cached, key=lambda name: (coming[name], last[name]))
                cached.remove(out)
                used -= sizes[out]
            cached.add(server)
            used += sizes[server]
        last[server] = place
    return hits / len(stream)


def _window_counts(
    stream: Sequence[str], names: Sequence[str], length: int
) -> "np.ndarray[tuple[int, int], np.dtype[np.int64]]":
    """How often each stretch of `length` requests in a row (rows; they overlap) asks for each server."""
    index = {name: place for place, name in enumerate(names)}
    one_hot = np.zeros((len(stream) + 1, len(names)), dtype=np.int64)
    one_hot[np.arange(1, len(stream) + 1), [index[name] for name in stream]] = 1
    total = one_hot.cumsum(axis=0)
    return np.asarray(total[length:] - total[:-length])
