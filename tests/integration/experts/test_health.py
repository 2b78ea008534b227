"""Health: what checks see and what requests report, and how both come to one state."""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

import pytest
from starlette.responses import Response

from experts.client import ClientLimits, ExpertClient
from experts.errors import ExpertBadReply, ExpertBusy, ExpertTimeout, ExpertUnavailable
from experts.fake import run_fake_expert, serve_in_thread
from experts.health import HealthMonitor, HealthSettings
from experts.registry import Registry, UnknownExpert
from tests.integration.experts.conftest import make_expert

QUICK = HealthSettings(interval_s=0.05, recovery_s=0.02, startup_s=60, failures_to_trip=3, cooldown_s=60)
GONE = ExpertUnavailable("small", "Expert small refused the connection.")


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not holds():  # noqa: ASYNC110 - states change by themselves
            await asyncio.sleep(0.01)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_an_expert_is_unknown_then_up_then_down_then_up_again(client: ExpertClient) -> None:
    port = free_port()
    registry = Registry.of(make_expert(f"http://127.0.0.1:{port}/v1", model="fake"))
    monitor = HealthMonitor(registry, client, QUICK)
    assert monitor.status("small").state == "unknown"
    assert monitor.available("small")
    try:
        with run_fake_expert(port=port):
            await monitor.start()
            await until(lambda: monitor.status("small").state == "up")
            assert monitor.status("small").checked_at is not None
        await until(lambda: monitor.status("small").state == "down")
        assert "refused the connection" in monitor.status("small").detail
        assert not monitor.available("small")
        with run_fake_expert(port=port):
            await until(lambda: monitor.available("small"))
    finally:
        await monitor.stop()
        await monitor.stop()


async def test_a_local_server_that_never_answered_is_starting(client: ExpertClient) -> None:
    port = free_port()
    local = {"source": "small", "port": port, "max_model_len": 2048}
    registry = Registry.of(make_expert(None, local=local))
    monitor = HealthMonitor(registry, client, QUICK)
    await monitor.check()
    assert monitor.status("small").state == "starting"
    assert not monitor.available("small")
    impatient = HealthMonitor(registry, client, HealthSettings(startup_s=0))
    await impatient.check()
    assert impatient.status("small").state == "down"


async def test_a_server_without_the_model_is_down_and_says_why(client: ExpertClient) -> None:
    with run_fake_expert(models=["other"]) as fake:
        registry = Registry.of(
            make_expert(fake.endpoint), make_expert(fake.endpoint, name="second", model="other")
        )
        monitor = HealthMonitor(registry, client, QUICK)
        await monitor.check()
        assert "small-model" in monitor.status("small").detail
        assert {name: health.state for name, health in monitor.statuses().items()} == {
            "small": "down",
            "second": "up",
        }


async def test_experts_of_one_endpoint_are_checked_once(client: ExpertClient) -> None:
    registry = Registry.of(
        make_expert("http://127.0.0.1:9/v1"), make_expert("http://127.0.0.1:9/v1", name="friend")
    )
    monitor = HealthMonitor(registry, client, QUICK)
    assert len(monitor._endpoints) == 1
    await monitor.check()
    assert monitor.status("friend").state == "down"


async def test_an_unreachable_expert_reported_by_a_request_is_down_at_once(client: ExpertClient) -> None:
    with run_fake_expert(models=["small-model"]) as fake:
        monitor = HealthMonitor(Registry.of(make_expert(fake.endpoint)), client, QUICK)
        await monitor.check()
        monitor.report_failure("small", GONE)
        assert not monitor.available("small")
        await monitor.check()
        assert monitor.available("small")


async def test_a_server_that_answers_checks_and_fails_requests_waits_for_its_cooldown(
    client: ExpertClient,
) -> None:
    with run_fake_expert(models=["small-model"]) as fake:
        monitor = HealthMonitor(Registry.of(make_expert(fake.endpoint)), client, QUICK)
        for _ in range(QUICK.failures_to_trip):
            await monitor.check()
            assert monitor.available("small")
            monitor.report_failure("small", GONE)
        await monitor.check()
        assert not monitor.available("small")
        monitor.report_success("small")
        assert monitor.available("small")


