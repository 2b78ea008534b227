"""Asking through the cache: once for each question, bounded, and given up where it is hopeless."""

import asyncio
from pathlib import Path

import pytest

from base.reply import AskError
from client import RetryPolicy
from eval.engine.asking import GIVE_UP_AFTER, Asker, together
from eval.engine.cache import Cache
from eval.engine.contestants import Contestant
from experts.fake import Behaviour, run_fake_expert

QUICK = RetryPolicy(attempts=1)
HELLO = [{"role": "user", "content": "Hello"}]


def contestant(base: str, **others: object) -> Contestant:
    return Contestant("a", base, "fake", identity={"expert": {"name": "fake"}}, **others)  # type: ignore[arg-type]


async def test_the_same_question_twice_at_once_goes_out_once(tmp_path: Path) -> None:
    with run_fake_expert(Behaviour(reply="Hi", delay_s=0.05)) as fake, Cache(tmp_path / "c.sqlite") as cache:
        asker = Asker(cache)
        async with asker.open():
            both = await together(asker.ask(contestant(fake.endpoint), HELLO, {}) for _ in range(2))

        assert fake.log.started == 1
    assert [each.reply.text for each in both] == ["Hi", "Hi"]
    assert sorted(each.cached for each in both) == [False, True]
    assert asker.asked == {"a": 1}


async def test_what_goes_into_the_body_parts_answers(tmp_path: Path) -> None:
    with run_fake_expert() as fake, Cache(tmp_path / "c.sqlite") as cache:
        asker = Asker(cache)
        async with asker.open():
            await asker.ask(contestant(fake.endpoint), HELLO, {"temperature": 0.0})
            await asker.ask(contestant(fake.endpoint), HELLO, {"temperature": 0.7})
            await asker.ask(contestant(fake.endpoint, extra={"top_p": 0.5}), HELLO, {"temperature": 0.0})
            again = await asker.ask(contestant(fake.endpoint), HELLO, {"temperature": 0.7})

        assert fake.log.started == 3
        assert fake.log.last["top_p"] == 0.5
    assert again.cached


async def test_requests_in_flight_are_bounded(tmp_path: Path) -> None:
    with run_fake_expert(Behaviour(delay_s=0.03)) as fake, Cache(tmp_path / "c.sqlite") as cache:
        asker = Asker(cache, concurrency=3)
        async with asker.open():
            await together(
                asker.ask(contestant(fake.endpoint), [{"role": "user", "content": str(n)}], {})
                for n in range(12)
            )

        assert fake.log.max_in_flight == 3


async def test_a_contestant_that_keeps_failing_is_asked_nothing_more(tmp_path: Path) -> None:
    with run_fake_expert(Behaviour(status=503)) as fake, Cache(tmp_path / "c.sqlite") as cache:
        asker = Asker(cache, retries=QUICK)
        async with asker.open():
            for _ in range(GIVE_UP_AFTER):
                with pytest.raises(AskError):
                    await asker.ask(contestant(fake.endpoint), HELLO, {})
            with pytest.raises(AskError, match="failed 5 times in a row") as refused:
                await asker.ask(contestant(fake.endpoint), HELLO, {})

        assert fake.log.started == GIVE_UP_AFTER
    assert refused.value.code == "not_asked"


async def test_one_asker_serves_again_after_its_connections_closed(tmp_path: Path) -> None:
    with run_fake_expert() as fake, Cache(tmp_path / "c.sqlite") as cache:
        asker = Asker(cache)
        for text in ("one", "two"):
            async with asker.open():
                await asker.ask(contestant(fake.endpoint), [{"role": "user", "content": text}], {})

        assert fake.log.started == 2


async def test_it_must_be_open(tmp_path: Path) -> None:
    with Cache(tmp_path / "c.sqlite") as cache, pytest.raises(AskError, match=r"asker\.open"):
        await Asker(cache).ask(contestant("http://127.0.0.1:1/v1"), HELLO, {})


async def test_the_first_failure_of_work_done_together_is_raised_as_it_is_and_stops_the_rest() -> None:
    ended = []

    async def fails() -> None:
        raise AskError("refused", "no")

    async def lasts() -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            ended.append("stopped")
            raise

    with pytest.raises(AskError, match="no"):
        await together([lasts(), fails()])

    assert ended == ["stopped"]
