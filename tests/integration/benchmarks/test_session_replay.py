"""The replay of agent conversations finds unsafe switches, and none in the service's own way."""

import asyncio
from pathlib import Path

import pytest

from app.serving.routing import expert_card
from benchmarks.session_replay import Tally, all_ways, table
from experts.registry import load_registry
from routers.composition import load_composition
from routers.router import Router
from tests.integration.app.world import WordEncoder, small_composition, write_registry

ASKS = {
    "coding": ["Write a python function.", "There is a bug in this code.", "Which function is python's own?"],
    "smalltalk": ["hello there", "thanks, lovely weather", "hi, and thanks for the weather"],
    "unclear": ["zzz", "What now?"],
}


@pytest.fixture(scope="module")
def tallies(tmp_path_factory: pytest.TempPathFactory) -> list[Tally]:
    folder: Path = tmp_path_factory.mktemp("replay")
    endpoints = dict.fromkeys(("coder", "talker", "backup"), "http://127.0.0.1:9/v1")
    fields = {"capabilities": ["tools"], "context_length": 100_000}
    registry = load_registry(
        write_registry(folder / "experts.yaml", endpoints, dict.fromkeys(endpoints, fields))
    )
    composition = load_composition(small_composition(folder / "composition"))
    composition = composition.with_cards([expert_card(each) for each in registry.experts.values()])
    router = Router(WordEncoder(), composition)
    return asyncio.run(all_ways(router, registry, ASKS, count=30, seed=3))


def test_every_way_sees_the_same_requests(tallies: list[Tally]) -> None:
    assert len({each.requests for each in tallies}) == 1
    assert len({each.open_calls for each in tallies}) == 1
    assert tallies[0].requests > 200 and tallies[0].open_calls > tallies[0].requests / 4


def test_only_the_services_way_is_safe(tallies: list[Tally]) -> None:
    alone, named, served = tallies
    assert alone.between > 0 and alone.foreign > 0
    assert named.between > 0
    assert served.unsafe == 0
    assert served.refused > 0


def test_staying_reads_less_again(tallies: list[Tally]) -> None:
    alone, _, served = tallies
    assert served.reread < alone.reread
    assert served.switches < alone.switches


def test_the_table_has_a_row_for_each_way(tallies: list[Tally]) -> None:
    lines = table(tallies, 30)
    assert lines[0].startswith("30 conversations")
    assert [line.split("|")[1].strip() for line in lines[4:]] == [each.way for each in tallies]
