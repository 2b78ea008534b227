"""Templates: what a file may say, what is said about a wrong one, and what is rendered."""

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompts.templates import PromptError, PromptLibrary, PromptTemplate, Variable, read_prompt

GOOD = """\
name: letter
version: 2
description: Letters.
category: writing
variables:
  tone: {type: choice, choices: [warm, dry], default: dry}
  words: {type: integer, minimum: 1, maximum: 500}
  signed: {type: boolean, default: true}
template: |
  Write a {tone} letter.
  At most {words} words; signed: {signed}.
  Answer as {{"text": ...}}.
"""


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "letter@2.yaml"
    path.write_text(GOOD)
    return path


def prompt(template: str, **variables: dict[str, Any]) -> PromptTemplate:
    declared = {name: Variable(**facts) for name, facts in variables.items()}
    return PromptTemplate(name="p", version=1, description="d", variables=declared, template=template)


def test_values_and_defaults_take_the_place_of_variables(written: Path) -> None:
    letter = read_prompt(written)
    assert letter.reference == "letter@2"
    assert letter.render({"words": 80, "tone": "warm"}) == (
        'Write a warm letter.\nAt most 80 words; signed: yes.\nAnswer as {"text": ...}.'
    )


@given(st.text(max_size=200))
def test_a_value_is_never_read_as_a_template(value: str) -> None:
    assert prompt("[{said}]", said={}).render({"said": value}) == f"[{value}]"


@given(st.text(alphabet="{}ab_ \n", max_size=40))
def test_any_text_can_be_written_with_its_braces_doubled(text: str) -> None:
    escaped = text.replace("{", "{{").replace("}", "}}")
    assert prompt(f"x{escaped}x").render() == f"x{text}x"


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "words: "),
        ({"words": 0}, "words: .*1"),
        ({"words": 501}, "words: .*500"),
        ({"words": "ten"}, "words: .*whole"),
        ({"words": True}, "words: .*whole"),
        ({"words": 2, "tone": "sad"}, "tone: .*warm, dry"),
        ({"words": 2, "signed": "maybe"}, "signed: .*true or false"),
        ({"words": 2, "tnoe": "dry"}, "no variable is named 'tnoe'; did you mean tone?"),
    ],
)
def test_a_wrong_value_is_named_without_being_repeated(
    written: Path, values: dict[str, Any], said: str
) -> None:
    with pytest.raises(PromptError) as caught:
        read_prompt(written).render(values)
    assert re.match(f"letter@2: {said}", str(caught.value))
    given = [value for value in values.values() if isinstance(value, str)]
    assert not any(value in str(caught.value) for value in given if value not in said)


@pytest.mark.parametrize(
    ("right", "wrong", "line", "said"),
    [
        ("version: 2", "version: two", 2, "version: "),
        ("version: 2\n", "", 1, "version: is required"),
        ("category: writing", "categry: writing", 4, "categry: .*category"),
        ("letter.\n", "{leter}.\n", 10, "template: .*'leter'"),
        ("{words} words", "{word} words", 11, "template: .*'word'.*words"),
        ("Answer as {{", "Answer as {", 12, "template: '{\"text\": ...}' is no variable"),
        ("...}}.", "...}}. {", 12, "template: .*{"),
        ("...}}.", "...}.", 12, "template: .*}"),
        ("{words} words", "{words!r} words", 11, "template: '{words!r}' is no variable"),
        ("signed: {signed}", "signed", 8, "variables.signed: "),
        ("default: dry}", "default: sad}", 6, "variables.tone: default: "),
        ("minimum: 1", "minmum: 1", 7, "variables.words.minmum: unknown field"),
        ("type: boolean", "type: bool", 8, "variables.signed.type: "),
        ("minimum: 1,", "minimum: 900,", 7, "variables.words: minimum"),
        ("type: boolean", "type: boolean, max_length: 3", 8, "variables.signed: max_length"),
        (
            "name: letter",
            "name: note",
            1,
            "name: .*note@2",
        ),
        ("version: 2", "version: 3", 2, "version: .*letter@3"),
        ("version: 2\n", "version: 2\nversion: 3\n", 3, "version: .*line 2"),
    ],
)
def test_each_mistake_is_told_by_file_and_line(
    written: Path, right: str, wrong: str, line: int, said: str
) -> None:
    assert right in GOOD
    written.write_text(GOOD.replace(right, wrong, 1))
    with pytest.raises(PromptError) as caught:
        read_prompt(written)
    first = str(caught.value).splitlines()[0]
    assert re.match(f"{line}: {said}", first.removeprefix(f"{written}:"))


