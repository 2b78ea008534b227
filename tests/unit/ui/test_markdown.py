"""What becomes of a model's Markdown before it is shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ui.markdown import plain, readable_answer


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("It costs $5.", "It costs \\$5."),
        ("Between $5 and $10.", "Between \\$5 and \\$10."),
        ("So $x^2 + 1$ holds.", "So $x^2 + 1$ holds."),
        ("$$\\int x$$", "$$\\int x$$"),
        (r"Here \(a+b\) is", "Here $a+b$ is"),
        ("\\[ a = b \\]", "\n$$\na = b\n$$\n"),
        ("![cat](http://x/?q=secret)", "[cat](http://x/?q=secret)"),
        ("`echo $HOME ![x](y)`", "`echo $HOME ![x](y)`"),
        ("```sh\necho $A $B\n```", "```sh\necho $A $B\n```"),
        ("```sh\necho $A $B", "```sh\necho $A $B"),
        ("~~~\n$1\n~~~\nfor $1", "~~~\n$1\n~~~\nfor \\$1"),
        ("Already \\$5", "Already \\$5"),
    ],
)
def test_mathematics_money_images_and_code(said: str, shown: str) -> None:
    assert readable_answer(said) == shown


@given(st.text())
def test_any_text_can_be_shown(said: str) -> None:
    readable_answer(said)


@given(st.text(alphabet="abc \n`$![]()\\", max_size=60))
def test_code_in_fences_is_never_changed(code: str) -> None:
    fenced = f"```\n{code.replace('`', '')}\n```"
    assert readable_answer(f"Before\n\n{fenced}\n") == f"Before\n\n{fenced}\n"


def test_plain_text_has_no_markup_left() -> None:
    assert plain("**a** [b](c) :red[d] $e$") == r"\*\*a\*\* \[b\]\(c\) \:red\[d\] \$e\$"
