"""Judge prompts: our own for every kind, and upstream's from files."""

import json
from pathlib import Path

import pytest

from eval.judging.judge_prompts import Kind, PromptFileError, Scale, own_prompts, read_prompts

VALUES = {
    "question_1": "Q-one {answer_b}", "question_2": "Q-two", "answer_a_1": "A-one", "answer_a_2": "A-two",
    "answer_b_1": "B-one", "answer_b_2": "B-two", "reference_1": "R-one", "reference_2": "R-two",
}  # fmt: skip


@pytest.mark.parametrize("scale", Scale)
@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("second", [False, True])
def test_our_own_prompts_show_what_a_kind_needs_and_nothing_else(
    scale: Scale, reference: bool, second: bool
) -> None:
    system, user = own_prompts().of(Kind(scale, reference, second)).render(VALUES)
    pair = scale is not Scale.RATING
    shown = {name for name, text in VALUES.items() if text in user["content"]}

    wanted = {"question_1", "answer_a_1"}
    wanted |= {"question_2", "answer_a_2"} if second else set()
    wanted |= {"answer_b_1"} | ({"answer_b_2"} if second else set()) if pair else set()
    wanted |= {"reference_1"} | ({"reference_2"} if second else set()) if reference else set()
    assert shown == wanted
    assert ("reference" in system["content"]) == reference


def test_braces_of_a_question_are_not_filled() -> None:
    _, user = own_prompts().of(Kind(Scale.THREE)).render(VALUES)

    assert "Q-one {answer_b}" in user["content"]


def test_a_file_of_mt_bench_is_read_by_kind(tmp_path: Path) -> None:
    path = tmp_path / "judge_prompts.jsonl"
    rows = [
        ("single", "one", "{question}|{answer}"),
        ("single", "two", "{question_1}|{answer_1}|{question_2}|{answer_2}"),
        ("pairwise", "ref", "{question}|{ref_answer_1}|{answer_a}|{answer_b}"),
    ]
    path.write_text(
        "\n".join(
            json.dumps({"name": name, "type": mode, "system_prompt": name, "prompt_template": user})
            for mode, name, user in rows
        )
    )

    prompts = read_prompts(path)

    one, two, pair = (
        prompts.of(kind).render(VALUES)[1]["content"]
        for kind in (Kind(Scale.RATING), Kind(Scale.RATING, second=True), Kind(Scale.THREE, reference=True))
    )
    assert one == "Q-one {answer_b}|A-one"
    assert two == "Q-one {answer_b}|A-one|Q-two|A-two"
    assert pair == "Q-one {answer_b}|R-one|A-one|B-one"
    with pytest.raises(PromptFileError, match="reference"):
        prompts.of(Kind(Scale.RATING, reference=True))


@pytest.mark.parametrize(
    "template",
    ['["{question_1}/{answer_1}/{answer_2}"]', '"{QUESTION}/{ANSWER_A}/{ANSWER_B}"'],
    ids=["v0.1", "v2.0"],
)
def test_a_configuration_of_arena_hard_is_read(tmp_path: Path, template: str) -> None:
    path = tmp_path / "judge.yaml"
    path.write_text(f"system_prompt: Judge!\nprompt_template: {template}\n")

    system, user = read_prompts(path).of(Kind(Scale.FIVE)).render(VALUES)

    assert system["content"] == "Judge!"
    assert user["content"] == "Q-one {answer_b}/A-one/B-one"


def test_categories_may_have_system_prompts_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "judge.yaml"
    path.write_text(
        "system_prompts: {creative_writing: Muse}\nsystem_prompt: Judge\n"
        'prompt_template: "{ANSWER_A}{ANSWER_B}"'
    )

    prompts = read_prompts(path)

    assert prompts.of(Kind(Scale.FIVE), "creative_writing").system == "Muse"
    assert prompts.of(Kind(Scale.FIVE), "hard_prompt").system == "Judge"


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.yaml", "prompt_template: x", "needs prompt_template and system_prompt"),
        ("a.yaml", "{system_prompt: x, prompt_template: no places}", "no places for the two answers"),
        ("a.yaml", "a: [", r"a\.yaml:1: expected"),
        ("a.jsonl", "{}", "a.jsonl:1: needs name"),
        ("a.jsonl", "", "holds no prompt"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(tmp_path: Path, name: str, text: str, says: str) -> None:
    (tmp_path / name).write_text(text)

    with pytest.raises(PromptFileError, match=says):
        read_prompts(tmp_path / name)


@pytest.mark.parametrize("name", ["prompts.jsonl", "prompts.yaml"])
def test_prompts_with_a_byte_order_mark_and_line_separators_are_read(tmp_path: Path, name: str) -> None:
    text = (
        '{"name": "one", "type": "single", "system_prompt": "Be\u2028fair\u0085.", '
        '"prompt_template": "{answer}"}\r\n'
        if name.endswith("jsonl")
        else 'system_prompt: "Be\u2028fair\u0085."\r\nprompt_template: "{answer_1} {answer_2}"\r\n'
    )
    (tmp_path / name).write_bytes(text.encode("utf-8-sig"))
    [prompt] = read_prompts(tmp_path / name).by_kind.values()
    assert prompt.system == "Be\u2028fair\u0085."
