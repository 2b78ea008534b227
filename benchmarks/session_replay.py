"""Replays generated agent conversations, and counts unsafe switches and what staying with an expert costs.

    python -m benchmarks.session_replay [--conversations 1000] [--page docs/explanation/sessions.md]

The same requests are routed in three ways: each by itself; by a name that the client gives the conversation,
with the gain rule alone; and as the service does, by the messages, without any name. The last one runs the
service's own objects (RoutingService, Conversations, the recorder and a database), which are restarted every
2,000 requests. Experts do not run: the conversations say what is answered. The chosen expert is down in 2 %
of requests.

Unsafe is a request that reaches another expert than the one whose tool call is open, or that holds reasoning
which another one has signed. Exit code 1 when the service's own way has any.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random
from typing import Any, Protocol
from uuid import uuid4

from app.serving.answer_reader import AnswerReader
from app.serving.chat_body import ChatBody, ChatRequest
from app.serving.conversations import Conversations
from app.serving.exploration import Exploration
from app.serving.provider_state import without_foreign_state
from app.serving.request_context import RequestContext
from app.serving.request_parsing import Names, routing_request
from app.serving.routing import Routers, RoutingService, expert_card
from app.storage.database import Database
from app.storage.recorder import Recorder
from app.storage.rows import DecisionRow, NewRow
from app.storage.schema import ensure
from benchmarks.agent_conversations import MAKER, Asks, Conversation, Message, Step, agent_conversations
from benchmarks.measured_pages import PageError, fill_page
from experts.expert_replies import StreamEvent
from experts.registry import Registry, load_registry
from experts.token_counter import TokenCounter
from routers.decide import fall_back
from routers.decision import Decision, Reason
from routers.router import Router
from routers.state_cache import CachedStates

PROJECT = Path(__file__).resolve().parents[1]
ACTIVE = 40
"""Conversations that go on at the same time."""
RESTART_EVERY = 2_000
"""Requests after which the service's memory is gone."""
CACHE_S = 3_600.0
"""How long an expert's server is taken to keep the prefix of a conversation."""
CHARACTERS_PER_TOKEN = 4
TEXTS = 100_000
"""Texts that are encoded once for all ways of routing."""
BEGIN, END = "<!-- measured: sessions -->", "<!-- end -->"


@dataclass(slots=True)
class Tally:
    """What one way of routing came to. Tokens are a quarter of the characters; `read` are those of prompts
    that no prefix cache held, `reread` those of them that the expert before had; `work` is active parameters
    (billions) times tokens read and written."""

    way: str
    requests: int = 0
    open_calls: int = 0
    with_state: int = 0
    switches: int = 0
    between: int = 0
    foreign: int = 0
    refused: int = 0
    read: float = 0.0
    reread: float = 0.0
    work: float = 0.0
    score: float = 0.0
    seconds: float = 0.0

    @property
    def unsafe(self) -> int:
        return self.between + self.foreign


@dataclass(slots=True)
class _State:
    """What is true of one conversation, whatever a router knows."""

    script: Conversation
    number: int
    now: datetime
    last: str | None = None
    caches: dict[str, tuple[tuple[Message, ...], datetime]] = field(default_factory=dict)
    """What each expert has read, and when."""


class RoutingMethod(Protocol):
    """A way of routing."""

    name: str

    async def choose(self, step: Step, conversation: int, now: datetime) -> Decision:
        """Who is to answer."""
        ...

    def sent(self, expert: str, messages: Sequence[Message]) -> Sequence[Message]:
        """What of the messages of the last choice an expert is sent."""
        ...

    async def answered(self, expert: str, reply: Message) -> None:
        """The expert of the last choice has answered."""
        ...


