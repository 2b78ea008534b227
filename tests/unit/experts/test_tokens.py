"""The estimates of prompt tokens: one errs low, the other high, and neither fails on strange messages."""

from hypothesis import given
from hypothesis import strategies as st

from experts.tokens import MOST_PER_MESSAGE, estimate_prompt_tokens, most_prompt_tokens

PROSE = (
    "The harbour was quiet when the first boats came in, and the gulls had not yet noticed them. "
    "Three fishermen stood on the pier, smoking, and watched the water without a word."
)
PROSE_TOKENS = 39
"""What the tokenizers of GPT-2, Qwen2.5 and SmolLM2 make of it, within two tokens."""


def test_prose_is_estimated_a_little_low() -> None:
    estimate = estimate_prompt_tokens([{"role": "user", "content": PROSE}])
    assert 0.75 * PROSE_TOKENS <= estimate <= PROSE_TOKENS + 3


def test_every_message_costs_something_and_long_text_costs_in_proportion() -> None:
    one = estimate_prompt_tokens([{"role": "user", "content": PROSE * 100}])
    assert one / estimate_prompt_tokens([{"role": "user", "content": PROSE}]) * 1.1 >= 99
    assert estimate_prompt_tokens([{"role": "user", "content": ""}] * 10) == 30


def test_blanks_are_not_counted_since_tokenizers_squeeze_them() -> None:
    spaced = estimate_prompt_tokens([{"role": "user", "content": "a" + " \n" * 5000 + "b"}])
    assert spaced == estimate_prompt_tokens([{"role": "user", "content": "a b"}])


def test_parts_and_tool_calls_count_and_pictures_do_not() -> None:
    parts = [
        {"type": "text", "text": PROSE},
        {"type": "image_url", "image_url": {"url": "data:" + "A" * 9000}},
    ]
    told = estimate_prompt_tokens([{"role": "user", "content": PROSE}])
    assert estimate_prompt_tokens([{"role": "user", "content": parts}]) == told
    call = {"function": {"name": "f", "arguments": "x" * 500}}
    assert estimate_prompt_tokens([{"role": "assistant", "content": None, "tool_calls": [call]}]) > 100


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["role", "content", "tool_calls"]),
            st.recursive(st.none() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)),
        )
    )
)
def test_strange_messages_are_counted_not_refused(messages: list[dict[str, object]]) -> None:
    strange = [m for m in messages if not isinstance(m.get("tool_calls"), str)]
    assert estimate_prompt_tokens(strange) >= 3 * len(strange)


def test_what_is_set_aside_is_more_than_prose_has_and_grows_with_everything_that_is_sent() -> None:
    said = [{"role": "user", "content": PROSE}]
    most = most_prompt_tokens(said)
    assert 1.1 * PROSE_TOKENS <= most <= 2 * PROSE_TOKENS
    parts = [{"role": "user", "content": [{"type": "text", "text": PROSE}]}]
    assert most_prompt_tokens(parts) == most
    assert most_prompt_tokens(said, system_prompt=PROSE) > 1.7 * most - MOST_PER_MESSAGE
    assert most_prompt_tokens(said, tools=[{"function": {"name": "f" * 300}}]) > most + 100
    call = {"function": {"name": "f", "arguments": "x" * 300}}
    assert most_prompt_tokens([*said, {"role": "assistant", "tool_calls": [call]}]) > most + 100


@given(st.text())
def test_what_is_set_aside_is_never_below_the_low_estimate(text: str) -> None:
    said = [{"role": "user", "content": text + "\ud800"}]
    assert most_prompt_tokens(said) > estimate_prompt_tokens(said)
