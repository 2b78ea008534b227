"""What an expert's prompt may be: a text, one of the library, a mixture, or identities."""

from pathlib import Path

import pytest

from experts.registry import Registry, RegistryError, load_registry
from prompts.templates import PromptLibrary

BASE = """\
experts:
  - name: small
    endpoint: http://127.0.0.1:8101/v1
    model: Small-1B
    params_b: 1
    context_length: 2048
"""
OWN = "name: mine\nversion: 3\ndescription: Mine.\nvariables: {whom: {}}\ntemplate: Greet {whom}.\n"


@pytest.fixture
def written(tmp_path: Path) -> Path:
    (tmp_path / "mixtures" / "dates").mkdir(parents=True)
    (tmp_path / "small.yaml").touch()
    (tmp_path / "mine@3.yaml").write_text(OWN)
    return tmp_path / "experts.yaml"


def load(path: Path, *entries: str, base: str = BASE) -> Registry:
    path.write_text(base + "".join(f"  - {{{entry}}}\n" for entry in entries))
    return load_registry(path)


def test_a_library_prompt_becomes_the_system_prompt(written: Path) -> None:
    registry = load(written, "name: w, base: small, prompt: writing@1, variables: {tone: warm}")
    prompt = PromptLibrary().get("writing@1")
    writer = registry.get("w")
    assert writer.system_prompt == prompt.render({"tone": "warm"})
    assert writer.prompt == prompt.origin
    assert writer.variables == {"tone": "warm"}
    assert registry.get("small").prompt is None


def test_a_file_beside_the_registry_does_as_well(written: Path) -> None:
    mine = load(written, "name: w, base: small, prompt: mine@3.yaml, variables: {whom: Ada}").get("w")
    assert mine.system_prompt == "Greet Ada."
    assert str(mine.prompt) == "mine@3"


def test_paths_are_relative_to_the_registry(written: Path) -> None:
    registry = load(
        written,
        "name: m, base: small, mixture: mixtures/dates",
        "name: i, base: small, identity: {file: small.yaml, per: request}",
    )
    assert registry.get("m").mixture == written.parent / "mixtures" / "dates"
    identity = registry.get("i").identity
    assert identity is not None
    assert (identity.file, identity.per) == (written.parent / "small.yaml", "request")


def test_a_prompt_experts_own_prompt_replaces_its_bases(written: Path) -> None:
    base = BASE + "    prompt: coding@1\n"
    registry = load(written, "name: plain, base: small, system_prompt: Be kind.", base=base)
    assert registry.get("plain").system_prompt == "Be kind."
    assert registry.get("plain").prompt is None
    assert registry.get("small").prompt == PromptLibrary().get("coding@1").origin


def test_a_mixture_stands_behind_its_bases_prompt(written: Path) -> None:
    base = BASE + "    prompt: coding@1\n"
    mixture = load(written, "name: m, base: small, mixture: mixtures/dates", base=base).get("m")
    assert mixture.system_prompt == PromptLibrary().get("coding@1").render()


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("base: small, prompt: writing", "prompt: 'writing': "),
        ("base: small, prompt: writing@99", "writing has no version 99"),
        ("base: small, prompt: writng@1", "did you mean writing?"),
        ("base: small, prompt: none@1.yaml", "none@1.yaml: "),
        (
            "base: small, prompt: [writing@1]",
            "prompt: ",
        ),
        ("base: small, prompt: mine@3.yaml", "mine@3: whom: "),
        ("base: small, prompt: writing@1, variables: {tne: warm}", "did you mean tone?"),
        ("base: small, prompt: writing@1, variables: [warm]", "variables: "),
        ("base: small, system_prompt: x, variables: {a: 1}", "variables: "),
        (
            "base: small, system_prompt: x, mixture: mixtures/dates",
            "mixture: ",
        ),
        (
            "base: small, mixture: mixtures/none",
            "coterie prompts build",
        ),
        ("base: small, mixture: [x]", "mixture: "),
        (
            "base: small, identity: {file: none.yaml}",
            "coterie prompts",
        ),
        ("base: small, identity: {per: category}", "identity.file: "),
        ("base: small, identity: {file: small.yaml, per: day}", "identity.per: "),
        ("base: small", "sampling: an arm needs"),
        (
            "endpoint: 'http://x/v1', model: m, params_b: 1, context_length: 9, mixture: mixtures/dates",
            "mixture: needs a base",
        ),
    ],
)
def test_each_mistake_is_told_by_file_and_line(written: Path, entry: str, said: str) -> None:
    with pytest.raises(RegistryError) as caught:
        load(written, f"name: w, {entry}")
    (problem,) = caught.value.problems
    assert problem.startswith(f"{written}:7: ")
    assert said in problem


def test_who_writes_a_mixture_may_read_a_registry_that_names_it_already(written: Path) -> None:
    entries = (
        "name: m, base: small, mixture: mixtures/none",
        "name: i, base: small, identity: {file: none.yaml}",
    )
    with pytest.raises(RegistryError, match="no such folder"):
        load(written, *entries)
    registry = load_registry(written, written=False)
    assert registry.get("m").mixture == written.parent / "mixtures" / "none"
    assert registry.names == ("small", "m", "i")
