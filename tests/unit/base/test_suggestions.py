"""What a message says of a name that is not known."""

from base.suggestions import close_names, listed, suggestion


def test_likely_names_are_suggested_and_others_listed() -> None:
    known = ["coder", "codex", "talker"]
    assert suggestion("codr", known) == "did you mean coder or codex?"
    assert suggestion("gpt-4", known) == "known: coder, codex, talker"
    assert suggestion("gpt-4", []) == "known: none"


def test_how_like_and_how_many_can_be_set() -> None:
    assert close_names("codr", ["coder", "codex"], most=1) == ["coder"]
    assert close_names("codr", ["coder", "codex"], likeness=0.99) == []


def test_a_long_list_is_cut() -> None:
    assert listed([str(number) for number in range(21)]).endswith("18, 19, …")
