"""What of this machine decides how a model is computed without a GPU: the processor's features and the memory
that is free."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Machine:
    """`features`: the flags of an x86 processor as Linux names them (`avx2`, `avx512_bf16`); `available`:
    bytes of memory that can be taken without swapping. None: not known."""

    features: frozenset[str] | None = None
    available: int | None = None


def read_machine(root: Path = Path("/")) -> Machine:
    """This machine, from `/proc` and, in a container, the limit of its control group (version 2). Nothing is
    known of systems other than Linux, and no features of processors other than x86."""
    return Machine(_features(root / "proc/cpuinfo"), _available(root))


def _features(cpuinfo: Path) -> frozenset[str] | None:
    for line in _lines(cpuinfo):
        name, _, value = line.partition(":")
        if name.strip() == "flags":
            return frozenset(value.split())
    return None


def _available(root: Path) -> int | None:
    free = [
        1024 * int(line.split()[1])
        for line in _lines(root / "proc/meminfo")
        if line.startswith("MemAvailable:")
    ]
    group = root / "sys/fs/cgroup"
    limit, used = _lines(group / "memory.max"), _lines(group / "memory.current")
    if limit and used and limit[0].isdigit():
        # Cached files count as used, and are given up when memory is asked for.
        stat = dict(line.split() for line in _lines(group / "memory.stat"))
        free.append(max(0, int(limit[0]) - int(used[0]) + int(stat.get("file", 0))))
    return min(free, default=None)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