class RouterOnly:
    """Each request by itself; with `named`, in the conversation that its client names, by the gain rule."""

    def __init__(self, router: Router, registry: Registry, *, named: bool) -> None:
        self.name = "by a name, gain rule alone" if named else "each request alone"
        self._router = router
        self._names = Names.of(registry, router)
        self._named = named
        self._current: dict[int, str] = {}
        self._conversation = 0

    async def choose(self, step: Step, conversation: int, now: datetime) -> Decision:
        self._conversation = conversation
        request = routing_request(_chat(step), self._names, decision_id=f"dec_{uuid4().hex}")
        tokens = sum(map(_tokens, step.messages))
        current = self._current.get(conversation) if self._named else None
        request = replace(request, current_expert=current, prompt_tokens=int(tokens))
        return self._router.route(request)

    def sent(self, expert: str, messages: Sequence[Message]) -> Sequence[Message]:
        return messages

    async def answered(self, expert: str, reply: Message) -> None:
        self._current[self._conversation] = expert


class ServiceRouting:
    """As the service does."""

    name = "by the messages (the service)"

    def __init__(self, router: Router, registry: Registry, folder: Path) -> None:
        self._router = router
        self._registry = registry
        self._database = Database(f"sqlite:///{folder / 'replay.db'}")
        self._recorder = Recorder(self._database, queue=5_000, batch=200)
        self._counter = TokenCounter.of(())
        self._now = datetime(2026, 1, 1, tzinfo=UTC)
        self._requests = 0
        self._chosen: tuple[ChatRequest, Decision, RequestContext] | None = None

    async def open(self) -> None:
        await ensure(self._database)
        self._recorder.start()
        self._start()

    async def close(self) -> None:
        self._routing.close()
        self._counter.close()
        await self._recorder.stop(60)
        await self._database.close()

    def _start(self) -> None:
        self._conversations = Conversations(self._database, 10_000, idle_s=CACHE_S, clock=lambda: self._now)
        self._routing = RoutingService(
            *(Routers(self._router), self._registry, self._conversations, Exploration(), self._counter),
            threads=1,
            queue=10,
        )

    async def choose(self, step: Step, conversation: int, now: datetime) -> Decision:
        self._now = now
        self._requests += 1
        if self._requests % RESTART_EVERY == 0:
            await self._recorder.written(60)
            self._routing.close()
            self._start()
        chat = _chat(step)
        decision, context = await self._routing.route(chat, answers=1)
        self._chosen = chat, decision, context
        return decision

    def sent(self, expert: str, messages: Sequence[Message]) -> Sequence[Message]:
        makers = self._last[2].makers
        document = {"messages": messages}
        sent: Sequence[Message] = without_foreign_state(document, lambda value: makers.get(value) == expert)[
            "messages"
        ]
        return sent

    @property
    def _last(self) -> tuple[ChatRequest, Decision, RequestContext]:
        if self._chosen is None:
            raise RuntimeError("nothing was chosen")
        return self._chosen

    async def answered(self, expert: str, reply: Message) -> None:
        chat, decision, context = self._last
        reader = AnswerReader()
        if len(reply["content"]) % 2:
            reader.whole({"choices": [{"message": reply}]})
        else:
            reader.events([StreamEvent.of(chunk) for chunk in _chunks(reply)])
        sure = decision.sure_category
        if context.chain is None:
            raise RuntimeError("the conversation was not read")
        marks = self._conversations.remember(
            context.chain, chat.api_key, None, decision.id, (expert, sure), reader.answers
        )
        columns: dict[str, object] = {
            "id": decision.id,
            "composition": decision.composition,
            "classification": decision.classification.value,
            "runners_up": [],
            "ranking": [],
            "expert": expert,
            "strategy": "single",
            "reason": decision.reason.value,
            "detail": "",
            "created_at": self._now,
            "request_id": "",
            "api_key": chat.api_key,
            "model": "coterie",
            "status": "ok",
            "http_status": 200,
        }
        await self._recorder.submit(NewRow(DecisionRow, columns, marks))


async def replay(
    way: RoutingMethod, scripts: Sequence[Conversation], params: Mapping[str, float], seed: int
) -> Tally:
    """Let the conversations go on in turns. `params`: active parameters by expert, in billions."""
    tally, order, started = Tally(way.name), Random(seed), time.perf_counter()
    start = datetime(2026, 1, 1, tzinfo=UTC)
    waiting = [_State(script, number, start) for number, script in enumerate(scripts)][::-1]
    active: list[tuple[_State, Step]] = []
    while waiting or active:
        while waiting and len(active) < ACTIVE:
            state = waiting.pop()
            active.append((state, next(state.script)))
        at = order.randrange(len(active))
        state, step = active[at]
        reply = await _one(way, state, step, params, tally)
        try:
            active[at] = state, state.script.send(reply)
        except StopIteration:
            del active[at]
    tally.seconds = time.perf_counter() - started
    return tally


