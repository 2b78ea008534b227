"""However a server writes its answer, clients read the same in their own dialect."""

from collections.abc import Iterator

import pytest

from tests.contracts.contract import Case, ParsedAnswer
from tests.contracts.contract_world import Service, serve
from tests.contracts.shapes import SHAPES, run_shaped_server
from tests.contracts.sse import events_of
from tests.contracts.test_contracts import CONTRACTS, request_of


@pytest.fixture(scope="module")
def shaped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Every expert of it is the server of `SHAPES`."""
    with (
        run_shaped_server() as endpoint,
        serve(tmp_path_factory.mktemp("shaped"), endpoint=endpoint) as running,
    ):
        yield running


def answer_of(service: Service, dialect: str, shape: str, *, stream: bool) -> ParsedAnswer:
    """What a client reads, which must be to the letter what its dialect says."""
    contract = CONTRACTS[dialect]
    case = Case(shape, usage=True, tools="auto" if shape.startswith("call") else None)
    if contract.body(case) is None:
        case = Case(shape, usage=True)
    response = service.http.post(contract.path, json=request_of(contract, case, "single", stream))
    assert response.status_code == 200, response.text
    if stream:
        events = events_of(response.content.decode())
        found = contract.stream(case, events)
    else:
        found = contract.whole(case, response.json())
    assert [each for each in found if not _allowed(each)] == []
    return contract.parse_stream(events) if stream else contract.parse_whole(response.json())


UNCOUNTED = {"no usage", "the last chunk is not the usage alone"}


def _allowed(problem: str) -> bool:
    """What a server says beside its dialect is passed on, and counts that it does not tell are left out."""
    return problem.endswith("has no such field") or problem in UNCOUNTED


@pytest.mark.parametrize("dialect", CONTRACTS)
@pytest.mark.parametrize("shape", SHAPES)
def test_an_answer_of_any_shape_is_read_alike(shaped: Service, shape: str, dialect: str) -> None:
    whole = answer_of(shaped, dialect, shape, stream=False)
    streamed = answer_of(shaped, dialect, shape, stream=True)
    assert (streamed.texts, streamed.finish) == (whole.texts, whole.finish)
    assert streamed.calls == whole.calls
    many = 2 if shape.startswith("calls-") and shape not in {"calls-none", "calls-meant"} else 1
    if dialect != "completions" and shape.startswith("call") and shape not in {"calls-none", "calls-meant"}:
        assert (len(streamed.calls), streamed.finish) == (many, "tool_calls")
    elif "Hi" in str(SHAPES[shape]):
        assert streamed.texts == ("Hi",)