def test_a_file_that_is_no_mapping_is_refused(written: Path) -> None:
    written.write_text("- a\n")
    with pytest.raises(PromptError, match="must be a mapping"):
        read_prompt(written)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_number_is_finite(value: str) -> None:
    half = prompt("Half of {share}.", share={"type": "number"})
    with pytest.raises(PromptError, match=r"share: .*finite"):
        half.render({"share": half.variables["share"].parsed(value)})


def test_the_hash_is_of_what_is_rendered_and_of_nothing_else(written: Path) -> None:
    before = read_prompt(written)
    written.write_text(GOOD.replace("description: Letters.", "description: All letters."))
    assert read_prompt(written).hash == before.hash
    written.write_text(GOOD.replace("a {tone} letter", "one {tone} letter"))
    assert read_prompt(written).hash != before.hash
    written.write_text(GOOD.replace("default: dry", "default: warm"))
    assert read_prompt(written).hash != before.hash


def test_a_library_gives_the_version_that_is_named(written: Path) -> None:
    (written.parent / "letter@10.yaml").write_text(GOOD.replace("version: 2", "version: 10"))
    library = PromptLibrary(written.parent)
    assert library.references() == {"letter": (2, 10)}
    assert library.get("letter@2").version == 2
    assert library.newest("letter").version == 10
    assert [each.version for each in library.all()] == [2, 10]


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("letter", "letter@2"),
        ("letter@02", "version"),
        ("letter@3", "no version 3"),
        ("leter@2", "no prompt is named 'leter'; did you mean letter?"),
        ("../secret@1", "no prompt is named '../secret'"),
        ("zzz", "known: letter"),
    ],
)
def test_a_prompt_that_is_not_there_is_said_with_what_is(written: Path, reference: str, said: str) -> None:
    with pytest.raises(PromptError) as caught:
        PromptLibrary(written.parent).get(reference)
    assert said in str(caught.value)


def test_a_missing_folder_is_an_error(written: Path) -> None:
    for asked in (PromptLibrary.references, PromptLibrary.read):
        with pytest.raises(PromptError, match="no such folder"):
            asked(PromptLibrary(written.parent / "none"))


def test_a_broken_or_stray_file_is_in_the_way_of_no_other(written: Path) -> None:
    folder = written.parent
    (folder / "note.yaml").write_text(GOOD)
    (folder / "letter@3.yaml").write_text("version: 3\n")
    library = PromptLibrary(folder)
    assert library.get("letter@2").version == 2
    prompts, problems = library.read()
    assert [each.reference for each in prompts] == ["letter@2"]
    assert problems[0].startswith(f"{folder}/note.yaml: ")
    assert {each.split(": ")[1] for each in problems[1:]} == {"name", "description", "template"}
    with pytest.raises(PromptError) as caught:
        library.all()
    assert str(caught.value).splitlines() == problems


@pytest.mark.parametrize("stray", ["note.yaml", "note@1.yml", "note@one.yaml"])
def test_a_prompt_whose_file_has_another_name_is_pointed_at(written: Path, stray: str) -> None:
    (written.parent / stray).write_text(GOOD)
    with pytest.raises(PromptError, match=f"there is {stray}"):
        PromptLibrary(written.parent).newest("note")


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("integer", "7", 7),
        ("number", "0.5", 0.5),
        ("boolean", "Yes", True),
        ("text", "7", "7"),
        ("integer", "x", "x"),
    ],
)
def test_values_of_a_command_line_are_read_as_their_type(kind: Any, text: str, value: object) -> None:
    assert Variable(type=kind).parsed(text) == value
