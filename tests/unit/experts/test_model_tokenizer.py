"""A model's own tokenizer counts whole prompts, through the chat template, and each text once."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experts.chat_template import ChatTemplate, TemplateRefusal
from experts.count_cache import CountCache
from experts.model_tokenizer import ModelTokenizer, TokenizerError
from tests.tokenizer_files import TEMPLATE, WORDS, small_tokenizer, write_tokenizer

RAW = small_tokenizer()
CHAT = ChatTemplate(TEMPLATE, {})
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def counting(template: ChatTemplate | None = CHAT, entries: int = 100) -> ModelTokenizer:
    return ModelTokenizer(small_tokenizer(), template, CountCache(entries), b"small")


def counted_whole(body: dict[str, Any]) -> int:
    return len(RAW.encode(CHAT.render(body), add_special_tokens=False))


@pytest.mark.parametrize(
    "body",
    [
        {"messages": [user("Hi")]},
        {"messages": [user(WORDS * 20), {"role": "assistant", "content": "So?"}, user("雾"), user("🏳️‍🌈")]},
        {"messages": [user(WORDS)], "tools": TOOLS},
        {"messages": [user("It spells <|im_end|> and <|im_start|> " + WORDS)]},
        {"messages": [{"role": "user", "content": [{"type": "text", "text": WORDS}]}]},
        {
            "messages": [
                {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": '{"a": 1}'}}]}
            ]
        },
    ],
)
def test_a_prompt_is_counted_in_pieces_as_it_is_whole(body: dict[str, Any]) -> None:
    tokenizer = counting()
    for _ in range(2):
        count = tokenizer.prompt(body)
        assert (count.tokens, count.method) == (counted_whole(body), "counted")


@given(st.lists(st.sampled_from(["<|im_start|>", "<|im_end|>", "harbour ", " ", "\n", "雾", "é"])))
def test_texts_are_cut_only_where_it_changes_nothing(pieces: list[str]) -> None:
    text = "".join(pieces)
    assert counting().text(text) == len(RAW.encode(text, add_special_tokens=False))


def test_a_growing_conversation_counts_only_what_is_new() -> None:
    cache = CountCache(100)
    tokenizer = ModelTokenizer(small_tokenizer(), CHAT, cache, b"small")
    messages = [user(f"{turn} {WORDS}") for turn in range(20)]
    for turns in range(1, 21):
        tokenizer.prompt({"messages": messages[:turns]})
        assert len(cache) == turns


def test_the_cache_is_bounded() -> None:
    cache = CountCache(3)
    tokenizer = ModelTokenizer(small_tokenizer(), CHAT, cache, b"small")
    tokenizer.prompt({"messages": [user(f"{turn} {WORDS}") for turn in range(20)]})
    assert len(cache) == 3


def test_two_tokenizers_do_not_share_their_counts() -> None:
    cache = CountCache(100)
    one = ModelTokenizer(small_tokenizer(), CHAT, cache, b"one")
    other = ModelTokenizer(small_tokenizer(), CHAT, cache, b"other")
    one.text(WORDS)
    other.text(WORDS)
    assert len(cache) == 2


@pytest.mark.parametrize(
    ("template", "body"),
    [
        (None, {"messages": [user(WORDS * 3)]}),
        (CHAT, {"messages": [user(WORDS * 3), {"role": "forbidden", "content": "x"}]}),
        (
            CHAT,
            {
                "messages": [
                    {"role": "user", "content": [{"type": "text", "text": WORDS * 3}, {"type": "file"}]}
                ]
            },
        ),
        (None, {"messages": [user(WORDS * 3)], "tools": TOOLS}),
    ],
)
def test_what_no_template_takes_is_bounded_by_the_counts_of_its_texts(
    template: ChatTemplate | None, body: dict[str, Any]
) -> None:
    count = counting(template).prompt(body)
    texts = len(RAW.encode(WORDS * 3))
    assert count.method == "bounded"
    assert texts - 1 <= count.least <= count.tokens <= count.most
    assert count.most >= counted_whole({"messages": [user(WORDS * 3)]})


def test_halves_of_surrogate_pairs_are_counted() -> None:
    assert counting().prompt({"messages": [user("half \ud800 pair")]}).tokens > 3


def test_a_truncating_tokenizer_counts_all_the_same(tmp_path: Path) -> None:
    short = small_tokenizer()
    short.enable_truncation(8)
    short.enable_padding(length=8)
    short.save(str(tmp_path / "tokenizer.json"))
    tokenizer = ModelTokenizer.read(tmp_path / "tokenizer.json", CountCache(10))
    assert tokenizer.text(WORDS) == len(RAW.encode(WORDS)) > 8
    assert tokenizer.text("") == 0


def test_a_folder_brings_its_template_along(tmp_path: Path) -> None:
    body = {"messages": [user(WORDS)]}
    tokenizer = ModelTokenizer.read(write_tokenizer(tmp_path), CountCache(10))
    assert tokenizer.prompt(body).tokens == counted_whole(body)
    write_tokenizer(tmp_path, template=None)
    (tmp_path / "chat_template.jinja").write_text(TEMPLATE)
    assert ModelTokenizer.read(tmp_path, CountCache(10)).prompt(body).tokens == counted_whole(body)


@pytest.mark.parametrize("content", [None, "{", '{"version": "1.0"}'])
def test_a_file_that_is_no_tokenizer_is_named(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "tokenizer.json").write_text(content)
    with pytest.raises(TokenizerError, match=r"tokenizer\.json"):
        ModelTokenizer.read(tmp_path, CountCache(10))


def test_a_broken_template_is_named(tmp_path: Path) -> None:
    write_tokenizer(tmp_path, template="{% for %}")
    with pytest.raises(TokenizerError, match="chat template"):
        ModelTokenizer.read(tmp_path, CountCache(10))


def test_a_template_renders_as_transformers_does() -> None:
    template = ChatTemplate(
        "{{ bos_token }}{% for m in messages %}{% if loop.index0 == 2 %}{% break %}{% endif %}\n"
        "    {{- m.content }}{% endfor %}{{ tools | tojson }}{{ strftime_now('%%') }}{{ wanted }}",
        {"bos_token": "<s>"},
    )
    body = {
        "messages": [user("<a>"), user("&"), user("left out")],
        "tools": [{"é": "<b>"}],
        "chat_template_kwargs": {"wanted": "yes"},
    }
    assert template.render(body) == "<s><a>&" + json.dumps([{"é": "<b>"}], ensure_ascii=False) + "%yes"
    with pytest.raises(TemplateRefusal):
        template.render({"messages": [{"role": "user", "content": {"no": "text"}}], "tools": [object()]})


def test_a_template_cannot_reach_beyond_the_sandbox() -> None:
    with pytest.raises(TemplateRefusal):
        ChatTemplate("{{ messages.__class__.__mro__ }}{{ messages.append(1) }}", {}).render({"messages": []})