async def _one(
    way: RoutingMethod, state: _State, step: Step, params: Mapping[str, float], tally: Tally
) -> Message:
    """Route one request, and answer it."""
    state.now += timedelta(seconds=1 + step.wait_s)
    decision = await way.choose(step, state.number, state.now)
    if step.fails and decision.reason is Reason.HELD:
        # The client is told, and asks again a minute later, when the expert is back.
        tally.refused += 1
        state.now += timedelta(seconds=60)
        decision = await way.choose(step, state.number, state.now)
    elif step.fails:
        decision = fall_back(decision, {decision.expert}, "it is down")
    expert = decision.expert
    tally.requests += 1
    maker = _open_call(step.messages)
    tally.open_calls += maker is not None
    tally.between += maker is not None and maker != expert
    tally.with_state += any(_signers(step.messages))
    tally.foreign += any(signer != expert for signer in _signers(way.sent(expert, step.messages)))
    tally.switches += state.last not in (None, expert)
    choice = next(each for each in decision.ranking if each.expert == expert)
    tally.score += choice.utility + choice.correction
    _count_tokens(state, step, expert, params, tally)
    state.last = expert
    reply = _reply(step, expert, sorted(params).index(expert), tally.requests)
    await way.answered(expert, reply)
    return reply


def _count_tokens(state: _State, step: Step, expert: str, params: Mapping[str, float], tally: Tally) -> None:
    whole = sum(map(_tokens, step.messages))
    held = {name: _held(state, step.messages, name) for name in {expert, state.last or expert}}
    read = whole - held[expert]
    tally.read += read
    tally.reread += max(0.0, held[state.last or expert] - held[expert])
    written = _tokens({"content": step.answer.text, "tool_calls": step.answer.calls})
    tally.work += params[expert] * (read + written)
    state.caches[expert] = step.messages, state.now


def _held(state: _State, messages: Sequence[Message], expert: str) -> float:
    """Tokens of the prompt that the expert's prefix cache holds."""
    before, at = state.caches.get(expert, ((), state.now))
    if state.now - at > timedelta(seconds=CACHE_S):
        return 0.0
    tokens = 0.0
    for one, other in zip(before, messages, strict=False):
        if one is not other:
            break
        tokens += _tokens(one)
    return tokens


def _tokens(message: Mapping[str, Any]) -> float:
    calls = message.get("tool_calls")
    return (len(message["content"]) + (len(str(calls)) if calls else 0)) / CHARACTERS_PER_TOKEN


def _open_call(messages: Sequence[Message]) -> str | None:
    """Who made the tool call that nothing was answered to."""
    for message in reversed(messages):
        if message["role"] == "tool":
            return str(message[MAKER])
        if message["role"] == "assistant":
            return str(message[MAKER]) if message.get("tool_calls") else None
    return None


def _signers(messages: Sequence[Message]) -> list[str]:
    """Who signed the reasoning in `messages`."""
    blocks = [block for message in messages for block in message.get("thinking_blocks", ())]
    return [block["signature"].split(":")[1] for block in blocks]


def _reply(step: Step, expert: str, number: int, request: int) -> Message:
    """The answer; half of the experts count the ids of their calls from 0."""
    calls = [
        {
            "id": f"call_{at}" if number % 2 else f"call_{expert}_{request}_{at}",
            "type": "function",
            "function": {"name": name, "arguments": str(arguments).replace("'", '"')},
        }
        for at, (name, arguments) in enumerate(step.answer.calls)
    ]
    thought = {"type": "thinking", "thinking": "", "signature": f"signed:{expert}:{request}"}
    return {
        "role": "assistant",
        "content": step.answer.text,
        **({"tool_calls": calls} if calls else {}),
        **({"thinking_blocks": [thought]} if step.answer.thinks else {}),
        MAKER: expert,
    }


