"""Templates around a request are taken off; what stands within it stays."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prompts.seeds import load_seeds
from routers.request_templates import without_template
from tests.growth import grows_no_faster_than_linear

ASK = "Why is the sky blue at noon?"


@pytest.mark.parametrize(
    "template",
    [
        "Question: %s\nAnswer:",
        "### Instruction:\n%s\n\n### Response:\n",
        "**Question:** %s\n\n**Answer:**",
        "<|im_start|>user\n%s<|im_end|>\n<|im_start|>assistant\n",
        "<s>[INST] %s [/INST]",
        "<start_of_turn>user\n%s<end_of_turn>\n<start_of_turn>model\n",
        "```\n%s\n```",
        "<input>\n%s\n</input>",
        '{"prompt": "%s"}',
        "You are a helpful assistant. Be brief.\n\nQuestion: %s",
        "Hello there! %s",
        "Could you please help me with this? %s Thanks a lot in advance!",
        "%s\n\nThank you",
    ],
)
def test_a_request_is_read_without_its_template(template: str) -> None:
    assert without_template(template.replace("%s", ASK)) == ASK


@pytest.mark.parametrize(
    "text",
    [
        "Thank you so much!",
        "Hi, how are you?",
        "```python\nprint(1)\n```",
        '{"name": "Ann", "prompt": "x"}',
        "[1, 2]",
        "{}",
        "What does [INST] mean in a prompt?",
        "You are a pirate. Tell me about your ship.",
        "You are a helpful assistant.",
        "Translate: thank you very much",
        "Question: ",
        "<task>first</task> and then <task>second</task>",
        "",
    ],
)
def test_other_text_stays(text: str) -> None:
    assert without_template(text) in (text, text.strip())


@given(st.text(max_size=60))
def test_what_is_left_is_part_of_the_text_and_not_empty(text: str) -> None:
    found = without_template(text)
    assert found in text
    assert bool(found.strip()) == bool(text.strip())


def test_few_of_our_prompts_are_touched() -> None:
    prompts = [seed.prompt for seed in (*load_seeds("fit"), *load_seeds("test"))]
    changed = [prompt for prompt in prompts if without_template(prompt) != prompt.strip()]
    assert len(changed) < 0.02 * len(prompts)


@pytest.mark.parametrize("piece", ["\n", "<s>", "Q: ", "hi ", "```\n", " \n ", "[INST] user ", "{"])
def test_time_grows_with_the_length(piece: str) -> None:
    assert grows_no_faster_than_linear(without_template, piece * 50_000)


def test_what_only_looks_like_a_template_is_read_to_its_end() -> None:
    """Spaces that could belong to either mark beside them once made this exponential: it did not end."""
    text = "x" + ("<s>" + " " * 50) * 5_000 + "x"
    assert without_template(text) == text
