"""A fake expert: a server that speaks every dialect, streams, calls tools, and plays every fault that real
servers have, for tests and docs.

Its `Behaviour` is fixed or a function of the request's body, and a body field `fake` overrides single fields
(`{"fake": {"stall_after": 2}}`; Coterie's API passes it on). `app.state.log` counts and keeps the requests.
`python -m experts.fake --help` lists the faults.
"""

from experts.fake.behaviour import Behaviour, Chooser, Died, Log, scripted
from experts.fake.fake_server import create_fake_expert
from experts.fake.faults import FAULTS
from experts.fake.serving import RunningFake, run_fake_expert, serve_in_thread
from experts.fake.sleep_mode import FakeSleep

__all__ = [
    "FAULTS",
    "Behaviour",
    "Chooser",
    "Died",
    "FakeSleep",
    "Log",
    "RunningFake",
    "create_fake_expert",
    "run_fake_expert",
    "scripted",
    "serve_in_thread",
]
