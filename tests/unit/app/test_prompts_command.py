"""`coterie prompts`: list, show, diff and try, without and with somebody who answers."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from app.cli.prompts import app
from experts.fake import Behaviour, run_fake_expert
from prompts.identities import load_identities
from prompts.seeds import load_categories
from prompts.templates import PromptLibrary

LETTER = """\
name: letter
version: {version}
description: Letters.
variables:
  tone: {{type: choice, choices: [warm, dry], default: dry}}
template: |
  {template} Keep it {{tone}}.
"""


@pytest.fixture
def library(tmp_path: Path) -> Path:
    folder = tmp_path / "library"
    folder.mkdir()
    for version, template in ((1, "Write a letter."), (2, "Write a short letter.")):
        (folder / f"letter@{version}.yaml").write_text(LETTER.format(version=version, template=template))
    return folder


def call(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def test_the_list_has_the_newest_version_of_each_and_json_has_all(library: Path) -> None:
    shown = call("list", "--library", str(library)).stdout
    assert "letter@2" in shown
    assert "letter@1" not in shown
    listed = json.loads(call("list", "--library", str(library), "--json").stdout)
    assert [each["version"] for each in listed] == [1, 2]
    assert {each["name"] for each in json.loads(call("list", "--json").stdout)} >= {"writing", "identity"}


def test_the_list_shows_what_is_good_and_says_all_that_is_wrong(library: Path) -> None:
    (library / "note.yml").write_text("")
    for name in ("memo", "note"):
        text = LETTER.format(version=1, template="{what}").replace("name: letter", f"name: {name}")
        (library / f"{name}@1.yaml").write_text(text)
    for words in ((), ("--json",)):
        result = call("list", "--library", str(library), *words)
        assert result.exit_code == 1
        assert "letter" in result.stdout
        for said in ("note.yml: a prompt's file is called", "memo@1.yaml:7: ", "note@1.yaml:7: "):
            assert said in result.stderr


def test_an_empty_folder_is_said_to_hold_no_prompt(tmp_path: Path) -> None:
    assert "holds no prompt" in call("list", "--library", str(tmp_path)).stderr


def test_show_has_the_template_and_its_variables(library: Path) -> None:
    shown = call("show", "letter", "--library", str(library)).stdout
    assert shown.startswith(f"letter@2  {PromptLibrary(library).get('letter@2').hash}")
    assert '{tone}  warm | dry, default "dry"' in shown
    assert "Write a short letter. Keep it {tone}." in shown


def test_show_renders(library: Path) -> None:
    given = ("show", "letter@1", "--library", str(library), "--render")
    assert call(*given, "--var", "tone=warm").stdout == "Write a letter. Keep it warm.\n"
    refused = call(*given, "--var", "tone=sad")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "tone: must be one of warm, dry" in refused.stderr
    assert "NAME=VALUE" in call(*given, "--var", "tone").stderr
    assert "tone: is given twice" in call(*given, "--var", "tone=dry", "--var", "tone=warm").stderr
    document = json.loads(call(*given, "--json").stdout)
    assert document["rendered"] == "Write a letter. Keep it dry."
    assert document["template"] == "Write a letter. Keep it {tone}.\n"


def test_diff_is_unified_and_names_hashes(library: Path) -> None:
    first, second = (PromptLibrary(library).get(f"letter@{version}") for version in (1, 2))
    for words in (("letter@1", "letter@2"), ("letter",)):
        lines = call("diff", *words, "--library", str(library)).stdout.splitlines()
        assert lines[0] == f"--- letter@1  {first.hash}"
        assert lines[1] == f"+++ letter@2  {second.hash}"
        assert "-  Write a letter. Keep it {tone}." in lines
        assert "+  Write a short letter. Keep it {tone}." in lines


def test_diff_needs_two(library: Path) -> None:
    refused = call("diff", "letter@1", "--library", str(library))
    assert refused.exit_code == 1
    assert "no version before it" in refused.stderr


def test_a_prompt_that_is_not_there_is_one_line(library: Path) -> None:
    for words in (("show", "leter"), ("diff", "leter", "letter"), ("try", "leter", "x")):
        refused = call(*words, "--library", str(library))
        assert refused.exit_code == 1
        assert refused.stderr.count("\n") == 1
        assert "did you mean letter?" in refused.stderr


def test_try_streams_from_an_expert_of_the_registry(library: Path, tmp_path: Path) -> None:
    with run_fake_expert(name="small") as fake:
        entry = {
            "name": "small",
            "endpoint": fake.endpoint,
            "model": "m",
            "params_b": 1,
            "context_length": 99,
        }
        registry = tmp_path / "experts.yaml"
        registry.write_text(yaml.safe_dump({"experts": [entry]}))
        result = call(
            *("try", "letter@2", "To Ada", "--library", str(library), "--var", "tone=warm"),
            *("--direct", "small", "--experts", str(registry), "--max-tokens", "9"),
        )
        assert (result.exit_code, result.stdout) == (0, "small heard: To Ada\n")
        assert "letter@2" in result.stderr
        assert fake.log.last["messages"][0] == {
            "role": "system",
            "content": "Write a short letter. Keep it warm.",
        }
        assert fake.log.last["max_tokens"] == 9
        unknown = call(
            "try", "letter", "x", "--library", str(library), "--direct", "smal", "--experts", str(registry)
        )
        assert "did you mean small" in unknown.stderr


def test_try_reads_any_stream_of_events_and_says_when_one_breaks_off(library: Path, tmp_path: Path) -> None:
    with run_fake_expert(Behaviour(reply="Dear Ada", error_after=2), name="small") as fake:
        entry = {"name": "small", "endpoint": fake.endpoint, "model": "m", "params_b": 1}
        registry = tmp_path / "experts.yaml"
        registry.write_text(yaml.safe_dump({"experts": [entry | {"context_length": 99}]}))
        words = ("try", "letter", "x", "--library", str(library), "--direct", "small")
        result = call(*words, "--experts", str(registry))
        refused = call(*words, "--experts", str(registry), "--model", "small")
    assert result.exit_code == 1
    assert "Dear" in result.stdout
    assert "small" in result.stderr
    assert "leave -m out" in refused.stderr


def test_try_says_when_nothing_answers(library: Path) -> None:
    refused = call("try", "letter", "x", "--library", str(library), "--url", "http://127.0.0.1:9")
    assert refused.exit_code == 1
    assert "coterie up" in refused.stderr


def test_identities_are_kept_as_they_come_and_not_asked_for_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "small.yaml"
    with run_fake_expert(Behaviour(reply="You are a judge. You weigh both sides.")) as fake:
        url = fake.endpoint.removesuffix("/v1")
        words = ("identity", "small", "--out", str(path), "--url", url)
        assert call(*words, "--category", "law").exit_code == 0
        assert [each.category for each in load_identities(path).identities] == ["law"]
        assert fake.log.last["model"] == "small"
        assert call(*words).exit_code == 0
        assert len(load_identities(path).identities) == 14
        assert fake.log.started == 14
        other = call("identity", "large", "--out", str(path), "--url", url)
        assert other.exit_code == 1
        assert "holds identities of small" in other.stderr


def test_a_file_of_identities_is_in_the_categories_order_whoever_was_written_first(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    with run_fake_expert(Behaviour(reply="You are a judge.")) as fake:
        url = fake.endpoint.removesuffix("/v1")
        for category in ("writing", "law", "coding"):
            assert (
                call("identity", "s", "--out", str(path), "--category", category, "--url", url).exit_code == 0
            )
    order = [each.name for each in load_categories() if each.name in {"writing", "law", "coding"}]
    assert [each.category for each in load_identities(path).identities] == order


def test_writing_identities_shows_its_bill(tmp_path: Path) -> None:
    words = ("identity", "small", "--out", str(tmp_path / "small.yaml"), "--category", "law")
    with run_fake_expert(Behaviour(reply="You are a judge.")) as fake:
        url = fake.endpoint.removesuffix("/v1")
        first, again = (call(*words, "--url", url) for _ in range(2))
    assert re.search(r"asked now: 1 call, \d+ \+ \d+ tokens, \d+ s\n", first.stderr)
    assert "asked now" not in again.stderr


def test_an_identity_that_could_not_be_written_anew_stays(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    replies = {"law": "You are a judge.", "math": "You are a teacher."}

    def answer(body: Mapping[str, Any]) -> Behaviour:
        asked = body["messages"][-1]["content"]
        return Behaviour(reply=replies["law" if "legal" in asked.lower() else "math"])

    with run_fake_expert(answer) as fake:
        url = fake.endpoint.removesuffix("/v1")
        words = ("identity", "small", "--out", str(path), "--category", "law", "--category", "math")
        assert call(*words, "--url", url).exit_code == 0
        replies |= {"law": "I cannot.", "math": "You are a counter."}
        anew = call(*words, "--fresh", "--url", url)
    assert anew.exit_code == 0
    assert "law: the model wrote no description" in anew.stderr
    texts = {each.category: each.text for each in load_identities(path).identities}
    assert texts == {"law": "You are a judge.", "math": "You are a counter."}


def test_one_request_is_shown_what_it_would_stand_behind() -> None:
    with run_fake_expert(Behaviour(reply="Sure.\n\nYou are a judge. And")) as fake:
        url = fake.endpoint.removesuffix("/v1")
        result = call("identity", "small", "--text", "Can I sue?", "--url", url)
    assert (result.exit_code, result.stdout) == (0, "You are a judge.\n")
    assert fake.log.last["messages"][-1]["content"].endswith("Can I sue?")


def test_a_model_that_writes_none_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "small.yaml"
    with run_fake_expert(Behaviour(reply="The answer is 4.")) as fake:
        url = fake.endpoint.removesuffix("/v1")
        result = call("identity", "small", "--out", str(path), "--category", "law", "--url", url)
        seeds = [body["seed"] for body in fake.log.bodies]
    assert result.exit_code == 1
    assert "no description" in result.stderr
    assert not path.exists()
    assert seeds == [0, 1, 2, 3]


def test_out_or_text_has_to_be_given() -> None:
    refused = call("identity", "small")
    assert refused.exit_code == 1
    assert "--out FILE" in refused.stderr
