"""Requests in other languages are routed as such, or as uncertain."""

from pathlib import Path

from benchmarks.language_handling import fate_of, foreign_prompts, table, total
from routers.composition import load_composition
from routers.encoder import Encoder
from routers.language import LANGUAGES


def test_the_requests_are_of_languages_that_can_be_told() -> None:
    prompts = foreign_prompts()
    assert set(prompts) - {"seeds"} <= LANGUAGES
    assert min(map(len, prompts.values())) >= 4


def test_nearly_every_foreign_request_is_handled_as_such_or_uncertain(encoder: Encoder) -> None:
    composition = load_composition(Path("routers/compositions/cpu"))
    found = [fate_of(code, prompts, composition, encoder) for code, prompts in foreign_prompts().items()]
    whole = total(found)
    assert whole.as_languages + whole.uncertain + whole.misrouted == whole.prompts
    assert whole.misrouted <= 0.12 * whole.prompts, table(found)
