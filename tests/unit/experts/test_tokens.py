"""Bounds and estimates of tokens without a tokenizer hold for every script, and for strange messages."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from experts.tokens import (
    CHUNK,
    MOST_PER_MESSAGE,
    TEMPLATE,
    prompt_bounds,
    prompt_length,
    reserved_tokens,
    text_bounds,
)

PROSE = (
    "The harbour was quiet when the first boats came in, and the gulls had not yet noticed them. "
    "Three fishermen stood on the pier, smoking, and watched the water without a word."
)
PROSE_TOKENS = 39
"""What the tokenizers of GPT-2, Qwen2.5 and SmolLM2 make of it, within two tokens."""

SCRIPTS = {
    "english": PROSE,
    "german": "Die Donaudampfschifffahrtsgesellschaft übergab gestern ihre größten Schlüssel. " * 3,
    "chinese": "港口办公室星期一开门很晚，因为从岛上来的渡船被大雾耽搁了。" * 3,
    "japanese": "月曜日、島からのフェリーが霧で遅れたため、港の事務所は遅く開いた。" * 3,
    "thai": "สำนักงานท่าเรือเปิดสายในวันจันทร์เพราะเรือข้ามฟากล่าช้า" * 3,
    "arabic": "فتح مكتب الميناء متأخرا يوم الاثنين لأن العبارة تأخرت بسبب الضباب. " * 3,
    "hindi": "क़लम और ज़मीन के बारे में सोमवार को बंदरगाह का कार्यालय देर से खुला। " * 3,
    "cyrillic": "Контора порта открылась в понедельник поздно, паром задержал туман. " * 3,
    "hebrew": "\ufb2a\ufb2b\ufb2c\ufb2d" * 20,
    "emoji": "👩‍👩‍👧‍👦🏳️‍🌈😀🎉" * 20,
    "code": "def f(x: int) -> list[int]:\n    return [y ** 2 for y in range(x) if y % 3 == 0]\n" * 3,
    "base64": "iVBORw0KGgoAAAANSUhEUgAAAAUA9mQkPAAEBAQ+FhZmY3NDQ0NDA" * 5,
    "blanks": "a" + " \n\t" * 300 + "b",
    "rules": "=" * 500,
    "rare": "\U0001d15e\U0001d160\ufdfa\u1f82\ua66e\U0001f9ff\U00013000" * 20,
}


def byte_level(normalizer: Any = None) -> Tokenizer:
    """A byte-level BPE tokenizer with a vocabulary of some English words."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        [PROSE] * 20, trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
    )
    return tokenizer


TOKENIZERS = [
    byte_level(),
    byte_level(normalizers.NFC()),
    byte_level(normalizers.NFKC()),
    byte_level(normalizers.NFKD()),
]


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_bounds_hold_in_every_script(script: str) -> None:
    bounds = text_bounds(SCRIPTS[script])
    assert bounds.least <= bounds.likely <= bounds.most
    for tokenizer in TOKENIZERS:
        assert bounds.least <= len(tokenizer.encode(SCRIPTS[script])) <= bounds.most


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_tokenizer_makes_more_of_a_text_than_the_upper_bound(text: str) -> None:
    most = text_bounds(text).most
    assert all(len(tokenizer.encode(text)) <= most for tokenizer in TOKENIZERS)


@given(st.text(st.characters(categories=["Cs", "L"])))
def test_halves_of_surrogate_pairs_are_counted(text: str) -> None:
    assert text_bounds(text).most >= len(text)


def test_prose_is_estimated_closely_and_budgets_reserve_more() -> None:
    assert PROSE_TOKENS * 0.8 <= text_bounds(PROSE).likely <= PROSE_TOKENS * 1.25
    assert 1.1 * PROSE_TOKENS <= reserved_tokens({"messages": [said(PROSE)]}) <= 2 * PROSE_TOKENS


def test_a_long_text_is_bounded_in_pieces_as_it_is_whole() -> None:
    text = (PROSE + " ") * (2 * CHUNK // len(PROSE))
    pieces, words = text_bounds(text), len(text.split())
    assert words - 5 <= pieces.least <= words + 5
    assert pieces.most <= len(text) + 5


def test_everything_that_is_sent_adds_to_the_bounds() -> None:
    plain = prompt_bounds({"messages": [said(PROSE)]})
    for more in (
        {"messages": [said(PROSE), said("")]},
        {"messages": [said(PROSE)], "tools": [{"type": "function", "function": {"name": "f" * 300}}]},
        {"messages": [said(PROSE)], "functions": [{"name": "f" * 300}]},
        {"messages": [{**said(PROSE), "tool_calls": [{"function": {"arguments": "{}"}}]}]},
        {"messages": [{**said(PROSE), "reasoning_content": PROSE}]},
    ):
        longer = prompt_bounds(more)
        assert longer.most > plain.most
        assert longer.likely > plain.likely
    assert prompt_bounds({"messages": [said(PROSE)]}, system_prompt=PROSE).least > 1.9 * plain.least
    parts = [{"type": "text", "text": PROSE}]
    assert prompt_bounds({"messages": [{"role": "user", "content": parts}]}) == plain


def test_pictures_count_by_an_allowance_and_not_by_their_bytes() -> None:
    small, large = (
        [{"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * size}}]
        for size in (10, 100_000)
    )
    bounds = prompt_bounds({"messages": [{"role": "user", "content": small}]})
    assert bounds == prompt_bounds({"messages": [{"role": "user", "content": large}]})
    assert bounds.most > TEMPLATE.most + MOST_PER_MESSAGE + 1_000


@given(
    st.lists(
        st.none()
        | st.dictionaries(
            st.sampled_from(["role", "content", "tool_calls"]),
            st.recursive(st.none() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3)),
        )
    )
)
def test_strange_messages_are_counted_not_refused(messages: list[Any]) -> None:
    bounds = prompt_bounds({"messages": messages})
    assert bounds.least >= len(messages)
    assert prompt_length({"messages": messages}) >= 0


def said(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}
