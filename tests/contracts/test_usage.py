"""Tokens are recorded whoever asks in whatever way, and told to those alone who asked."""

import re

import pytest

from app.strategies.strategy_registry import OWN
from tests.contracts.contract import Case
from tests.contracts.contract_world import Service
from tests.contracts.sse import DONE, events_of
from tests.contracts.test_contracts import CONTRACTS, request_of


def tokens_counted(service: Service) -> float:
    """Of every expert and kind, by the service's metrics."""
    found = re.findall(r"^coterie_tokens_total\{.*\} (.*)$", service.http.get("/metrics").text, re.MULTILINE)
    return sum(map(float, found))


@pytest.mark.parametrize("strategy", ["single", *OWN])
@pytest.mark.parametrize("place", ["service", "native"])
@pytest.mark.parametrize("dialect", CONTRACTS)
def test_a_stream_records_what_a_whole_answer_records(
    request: pytest.FixtureRequest, place: str, dialect: str, strategy: str
) -> None:
    service, contract, recorded = request.getfixturevalue(place), CONTRACTS[dialect], []
    for stream in (False, True):
        before = tokens_counted(service)
        response = service.http.post(contract.path, json=request_of(contract, Case(), strategy, stream))
        decision = service.http.get(f"/v1/decisions/{response.headers['x-coterie-decision']}").json()
        recorded.append((decision["usage"], tokens_counted(service) - before))
    (whole, counted), (streamed, also_counted) = recorded
    assert whole["prompt_tokens"] > 0 and whole["completion_tokens"] > 0
    assert (streamed, also_counted) == (whole, counted)
    assert streamed["total_tokens"] == streamed["prompt_tokens"] + streamed["completion_tokens"]


@pytest.mark.parametrize("strategy", ["single", *OWN])
@pytest.mark.parametrize("dialect", ["chat", "completions"])
@pytest.mark.parametrize("asked", [None, {}, {"include_usage": False}])
def test_no_usage_is_told_unasked(
    service: Service, dialect: str, strategy: str, asked: dict[str, bool] | None
) -> None:
    contract = CONTRACTS[dialect]
    body = request_of(contract, Case(), strategy, True) | {"stream_options": asked}
    chunks = [event.data for event in events_of(service.http.post(contract.path, json=body).text)]
    assert chunks.pop() == DONE
    assert all(chunk["choices"] and "usage" not in chunk for chunk in chunks)