def _chunks(reply: Message) -> list[dict[str, Any]]:
    """The answer as a stream."""
    text = reply["content"]
    deltas: list[dict[str, Any]] = [{"content": text[:9]}, {"content": text[9:]}]
    deltas += [{"thinking_blocks": reply.get("thinking_blocks", [])}]
    for index, call in enumerate(reply.get("tool_calls", ())):
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        begun = {"index": index, "id": call["id"], "function": {"name": name, "arguments": arguments[:5]}}
        rest = {"index": index, "function": {"arguments": arguments[5:]}}
        deltas += [{"tool_calls": [begun]}, {"tool_calls": [rest]}]
    return [{"choices": [{"index": 0, "delta": delta}]} for delta in deltas]


def _chat(step: Step) -> ChatRequest:
    document = {"model": "coterie", "messages": list(step.messages), "tools": _TOOLS}
    return ChatRequest(ChatBody.model_validate(document), document, api_key=step.key)


_TOOLS = [{"type": "function", "function": {"name": name}} for name in ("read_file", "search", "run")]


async def all_ways(
    router: Router,
    registry: Registry,
    asks: Asks,
    count: int,
    seed: int = 0,
    said: Callable[[str], None] = lambda _: None,
) -> list[Tally]:
    """Every way of routing on the same conversations."""
    params = {card.name: card.active_params_b for card in router.composition.experts}
    router = replace(router, encoder=CachedStates(router.encoder, TEXTS))
    with tempfile.TemporaryDirectory(prefix="coterie-replay-") as folder:
        served = ServiceRouting(router, registry, Path(folder))
        await served.open()
        ways: list[RoutingMethod] = [
            RouterOnly(router, registry, named=False),
            RouterOnly(router, registry, named=True),
            served,
        ]
        found = []
        try:
            for way in ways:
                found.append(await replay(way, agent_conversations(count, asks, seed), params, seed))
                said(f"{way.name}: {found[-1].requests:,} requests in {found[-1].seconds:.0f} s")
        finally:
            await served.close()
    return found


def table(tallies: Sequence[Tally], conversations: int) -> list[str]:
    """The table of the page."""
    first = tallies[0]
    rows = [
        f"{conversations:,} conversations, {first.requests:,} requests; a tool call was open in "
        f"{first.open_calls:,}, signed reasoning was in {first.with_state:,}.",
        "",
        "| routed | switches | unsafe: between call and result | unsafe: foreign reasoning sent "
        "| refused: its expert is down | tokens read again | prompt tokens read | active parameters × tokens "
        "| expected score |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for each in tallies:
        rows.append(
            f"| {each.way} | {each.switches:,} | {each.between:,} | {each.foreign:,} | {each.refused:,} "
            f"| {each.reread / 1e6:.2f} M | {each.read / 1e6:.1f} M | {each.work / 1e6:.1f} B·M "
            f"| {each.score / each.requests:.4f} |"
        )
    return rows


def _tell(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.session_replay",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--conversations", type=int, default=1_000)
    parser.add_argument("--profile", default="gpu", help="names the registry and the composition")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--page", type=Path, help="write the table into this page")
    given = parser.parse_args(arguments)
    from prompts.seeds import load_seeds
    from routers.composition import load_composition
    from routers.encoder import load_encoder

    registry = load_registry(PROJECT / "experts" / f"{given.profile}.yaml")
    composition = load_composition(PROJECT / "routers" / "compositions" / given.profile)
    composition = composition.with_cards([expert_card(each) for each in registry.experts.values()])
    asks: dict[str, list[str]] = {}
    for seed in load_seeds("test"):
        asks.setdefault(seed.category, []).append(seed.prompt)
    router = Router(load_encoder(), composition)
    tallies = asyncio.run(
        all_ways(
            *(router, registry, asks, given.conversations, given.seed),
            said=_tell,
        )
    )
    lines = table(tallies, given.conversations)
    sys.stdout.write("\n".join([*lines, ""]))
    if given.page is not None:
        try:
            fill_page(given.page, BEGIN, END, "\n".join(["", *lines, ""]))
        except PageError as error:
            sys.stderr.write(f"error: {error}\n")
            return 1
    return 0 if tallies[-1].unsafe == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
