"""What the seam costs a routed request, and what it does with bodies of every kind."""

import statistics
import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from app.serving.prompt_files import PromptFiles
from app.serving.prompting import Prompting
from app.serving.request_context import NOTHING_USED, RequestContext
from experts.client import ExpertClient
from experts.fake import run_fake_expert
from experts.registry import Expert
from experts.tokens import reserved_tokens
from prompts.identities import (
    MAX_TOKENS,
    Identities,
    Identity,
    IdentityEffect,
    Measurement,
    Per,
    identity_messages,
    new_identities,
)
from prompts.mixture.build import MAX_POOL
from prompts.mixture.demos import Demo
from prompts.mixture.mixture import Mixture, Region
from prompts.mixture.pool import DemoPool
from routers.request import Turn, Vector

REGIONS, DIMENSION, DEMOS = 10, 384, 8
CHOICE_MS = 0.2
"""What choosing the region may add to a routed request."""


def mixture() -> Mixture:
    rows = np.random.default_rng(0).normal(size=(REGIONS, DIMENSION))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    demos = tuple(Demo(f"input {number} " * 10, f"output {number}") for number in range(DEMOS))
    regions = tuple(Region(row.astype(np.float32), 1.0, "Answer shortly.", demos) for row in rows)
    return Mixture("m", "small", "e", "1", regions)


def picking() -> Mixture:
    """Its only region shows each request three demos of a full pool, each as long as its number says."""
    rows = np.random.default_rng(1).normal(size=(MAX_POOL, DIMENSION)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    pool = DemoPool(tuple(Demo("x" * number, "y") for number in range(1, MAX_POOL + 1)), rows)
    return Mixture("m", "small", "e", "1", (Region(rows[0], 2.0, "Be brief.", nearest=3),), pool=pool)


async def never(turns: object) -> Vector:
    raise AssertionError("the embedding was there")


def expert(endpoint: str, **facts: Any) -> Expert:
    return Expert(
        **{"name": "m", "endpoint": endpoint, "model": "x", "params_b": 1, "context_length": 4096, **facts}
    )


def test_choosing_a_region_adds_next_to_nothing() -> None:
    made = mixture()
    embeddings = np.stack([region.centroid for region in made.regions])
    passed = []
    for turn in range(300):
        started = time.perf_counter()
        choice = made.choose(embeddings[turn % REGIONS])
        passed.append((time.perf_counter() - started) * 1000)
        assert choice.region == turn % REGIONS
    assert statistics.median(passed) <= CHOICE_MS


def test_picking_demos_of_a_full_pool_adds_next_to_nothing() -> None:
    made = picking()
    assert made.pool is not None
    passed = []
    for row in made.pool.embeddings[:300]:
        started = time.perf_counter()
        choice = made.choose(row)
        passed.append((time.perf_counter() - started) * 1000)
        assert len(choice.nearest) == 3
    assert statistics.median(passed) <= CHOICE_MS


async def test_the_routers_own_embedding_is_used_and_the_body_is_left_alone() -> None:
    made = mixture()
    body: dict[str, Any] = {
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}],
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "n": 1,
    }
    before = repr(body)
    with run_fake_expert(name="small") as fake:
        async with ExpertClient() as client:
            prompting = Prompting(client, never, PromptFiles({"m": made}))
            context = RequestContext((), made.regions[3].centroid)
            await prompting.complete(expert(fake.endpoint), body, context)
        sent = fake.log.last
    assert repr(body) == before
    assert sent["tools"] == body["tools"]
    assert sent["messages"][-1] == body["messages"][0]
    assert len(sent["messages"]) == 1 + 2 * DEMOS + 1
    used = context.use_of("m").mixture
    assert used is not None
    assert (used.region, used.dropped) == (3, None)
    assert context.fresh().use_of("m") is NOTHING_USED


async def test_what_routing_did_not_read_is_embedded_once() -> None:
    made = mixture()
    read: list[object] = []

    async def embed(turns: object) -> Vector:
        read.append(turns)
        return made.regions[5].centroid

    turns = (Turn("user", "Hi"),)
    with run_fake_expert(name="small") as fake:
        async with ExpertClient() as client:
            prompting = Prompting(client, embed, PromptFiles({"m": made}))
            context = RequestContext(turns)
            for _ in range(2):
                async with prompting.stream(
                    expert(fake.endpoint), {"messages": [{"role": "user", "content": "Hi"}]}, context
                ) as stream:
                    async for _ in stream:
                        pass
    assert read == [turns]
    used = context.use_of("m").mixture
    assert used is not None
    assert used.region == 5


@pytest.mark.parametrize(
    ("context_length", "sampling", "dropped"),
    [
        (4096, {}, None),
        (1200, {}, None),
        (600, {}, "demos"),
        (270, {}, "prompt"),
        (1200, {"max_tokens": 900}, None),
        (700, {"max_tokens": 900}, "demos"),
    ],
)
async def test_what_does_not_fit_is_left_out_by_a_cautious_estimate(
    context_length: int, sampling: dict[str, Any], dropped: str | None
) -> None:
    made = mixture()
    body = {"messages": [{"role": "user", "content": "Hi"}]}
    with run_fake_expert(name="small") as fake:
        async with ExpertClient() as client:
            context = RequestContext((), made.regions[0].centroid)
            asked = expert(fake.endpoint, context_length=context_length, sampling=sampling)
            await Prompting(client, never, PromptFiles({"m": made})).complete(asked, body, context)
    used = context.use_of("m").mixture
    assert used is not None
    assert used.dropped == dropped


