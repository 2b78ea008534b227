"""The shipped library: a prompt for each category, and versions that never change."""

import json
from pathlib import Path

from prompts.identities import identity_prompt, load_identities
from prompts.seeds import load_categories
from prompts.templates import LIBRARY, PromptLibrary

PUBLISHED = Path(__file__).with_name("library_hashes.json")
"""Versions that have been published, with their hashes: a better text is a new version."""

LONGEST = 1_000
"""Characters: a system prompt goes in front of every request."""


def test_every_category_has_a_prompt_of_its_name_that_needs_no_values() -> None:
    prompts = [each for each in PromptLibrary().all() if each.category]
    assert {each.category for each in prompts} == {each.name for each in load_categories()}
    for prompt in prompts:
        assert prompt.name == prompt.category
        text = prompt.render()
        assert 100 < len(text) <= LONGEST
        assert "{" not in text


def test_a_published_version_does_not_change() -> None:
    hashes = {each.reference: each.hash for each in PromptLibrary().all()}
    assert hashes == json.loads(PUBLISHED.read_text())


def test_shipped_identities_are_of_today_and_measured() -> None:
    files = sorted((LIBRARY / "identities").glob("*.yaml"))
    assert files
    for file in files:
        identities = load_identities(file)
        assert identities.prompt_hash == identity_prompt().hash
        assert {each.category for each in identities.identities} == {each.name for each in load_categories()}
        assert identities.measurement("category") is not None
