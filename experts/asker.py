"""Asking models through the store of answers: nothing twice, bounded for each server, retried by one policy.

How a request reaches a model is a `Line`. Knows nothing of HTTP, benchmarks or prompts.
"""

import asyncio
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Callable, Hashable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, Generic, Protocol, TypeVar

from base.reply import AskError, Reply
from base.retries import RetryPolicy
from experts.answer_store import AnswerStore, StoreError, answer_key

Messages = Sequence[Mapping[str, Any]]

RETRIES = RetryPolicy(attempts=8, first_wait_s=0.5, longest_wait_s=16.0)
"""For a model that has answered before: three quarters of a minute in all, for servers that restart."""
FEW_ATTEMPTS = 4
"""For requests that took too long or were answered badly."""
SLOW = frozenset({"timeout", "expert_timeout"})
"""Codes of requests that took too long."""
GIVE_UP_AFTER = 5
"""So many failures in a row by the server's own fault, and a model is asked nothing more."""


class AskedModel(Protocol):
    """A model that is asked. `name` is what reports call it, `identity` all that its answers depend on beside
    server and model; `extra` goes into every request's body. `earlier`: the identity under which earlier
    versions kept answers, unless those may be others."""

    @property
    def name(self) -> str: ...
    @property
    def server(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def identity(self) -> Mapping[str, Any]: ...
    @property
    def extra(self) -> Mapping[str, Any]: ...
    @property
    def earlier(self) -> Mapping[str, Any] | None: ...


S = TypeVar("S", bound=AskedModel)
S_contra = TypeVar("S_contra", bound=AskedModel, contravariant=True)


class Line(Protocol[S_contra]):
    """Sends a request once; connections are opened as needed."""

    first_attempts: int
    """How often a request is sent at most to a model that has answered nothing yet."""

    async def send(self, source: S_contra, messages: Messages, body: Mapping[str, Any]) -> Reply:
        """Raises AskError."""
        ...

    async def aclose(self) -> None:
        """Close the connections; `send` opens new ones."""
        ...


class Asker(Generic[S]):
    """Asks through `line`; what `store` holds is not asked again.

    Hold `open()` around asking: connections live while anybody does, in the event loop of that time, so one
    asker may serve several loops one after the other. `concurrency` bounds the requests in flight for each
    value of `bounded_by`. `exported` are answers of an outcome table's own file. `on_retry` is told of each
    failure after which a request is sent again.
    """

    def __init__(
        self,
        store: AnswerStore,
        line: Line[S],
        *,
        concurrency: int = 8,
        retries: RetryPolicy = RETRIES,
        bounded_by: Callable[[S], Hashable] = lambda source: source.server,
        exported: Mapping[str, Reply] | None = None,
        on_retry: Callable[[AskError], None] = lambda error: None,
    ) -> None:
        self._store = store
        self._line = line
        self._concurrency = concurrency
        self._retries = retries
        self._bounded_by = bounded_by
        self._exported = exported or {}
        self._on_retry = on_retry
        self._holders = 0
        self._slots: dict[Hashable, asyncio.Semaphore] = {}
        self._in_flight: dict[str, asyncio.Future[Reply]] = {}
        self._failures: Counter[str] = Counter()
        self._last_failure: dict[str, str] = {}
        self._exhausted: set[str] = set()
        self._spoken: set[str] = set()
        self._silent: defaultdict[str, dict[str, Reply]] = defaultdict(dict)
        self.asked: Counter[str] = Counter()
        """Answers that were asked for, by the source's name."""
        self.store_error: StoreError | None = None
        """Why an answer could not be kept; nothing more is asked then."""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Keep connections; the last holder closes them."""
        self._holders += 1
        try:
            yield
        finally:
            self._holders -= 1
            if not self._holders:
                self._slots.clear()
                self._in_flight.clear()
                await self._line.aclose()

    async def ask(
        self, source: S, messages: Messages, sampling: Mapping[str, Any], *, also: Sequence[str] = ()
    ) -> Reply:
        """The answer; the same question asked twice at once goes out once.

        `sampling` goes into the body as it is, so it may hold `response_format` or `routing` as well. `also`
        are keys under which earlier versions may have kept the answer.

        Raises:
            AskError: refused, or unavailable after all attempts.
            StoreError: the answer cannot be kept; nothing more is asked then, since it would be lost as well.
        """
        key, *earlier = _keys(source, messages, sampling)
        found = self._store.get(key) or self._adopted(source, key, (*earlier, *also), messages, sampling)
        if found is not None:
            return found
        while (waiting := self._in_flight.get(key)) is not None:
            try:
                return replace(await asyncio.shield(waiting), kept=True)
            except asyncio.CancelledError:
                mine = asyncio.current_task()
                if not waiting.cancelled() or (mine is not None and mine.cancelling()):
                    raise
        future: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._in_flight[key] = future
        try:
            reply = await self._send(source, key, messages, sampling_sent({**sampling, **source.extra}))
            if not reply.kept:
                self._keep(source, key, reply)
        except BaseException as error:
            if isinstance(error, AskError):
                future.set_exception(error)
                future.exception()  # read, so that nobody's waiting for it is no warning
            else:
                future.cancel()
            raise
        finally:
            self._in_flight.pop(key, None)
        future.set_result(reply)
        if not reply.kept:
            self.asked[source.name] += 1
        return reply

    def _adopted(
        self, source: S, key: str, earlier: Sequence[str], messages: Messages, sampling: Mapping[str, Any]
    ) -> Reply | None:
        """The answer that is kept under an `earlier` key or exported, from now on under `key`."""
        found = next((kept for each in earlier if (kept := self._store.get(each)) is not None), None)
        if found is None and self._exported:
            keys = exported_keys(source, messages, sampling)
            found = next((self._exported[each] for each in keys if each in self._exported), None)
        if found is not None:
            self._store.add(key, found, server=source.server, model=source.model)
        return found

    def forget(self, source: S, messages: Messages, sampling: Mapping[str, Any]) -> None:
        """Have this asked anew."""
        self._store.discard(_keys(source, messages, sampling))

    def _keep(self, source: S, key: str, reply: Reply) -> None:
        """Store `reply`; an empty one only once the model has said something: a silent server, for want of
        the right chat template, may be mended and asked again."""
        if reply.text.strip():
            self._spoken.add(source.name)
        self._silent[source.name][key] = reply
        if source.name in self._spoken:
            try:
                for each, answer in self._silent.pop(source.name).items():
                    self._store.add(each, answer, server=source.server, model=source.model)
            except StoreError as error:
                self.store_error = error
                raise

    async def _send(self, source: S, key: str, messages: Messages, body: Mapping[str, Any]) -> Reply:
        place = self._bounded_by(source)
        async with self._slots.setdefault(place, asyncio.Semaphore(self._concurrency)):
            # Waiting may have taken long: another command may have asked meanwhile.
            if (found := self._store.get(key)) is not None:
                return found
            attempt = 0
            while True:
                if self.store_error is not None:
                    raise self.store_error
                if self._failures[source.name] >= GIVE_UP_AFTER:
                    raise AskError(
                        "not_asked",
                        f"not asked: {source.name} failed {GIVE_UP_AFTER} times in a row, "
                        f"the last time with {self._last_failure.get(source.name)}",
                        unavailable=True,
                    )
                attempt += 1
                try:
                    reply = await self._line.send(source, messages, body)
                except AskError as error:
                    if not error.transient or attempt >= self._attempts(source, error):
                        self._failures[source.name] += error.unavailable
                        self._last_failure[source.name] = error.code
                        if error.transient and error.unavailable:
                            self._exhausted.add(source.name)
                        raise
                    self._on_retry(error)
                    await asyncio.sleep(self._retries.delay(attempt - 1, error.retry_after))
                else:
                    self._failures[source.name] = 0
                    self._exhausted.discard(source.name)
                    return reply

    def _attempts(self, source: S, error: AskError) -> int:
        """How often this request is sent at most. Once one has failed after all its attempts, the others need
        not wait for the same server all over again."""
        if source.name in self._exhausted:
            return 1
        if not error.unavailable or error.code in SLOW:
            most = FEW_ATTEMPTS
        else:
            most = self._retries.attempts if source.name in self._spoken else self._line.first_attempts
        return min(most, self._retries.attempts)


def sampling_sent(sampling: Mapping[str, Any]) -> dict[str, Any]:
    """`sampling` as it is sent: greedy requests carry no seed, which changes nothing for them, and of which
    vLLM 0.32's CPU engine dies when it reads a prompt in chunks."""
    greedy = sampling.get("temperature") == 0
    return {name: value for name, value in sampling.items() if not (greedy and name == "seed")}


def exported_keys(source: AskedModel, messages: Messages, sampling: Mapping[str, Any]) -> tuple[str, ...]:
    """What `answers.jsonl` beside a scored table calls an answer: a table is about experts, wherever they
    are served. The first is what it is called now."""
    known = [each.get("expert") or {} for each in _identities(source)]
    return tuple(answer_key(each, messages, sampling_sent(sampling)) for each in known)


def _keys(source: AskedModel, messages: Messages, sampling: Mapping[str, Any]) -> tuple[str, ...]:
    """What the answer is kept under, and was before seeds of greedy requests were left out."""
    given = {**sampling, **source.extra}
    keys = (
        answer_key({"server": source.server, "model": source.model, **identity}, messages, each)
        for identity in _identities(source)
        for each in (sampling_sent(given), given)
    )
    return tuple(dict.fromkeys(keys))


def _identities(source: AskedModel) -> tuple[Mapping[str, Any], ...]:
    return (source.identity,) if source.earlier is None else (source.identity, source.earlier)
