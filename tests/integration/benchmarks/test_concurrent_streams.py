"""Streams that are read at once, and those that fail: here of the fake expert itself."""

from benchmarks.concurrent_streams import read_streams
from benchmarks.service_overhead import Bench
from experts.fake import Behaviour, run_fake_expert


async def test_whole_streams_and_failed_ones_are_told_apart() -> None:
    with run_fake_expert() as good, run_fake_expert(Behaviour(die_after=5)) as bad:
        for fake, whole in ((good, True), (bad, False)):
            bench = Bench(fake.endpoint, fake.endpoint, 0.0, 0.0, 0)
            found = await read_streams(bench, streams=8, chunks=12, delay_s=0.001)
            assert [each.whole for each in found] == [whole] * 8
            assert fake.log.started == 8
    assert all(each.chunks >= 12 for each in found if each.whole)
