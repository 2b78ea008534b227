"""What the service sends is, to the letter, what each dialect's description says: whole and streamed, of one
expert and of every strategy."""

from collections.abc import Mapping
from typing import Any

import pytest
from openai.types import CreateEmbeddingResponse

from app.strategies.strategy_registry import OWN
from experts.fake import FAULTS
from tests.contracts import chat_contract, completions_contract, messages_contract, responses_contract
from tests.contracts.contract import CASES, FAILURES, Case, Contract
from tests.contracts.contract_world import Service
from tests.contracts.errors import openai_error_problems
from tests.contracts.sse import Event, events_of
from tests.contracts.validation import problems

CONTRACTS: Mapping[str, Contract] = {
    "chat": chat_contract.CONTRACT,
    "completions": completions_contract.CONTRACT,
    "messages": messages_contract.CONTRACT,
    "responses": responses_contract.CONTRACT,
}
STRATEGIES = ("single", *OWN)
HOLDING = {"cascade", "panel", "self_select", "vote"}
"""These show an answer when it is whole: one that breaks is replaced by another, or nothing is sent."""
DIALECTS = pytest.mark.parametrize("dialect", CONTRACTS)
STREAMED = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
EACH_STRATEGY = pytest.mark.parametrize("strategy", STRATEGIES)


def request_of(contract: Contract, case: Case, strategy: str, stream: bool) -> dict[str, Any]:
    """The body of a case that the dialect can say."""
    body = contract.body(case)
    assert body is not None
    return {**body, "stream": stream, "routing": {"strategy": strategy}}


def streamed(service: Service, contract: Contract, body: dict[str, Any]) -> list[Event]:
    response = service.http.post(contract.path, json=body)
    assert response.status_code == 200, response.text
    assert response.headers["content-type"].split(";")[0] == "text/event-stream"
    return events_of(response.content.decode())


def sayable() -> list[Any]:
    """Each dialect with each case that it can say."""
    return [
        pytest.param(dialect, case, id=f"{dialect}-{name}")
        for dialect, contract in CONTRACTS.items()
        for name, case in CASES.items()
        if contract.body(case) is not None
    ]


@EACH_STRATEGY
@pytest.mark.parametrize(("dialect", "case"), sayable())
def test_an_answer_is_what_the_dialect_says_whole_and_streamed(
    service: Service, dialect: str, case: Case, strategy: str
) -> None:
    contract = CONTRACTS[dialect]
    response = service.http.post(contract.path, json=request_of(contract, case, strategy, False))
    assert response.status_code == 200, response.text
    whole = response.json()
    assert contract.whole(case, whole) == []
    events = streamed(service, contract, request_of(contract, case, strategy, True))
    assert contract.stream(case, events) == []
    # And both say the same.
    one, other = contract.parse_whole(whole), contract.parse_stream(events)
    assert one.finish == other.finish == case.finish
    assert (other.texts, other.calls) == (one.texts, one.calls)
    assert other.usage in (None, one.usage)


@pytest.mark.parametrize(("dialect", "case"), [each for each in sayable() if each.values[0] != "chat"])
def test_an_answer_of_a_server_that_speaks_the_dialect_is_no_different(
    native: Service, dialect: str, case: Case
) -> None:
    test_an_answer_is_what_the_dialect_says_whole_and_streamed(native, dialect, case, "single")
    path = CONTRACTS[dialect].path
    assert {fake.log.paths[-1] for fake in native.fakes.values() if fake.log.paths} == {path}


def faults() -> list[tuple[str, str, str, str]]:
    """Each fault in the streams of each dialect, translated from chat's and passed on, and in whole chats."""
    streams = [("faulty", dialect) for dialect in CONTRACTS]
    streams += [("faulty_native", dialect) for dialect in CONTRACTS if dialect != "chat"]
    light = [fault for fault in FAULTS if fault != "gzip-bomb"]
    found = [(*place, fault, "streamed") for place in streams for fault in light]
    return [*found, *(("faulty", "chat", fault, "whole") for fault in FAULTS)]


@pytest.mark.parametrize(("place", "dialect", "fault", "stream"), faults())
def test_whatever_an_expert_does_clients_read_their_own_dialect(
    request: pytest.FixtureRequest, place: str, dialect: str, fault: str, stream: str
) -> None:
    service: Service = request.getfixturevalue(place)
    contract, case = CONTRACTS[dialect], Case(fault)
    body = request_of(contract, case, "single", stream == "streamed")
    response = service.http.post(contract.path, json=body)
    if response.status_code != 200:
        assert contract.error(response.json()) == []
        return
    if stream == "whole":
        found = contract.whole(case, response.json())
    else:
        events = events_of(response.content.decode())
        found = contract.failed_stream(events) and contract.stream(case, events)
    assert [each for each in found if each != "no usage"] == []  # no fault of ours


@EACH_STRATEGY
@DIALECTS
@STREAMED
@pytest.mark.parametrize(("mark", "status"), FAILURES.values(), ids=FAILURES)
def test_a_failure_before_the_first_byte_is_an_error_of_the_dialect(
    failing: Service, dialect: str, strategy: str, stream: bool, mark: str, status: int
) -> None:
    contract = CONTRACTS[dialect]
    response = failing.http.post(contract.path, json=request_of(contract, Case(mark), strategy, stream))
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    assert contract.error(response.json()) == []


@EACH_STRATEGY
@DIALECTS
def test_a_failure_after_the_first_byte_ends_the_stream_with_an_error(
    failing: Service, dialect: str, strategy: str
) -> None:
    contract, case = CONTRACTS[dialect], Case("breaks")
    response = failing.http.post(contract.path, json=request_of(contract, case, strategy, True))
    if strategy not in HOLDING:
        assert contract.failed_stream(events_of(response.content.decode())) == []
    elif response.status_code == 200:
        assert contract.stream(case, events_of(response.content.decode())) == []
    else:
        assert contract.error(response.json()) == []


@pytest.mark.parametrize("form", [None, "float", "base64"])
def test_embeddings_are_what_the_description_says(native: Service, form: str | None) -> None:
    body = {"model": "words", "input": ["python", "hello there"]}
    answer = native.http.post("/v1/embeddings", json=body | ({"encoding_format": form} if form else {}))
    # The SDK's model holds what it has unpacked.
    packed = [isinstance(each["embedding"], str) for each in answer.json()["data"]]
    assert packed == [form == "base64"] * 2
    if form != "base64":
        assert problems(CreateEmbeddingResponse, answer.json()) == []
    assert answer.json()["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    wrongs: list[dict[str, Any]] = [{"model": "coterie"}, {"input": []}, {"dimensions": 5}]
    for wrong in wrongs:
        refused = native.http.post("/v1/embeddings", json=body | wrong)
        assert refused.status_code in (400, 404)
        assert openai_error_problems(refused.json()) == []
