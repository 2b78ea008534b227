"""Outlier ejection: replicas that fail or are slow where the others are not get no requests for a while.
Pure.

After Envoy's outlier detection, on rates that decay with each request instead of fixed windows.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

SAMPLES = 10.0
"""Requests that a replica must have answered lately before it is judged."""
FAILING = 0.2
"""A failure rate this much above the median of the others is an outlier's."""
SLOW = 5.0
"""So is a time to the first token of this many times their median."""


def outliers(
    failures: Floats, seconds: Floats, samples: Floats, out: Sequence[int] = (), most: float = 0.5
) -> list[int]:
    """The replicas to eject, the worst first. `failures`: rates 0..1; `seconds`: to the first token, NaN
    unknown; `samples`: requests behind both; shape (replicas,). `out` are ejected already: with them no more
    than the share `most` of all are."""
    room = int(len(samples) * most) - len(out)
    known = np.flatnonzero(samples >= SAMPLES)
    known = known[~np.isin(known, out)]
    found: list[tuple[float, int]] = []
    for each in known:
        others = known[known != each]
        if not len(others):
            break
        worse = float(failures[each] - np.median(failures[others]))
        typical = float(np.nanmedian(seconds[others])) if not np.isnan(seconds[others]).all() else np.nan
        ratio = float(seconds[each] / typical) if typical > 0 else 0.0
        if worse >= FAILING or ratio >= SLOW:
            found.append((max(worse / FAILING, ratio / SLOW), int(each)))
    found.sort(reverse=True)
    return [each for _, each in found[: max(0, room)]]
