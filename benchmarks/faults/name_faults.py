"""Faults of DNS: nobody answers for a replica's name, or the name is gone.

The service gets files of its own in the place of /etc/hosts and /etc/resolv.conf, which needs root (Linux).
"""

import asyncio
import os
import socket
import threading
import time
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import contextmanager

from benchmarks.faults.callers import IN_FLIGHT, Callers, Seen, calling
from benchmarks.faults.outcomes import Outcome, lost, next_s, told
from benchmarks.faults.processes import Processes, composed

SILENT, GONE = "no answer from DNS for a replica's name", "a replica's name gone from DNS"
CASES = (SILENT, GONE)
RESOLVER = "127.0.0.77"
LOCALHOST = "127.0.0.1 localhost\n"
NAME_CACHE_S = 10.0
"""How long aiohttp keeps the address of a name."""


async def played(processes: Processes, wanted: Collection[str]) -> AsyncIterator[Outcome]:
    """Play the `wanted` of CASES. Raises PermissionError without root."""
    if os.geteuid() != 0:
        raise PermissionError("names are taken away as root alone")
    hosts, resolver = processes.folder / "hosts", processes.folder / "resolv.conf"
    hosts.write_text(f"{LOCALHOST}127.0.0.1 gone.test\n")
    resolver.write_text(f"nameserver {RESOLVER}\n")
    mounts = f"mount --bind {hosts} /etc/hosts && mount --bind {resolver} /etc/resolv.conf"
    before = ["unshare", "--mount", "sh", "-c", f'{mounts} && exec "$@"', "sh"]
    other = processes.fake("other-name")
    good = [processes.fake(f"good-name-{number}") for number in range(2)]
    processes.ready(other, *good)
    first, second, *_ = (each.name for each in composed())
    experts = {
        first: [other.at("silent.test"), good[0].endpoint],
        second: [other.at("gone.test"), good[1].endpoint],
    }
    with _resolver():
        settings = {"COTERIE_DATA": str(processes.folder / "names")}
        service = processes.service(experts, other.endpoint, settings, before=before)
        async with calling(service.url) as callers:
            if SILENT in wanted:
                # At once: its first check of health is under way still.
                yield await _asked(SILENT, first, callers, [])
            if GONE in wanted:
                before_it = await callers.burst(second)
                if not any(each.server == other.name for each in before_it):
                    raise SystemExit(f"{GONE}: nobody was asked by the name")
                hosts.write_text(LOCALHOST)
                seen: list[Seen] = []
                until = time.perf_counter() + NAME_CACHE_S
                while time.perf_counter() < until:
                    seen += await callers.burst(second)
                    await asyncio.sleep(1)
                yield await _asked(GONE, second, callers, seen)


async def _asked(name: str, expert: str, callers: Callers, before: list[Seen]) -> Outcome:
    at = time.perf_counter()
    seen = [*before, *await callers.burst(expert), *await callers.burst(expert)]
    missing = await callers.missing(seen)
    return Outcome(name, told(seen), next_s(seen, at, IN_FLIGHT), lost(seen), missing)


@contextmanager
def _resolver() -> Iterator[None]:
    """A server that says of `gone.test` that there is no such name, and nothing of others."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as bound:
        bound.bind((RESOLVER, 53))

        def serve() -> None:
            while True:
                try:
                    query, sender = bound.recvfrom(512)
                except OSError:
                    return
                if b"\x04gone" in query:
                    # The question once more, as a response with NXDOMAIN.
                    bound.sendto(query[:2] + b"\x81\x83" + query[4:], sender)

        threading.Thread(target=serve, daemon=True).start()
        yield