@pytest.mark.parametrize("error", [ExpertTimeout("small", "late"), ExpertBadReply("small", "rubbish")])
async def test_one_bad_answer_is_forgiven_and_several_in_a_row_are_not(
    client: ExpertClient, error: ExpertTimeout | ExpertBadReply
) -> None:
    monitor = HealthMonitor(Registry.of(make_expert("http://127.0.0.1:9/v1")), client, QUICK)
    monitor.report_failure("small", error)
    monitor.report_failure("small", error)
    assert monitor.available("small")
    monitor.report_success("small")
    for _ in range(3):
        assert monitor.available("small")
        monitor.report_failure("small", error)
    assert monitor.status("small").detail == error.message
    assert not monitor.available("small")


async def test_what_a_400_says_of_its_server_counts_when_it_is_said_again(client: ExpertClient) -> None:
    """It may repeat a request's own words."""
    with run_fake_expert() as fake:
        monitor = HealthMonitor(Registry.of(make_expert(fake.endpoint, model="fake")), client, QUICK)
        await monitor.check()
        loading = ExpertUnavailable("small", "The model is loading.")
        loading.http_status = 400
        for times in range(1, QUICK.failures_to_trip + 1):
            monitor.report_failure("small", loading)
            assert monitor.available("small") == (times < QUICK.failures_to_trip)


async def test_a_full_queue_is_no_illness(client: ExpertClient) -> None:
    monitor = HealthMonitor(Registry.of(make_expert("http://127.0.0.1:9/v1")), client, QUICK)
    for _ in range(10):
        monitor.report_failure("small", ExpertBusy("small", "full"))
    assert monitor.available("small")


async def test_litellm_experts_are_not_asked_but_reported(client: ExpertClient) -> None:
    expert = make_expert(None, provider="litellm", model="anthropic/claude")
    monitor = HealthMonitor(Registry.of(expert), client, HealthSettings(cooldown_s=0.05))
    await monitor.check()
    assert monitor.status("small").state == "unknown"
    monitor.report_failure("small", GONE)
    assert monitor.status("small").state == "down"
    await until(lambda: monitor.available("small"))
    monitor.report_success("small")
    assert monitor.status("small").state == "up"


async def test_a_check_gives_up_on_a_server_that_never_answers() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        registry = Registry.of(make_expert(f"http://127.0.0.1:{deaf.getsockname()[1]}/v1"))
        async with ExpertClient(limits=ClientLimits(probe_s=0.1)) as client:
            monitor = HealthMonitor(registry, client, QUICK)
            await monitor.check()
            assert "0.1 s" in monitor.status("small").detail


def test_an_unknown_expert_has_no_state() -> None:
    monitor = HealthMonitor(Registry.of(make_expert("http://127.0.0.1:9/v1")), ExpertClient())
    with pytest.raises(UnknownExpert):
        monitor.status("large")


async def test_a_server_that_asks_to_wait_rests_with_all_experts_of_the_model(client: ExpertClient) -> None:
    here = "http://127.0.0.1:9/v1"
    registry = Registry.of(
        make_expert(here),
        make_expert(here, name="friend"),
        make_expert(here, name="other", model="other-model"),
    )
    monitor = HealthMonitor(registry, client, HealthSettings(longest_backoff_s=60))
    busy = ExpertBusy("small", "full")
    busy.retry_after_s = 3600
    monitor.report_failure("small", busy)
    assert [monitor.available(name) for name in ("small", "friend", "other")] == [False, False, True]
    assert 59 < monitor.backoff_s("friend") <= 60
    assert monitor.status("small").state == "unknown"
    monitor.report_success("friend")
    assert monitor.available("small")


@pytest.mark.parametrize("status", [400, 404, 405, 429, 501])
async def test_a_server_without_a_list_of_models_is_up(client: ExpertClient, status: int) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await Response(status_code=status)(scope, receive, send)

    with serve_in_thread(app) as port:
        monitor = HealthMonitor(Registry.of(make_expert(f"http://127.0.0.1:{port}/v1")), client, QUICK)
        await monitor.check()
        assert monitor.status("small").state == "up"


@pytest.mark.parametrize("status", [401, 403, 500, 503])
async def test_a_server_that_refuses_our_key_or_fails_is_down(client: ExpertClient, status: int) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await Response(status_code=status)(scope, receive, send)

    with serve_in_thread(app) as port:
        monitor = HealthMonitor(Registry.of(make_expert(f"http://127.0.0.1:{port}/v1")), client, QUICK)
        await monitor.check()
        assert monitor.status("small").state == "down"