async def test_what_may_stand_in_front_is_counted_by_the_request() -> None:
    known = new_identities("small", [Identity(category="coding", text="You are a compiler. " * 9)])
    made = mixture()
    regions = (replace(made.regions[0], demos=made.regions[0].demos[:1]), *made.regions[1:])
    files = PromptFiles({"m": replace(made, regions=regions)}, {"i": with_kept(known), "w": with_kept(known)})
    source = {"base": "small", "identity": {"file": "i.yaml"}}
    by_category = expert("http://127.0.0.1:1/v1", name="i", **source)
    by_request = expert(
        "http://127.0.0.1:1/v1", name="w", base="small", identity={"file": "i.yaml", "per": "request"}
    )
    mixed = expert("http://127.0.0.1:1/v1")
    prompting = Prompting(ExpertClient(), never, files, [mixed, by_category, by_request])
    body = {"messages": [{"role": "user", "content": "Hi"}]}
    said = reserved_tokens(body)

    async def added(asked: Expert, context: RequestContext, **how: Any) -> int:
        return (await prompting.prompt_tokens(asked, body, context, **how)).asking - said

    one_demo = await added(mixed, RequestContext(embedding=made.regions[0].centroid))
    eight_demos = await added(mixed, RequestContext(embedding=made.regions[1].centroid))
    assert 50 < one_demo < eight_demos / 4
    assert await added(mixed, RequestContext(embedding=-made.regions[0].centroid * 9)) == 0
    assert await added(mixed, RequestContext()) == eight_demos
    assert await added(mixed, RequestContext(), plain=True) == 0
    # What would be dropped is not counted.
    assert 0 < await added(mixed, RequestContext(), room=4096 - eight_demos + 1) < eight_demos
    assert await added(mixed, RequestContext(), room=4096) == 0
    assert await added(by_category, RequestContext(category="coding")) > 60
    assert (
        await added(by_category, RequestContext(category="law"))
        == await added(by_category, RequestContext())
        == 0
    )
    turns = (Turn("user", "Hi"),)
    assert (await prompting.prompt_tokens(by_request, body, RequestContext(turns))).writing is None
    most = await prompting.prompt_tokens(by_request, body, RequestContext(turns, category="coding"))
    assert most.asking >= said + MAX_TOKENS
    assert most.writing == reserved_tokens({"messages": identity_messages("Hi")})


async def test_picked_demos_are_counted_by_the_request_and_by_the_longest_without_one() -> None:
    made = picking()
    assert made.pool is not None
    prompting = Prompting(ExpertClient(), never, PromptFiles({"m": made}))
    asked = expert("http://127.0.0.1:1/v1")
    body = {"messages": [{"role": "user", "content": "Hi"}]}
    said = reserved_tokens(body)

    async def added(context: RequestContext, **how: Any) -> int:
        return (await prompting.prompt_tokens(asked, body, context, **how)).asking - said

    one, other = (RequestContext(embedding=made.pool.embeddings[each]) for each in (10, 900))
    assert 0 < await added(one) != await added(other) > 0
    most = await added(RequestContext())
    assert max(await added(one), await added(other)) <= most
    # Where the longest would be left out, shorter ones may still be shown.
    assert await added(RequestContext(), room=4096 - most) > await added(one, room=4096 - 40)


async def test_no_more_is_sent_than_was_counted_before_the_request_was_read() -> None:
    """Whichever demos are picked, in whatever script."""
    rows = np.eye(4, DIMENSION, dtype=np.float32)
    texts = ("x" * 150, "y" * 140, "\u6771" * 100, "\u4eac" * 90)
    pool = DemoPool(tuple(Demo(text, "z") for text in texts), rows)
    made = Mixture("m", "small", "e", "1", (Region(rows[0], 2.0, nearest=2),), pool=pool)
    body = {"messages": [{"role": "user", "content": "Hi"}]}
    with run_fake_expert(name="small") as fake:
        async with ExpertClient() as client:
            prompting = Prompting(client, never, PromptFiles({"m": made}))
            asked = expert(fake.endpoint)
            most = (await prompting.prompt_tokens(asked, body, RequestContext())).asking
            for towards in (rows[0] + rows[1], rows[2] + rows[3], rows[1] + rows[2]):
                context = RequestContext((), (towards / np.sqrt(2)).astype(np.float32))
                await prompting.complete(asked, body, context)
                assert reserved_tokens(fake.log.last) <= most


def with_kept(known: Identities) -> Identities:
    variants: tuple[Per, ...] = ("category", "request")
    for per in variants:
        kept = IdentityEffect(
            category="coding",
            prompts=9,
            without=0,
            with_identity=1,
            difference=1,
            low=0.5,
            high=1,
            kept=True,
        )
        known = known.with_measurement(
            Measurement(per=per, of=known.subject(per), suite="s", confidence=0.95, results=(kept,))
        )
    return known


async def test_no_more_is_sent_than_was_counted() -> None:
    made = mixture()
    body = {"messages": [{"role": "system", "content": "Mine."}, {"role": "user", "content": "Hi"}]}
    with run_fake_expert(name="small") as fake:
        async with ExpertClient() as client:
            prompting = Prompting(client, never, PromptFiles({"m": made}))
            for length in range(200, 1_000, 50):
                asked = expert(fake.endpoint, context_length=length, system_prompt="Base.")
                context = RequestContext((), made.regions[0].centroid)
                await prompting.complete(asked, body, context)
                counted = (await prompting.prompt_tokens(asked, body, context)).asking
                assert reserved_tokens(fake.log.last) <= counted
