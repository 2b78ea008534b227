"""Prompts are counted only where bounds leave it open, as exactly as can be had, and in bounded time."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from base.token_count import TokenCount
from experts.count_cache import CountCache
from experts.errors import ExpertRejected, ExpertUnavailable
from experts.expert import Expert
from experts.model_tokenizer import ModelTokenizer
from experts.token_counter import MIN_ANSWER_TOKENS, CounterLimits, TokenCounter
from experts.tokens import prompt_bounds
from tests.tokenizer_files import WORDS, write_tokenizer

CHINESE = "港口办公室星期一开门很晚，因为从岛上来的渡船被大雾耽搁了。"


class Server:
    """Counts the characters of messages, as its tokenizer has one for each."""

    def __init__(self, *, fails: Exception | None = None, delay_s: float = 0.0, absent: bool = False) -> None:
        self.fails = fails
        self.delay_s = delay_s
        self.absent = absent
        self.asked = 0

    async def tokenize(self, expert: Expert, body: Mapping[str, Any]) -> int | None:
        self.asked += 1
        await asyncio.sleep(self.delay_s)
        if self.fails is not None:
            raise self.fails
        return None if self.absent else sum(len(each["content"]) for each in body["messages"])


def expert(**facts: Any) -> Expert:
    known = {"name": "a", "endpoint": "http://h/v1", "model": "m", "params_b": 1, "context_length": 1000}
    return Expert(**{**known, **facts})


def body(*texts: str, **fields: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text} for text in texts], **fields}


def bounded(document: dict[str, Any]) -> TokenCount:
    return prompt_bounds(document).count


def counter(server: Server | None, **limits: Any) -> TokenCounter:
    return TokenCounter({}, server, CountCache(100), CounterLimits(**limits))


async def test_what_the_bounds_settle_is_not_counted() -> None:
    server = Server()
    tokens = counter(server)
    for document in (body("Hi"), body("word " * 1_001)):
        assert await tokens.fit(expert(), document, MIN_ANSWER_TOKENS) == bounded(document)
    assert server.asked == 0


async def test_what_they_leave_open_is_asked_of_the_server_once() -> None:
    server = Server()
    tokens = counter(server)
    document = body(CHINESE * 20)
    for _ in range(3):
        assert await tokens.fit(expert(), document, MIN_ANSWER_TOKENS) == TokenCount.counted(
            len(CHINESE) * 20
        )
    assert server.asked == 1
    assert await tokens.count(expert(), body("Hi")) == TokenCount.counted(2)


async def test_a_large_cap_leaves_a_short_prompt_open() -> None:
    server = Server()
    count = await counter(server).fit(expert(), body("Hi"), 8_192)
    assert count == TokenCount.counted(2)


@pytest.mark.parametrize(
    ("server", "facts"),
    [
        (Server(absent=True), {}),
        (Server(fails=ExpertUnavailable("a", "not served")), {}),
        (Server(fails=ExpertRejected("a", "no", error={})), {}),
        (Server(delay_s=5), {}),
        (Server(), {"tokenize": False}),
        (Server(), {"provider": "litellm", "model": "anthropic/m"}),
        (None, {}),
    ],
)
async def test_where_nobody_can_count_the_bounds_stand_and_nobody_is_asked_again(
    server: Server | None, facts: dict[str, Any]
) -> None:
    tokens, document = counter(server, ask_s=0.05), body(CHINESE * 20)
    for _ in range(3):
        assert await tokens.fit(expert(**facts), document, MIN_ANSWER_TOKENS) == bounded(document)
    assert server is None or server.asked == (0 if facts else 1)


async def test_a_server_is_asked_again_after_a_rest() -> None:
    server = Server(absent=True)
    tokens, document = counter(server, cooldown_s=0.0), body(CHINESE * 20)
    await tokens.count(expert(), document)
    server.absent = False
    assert (await tokens.count(expert(), document)).method == "counted"


async def test_one_refused_conversation_does_not_stop_others() -> None:
    server = Server()
    tokens = counter(server)
    await tokens.count(expert(), body("one"))
    server.fails = ExpertRejected("a", "the template refuses it", error={})
    assert (await tokens.count(expert(), body("two"))).method == "bounded"
    server.fails = None
    assert (await tokens.count(expert(), body("three"))).method == "counted"


async def test_pictures_are_never_counted() -> None:
    server = Server()
    document = {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}
    assert (await counter(server).count(expert(), document)).method == "bounded"
    assert server.asked == 0


async def test_only_so_many_servers_are_asked_at_once() -> None:
    server = Server(delay_s=0.05)
    tokens = counter(server, asks=2)
    counts = await asyncio.gather(*(tokens.count(expert(), body(f"{number}")) for number in range(5)))
    assert [count.method for count in counts].count("counted") == server.asked == 2


async def test_what_a_server_reported_bounds_the_conversations_next_request() -> None:
    tokens = counter(None)
    begun = [CHINESE * 20]
    await tokens.learn(expert(), body(*begun), 430)
    assert await tokens.count(expert(), body(*begun)) == TokenCount.counted(430)
    longer = body(*begun, "Yes.", "And then?")
    count = await tokens.fit(expert(), longer, MIN_ANSWER_TOKENS)
    assert count.method == "bounded"
    assert 430 < count.tokens < count.most < 700 < bounded(longer).most
    for other in (expert(model="n"), expert(system_prompt="Be brief.")):
        assert (await tokens.count(other, body(*begun))).method == "bounded"
    with_tools = body(*begun, tools=[{"type": "function"}])
    assert (await tokens.count(expert(), with_tools)).method == "bounded"


async def test_the_tokenizer_of_the_registry_counts_with_the_system_prompt(tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path / "model")
    server = Server()
    plain, prompted = expert(tokenizer=folder), expert(name="b", tokenizer=folder, system_prompt=WORDS)
    tokens = TokenCounter.of([plain, prompted, expert(name="c")], server)
    alone = ModelTokenizer.read(folder, CountCache(10))
    document = body(WORDS, tools=[{"type": "function", "function": {"name": "f"}}])
    assert await tokens.count(plain, document) == alone.prompt(document)
    system = {"role": "system", "content": WORDS}
    in_front = {**document, "messages": [system, *document["messages"]]}
    assert await tokens.count(prompted, document) == alone.prompt(in_front)
    assert await tokens.reserve(plain, document) == alone.prompt(document).tokens
    assert server.asked == 0


async def test_the_tokenizer_of_a_local_model_is_found_in_its_folder(tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path / "model")
    local = {"source": str(folder), "port": 8101, "max_model_len": 1000}
    tokens = TokenCounter.of([expert(endpoint=None, local=local)])
    assert (await tokens.count(expert(), body("Hi"))).method == "counted"
    (folder / "tokenizer.json").write_text("{")
    assert not TokenCounter.of([expert(endpoint=None, local=local)]).tokenizers


async def test_a_long_text_does_not_keep_other_requests_waiting(tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path / "model")
    large = expert(tokenizer=folder, context_length=10**6)
    tokens = TokenCounter.of([large])
    document = body((WORDS + " ") * (10**6 // len(WORDS)))
    turns, done = 0, asyncio.Event()

    async def others() -> None:
        nonlocal turns
        while not done.is_set():
            await asyncio.sleep(0.001)
            turns += 1

    waiting = asyncio.create_task(others())
    count = await tokens.count(large, document)
    done.set()
    await waiting
    tokens.close()
    assert count.method == "counted"
    assert turns >= 5  # on the event loop it would be one or two


async def test_more_long_texts_than_may_wait_are_bounded(tmp_path: Path) -> None:
    folder = write_tokenizer(tmp_path / "model")
    one = expert(tokenizer=folder, context_length=10**6)
    tokens = TokenCounter.of([one], None, CounterLimits(queue=1))
    documents = [body((WORDS + " ") * 3_000 + str(number)) for number in range(4)]
    counts = await asyncio.gather(*(tokens.count(one, each) for each in documents))
    tokens.close()
    assert {count.method for count in counts} == {"counted", "bounded"}
    exact = next(count.tokens for count in counts if count.method == "counted")
    assert all(count.least <= exact <= count.most for count in counts)
