"""Which replica a request goes to: a pure function of what is known of the replicas.

The cost of a replica is the work until the request's first token there, in blocks of prompt to be read
(`experts.replicas.prompt_blocks`):

    cost = unread + READING·reading + ANSWERING·answering + others·mean + EVICTION·evicted + lacking + adapter

- `unread`: the request's blocks that the replica has not read (its prefix cache holds the others);
- `reading`: blocks of our requests there whose first token has not come; on average half of one is done;
- `answering`: our requests there that are being answered, each of which slows down the others;
- `others`: requests that the server reports, and that are not ours, each as long as our mean request;
- `evicted`: blocks that leave the replica's full cache for this request, and may be wanted again;
- `lacking`: blocks that do not fit beside the requests that are running, by its reported KV-cache use;
- `adapter`: ADAPTER where another replica has the model's adapter loaded and this one has not.

The lowest cost wins. Among costs within TIE of it, rendezvous hashing (Thaler and Ravishankar, 1998) of the
session decides: the same session goes to the same replica, in every process, and when a replica joins or
leaves only its own sessions move.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Words = npt.NDArray[np.uint64]

READING = 0.5
ANSWERING = 2.0
EVICTION = 0.5
ADAPTER = 16.0
TIE = 1.0
"""A difference of less than a block is none."""

_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB))
_SHIFTS = (np.uint64(30), np.uint64(27), np.uint64(31))


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of the replicas now: arrays of shape (replicas,), blocks and requests as above. `usage`
    is the share (0..1) of the KV cache that running requests hold; `mean` the blocks of our mean request."""

    reading: Floats
    answering: Floats
    others: Floats
    stored: Floats
    capacity: Floats
    usage: Floats
    adapter_missing: Bools
    mean: float = 4.0


def costs(blocks: int, matched: Floats, standing: Standing) -> Floats:
    """The cost of each replica for a request of `blocks`, of which it has read `matched`."""
    unread = blocks - matched
    evicted = np.minimum(np.maximum(standing.stored + unread - standing.capacity, 0.0), unread)
    lacking = np.maximum(unread - (1.0 - standing.usage) * standing.capacity, 0.0)
    return np.asarray(
        unread
        + READING * standing.reading
        + ANSWERING * standing.answering
        + standing.mean * standing.others
        + EVICTION * evicted
        + lacking
        + ADAPTER * standing.adapter_missing
    )


def choose(cost: Floats, usable: Bools, session: int, seeds: Words) -> int | None:
    """The number of the replica; None where none is usable. `session` and `seeds` (`replica_seeds`) are 64
    bits."""
    priced = np.where(usable, cost, np.inf)
    lowest = priced.min()
    if not np.isfinite(lowest):
        return None
    tied = np.flatnonzero(priced < lowest + TIE)
    if len(tied) == 1:
        return int(tied[0])
    return int(tied[np.argmax(_mixed(seeds[tied] ^ np.uint64(session)))])


def replica_seeds(endpoints: Sequence[str]) -> Words:
    """A hash of each endpoint: it follows the server, not its place in the list."""
    return np.array([session_hash(each) for each in endpoints], np.uint64)


def session_hash(name: str) -> int:
    """64 bits that are the same in every process."""
    return int.from_bytes(
        hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big"
    )


def _mixed(words: Words) -> Words:
    """SplitMix64's finalizer: every bit of the input changes about half of the output's."""
    words = (words ^ (words >> _SHIFTS[0])) * _MIX[0]
    words = (words ^ (words >> _SHIFTS[1])) * _MIX[1]
    return np.asarray(words ^ (words >> _SHIFTS[2]))
