"""Strategies as the service holds them: from a decision to a running graph and its answer.

A strategy never makes a request fail that one expert could have answered: what cannot run is answered by
one expert, what fails on the way by the best answer there is, and the decision says so.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import structlog
from pydantic import ValidationError

from app.errors import ServiceError, place_of, validation_error
from app.serving.answer_record import AnswerRecord
from app.serving.chat_body import ChatBody
from app.serving.expert_access import ExpertAccess
from app.serving.routing import RoutingService
from app.serving.strategy_trace import Trace
from app.strategies.answer_output import AnswerOutput
from app.strategies.expert_calls import ExpertCalls
from app.strategies.limits import Account, LimitReached, RequestLimits
from app.strategies.strategy import Compiled, Strategy, StrategyOptions
from app.strategies.strategy_registry import Catalogue, StrategyError
from app.strategies.strategy_run import Candidate, Run
from app.telemetry.metrics import Metrics
from app.telemetry.spans import span
from base.suggestions import suggestion
from base.validation_messages import problems_of
from experts.errors import ExpertError
from experts.expert_replies import END_OF_STREAM, StreamEvent
from routers.decision import Decision, Reason
from routers.strategy_choice import family_of

if TYPE_CHECKING:
    from routers.strategies.equivalence import Comparison

log = structlog.get_logger(__name__)

SUPERSTEPS = 100
"""LangGraph's recursion limit; a request's limits usually end it earlier."""


class Strategies:
    """Runs strategies for one service."""

    def __init__(
        self,
        catalogue: Catalogue,
        access: ExpertAccess,
        routing: RoutingService,
        *,
        limits: RequestLimits,
        options: Mapping[str, Mapping[str, Any]],
    ) -> None:
        """`options`: the operator's, by strategy; a request's own go before them. `limits` hold always.
        Raises StrategyError for options that a strategy does not have."""
        self.catalogue = catalogue
        self._access = access
        self._routing = routing
        self._limits = limits
        self._options = options
        for name, given in options.items():
            self._check_operators(name, given)

    def _check_operators(self, name: str, given: Mapping[str, Any]) -> None:
        if name not in self.catalogue.names[1:]:
            hint = suggestion(name, self.catalogue.names[1:])
            raise StrategyError(f"COTERIE_STRATEGY_OPTIONS: no strategy {name!r}; {hint}")
        try:
            self.catalogue.strategy(name).options.model_validate(dict(given))
        except ValidationError as error:
            first = problems_of(error, "options")[0]
            raise StrategyError(f"COTERIE_STRATEGY_OPTIONS: {name}.{first}") from error

    async def prepare(self, operator: str) -> None:
        """Load what requests will need that do not ask for it themselves: the `operator`'s setting, and what
        the policy names. Raises StrategyError."""
        policy = self._routing.policy
        named = {policy.strategy, operator, *policy.strategies.values()}
        named |= {rule.strategy for rule in policy.rules if rule.strategy is not None}
        for name in sorted({family_of(each) for each in named} & set(self.catalogue.names[1:])):
            await self.catalogue.ready(name)

    def options_for(self, name: str, own: Mapping[str, Any] | None) -> StrategyOptions:
        """The options of a request; its `own` override the operator's. Raises ServiceError (400) for those
        that the strategy does not have, and StrategyError when it cannot be loaded."""
        strategy = self.catalogue.strategy(name)
        given = {**self._options.get(strategy.name, {}), **(own or {})}
        try:
            return strategy.options.model_validate(given)
        except ValidationError as error:
            details = error.errors(include_url=False, include_context=False, include_input=False)
            for each in details:
                each["loc"] = ("routing", "options", *each["loc"])
            raise validation_error(details) from None

    async def start(self, record: AnswerRecord) -> "StrategyAnswer | None":
        """The answer of the decision's strategy; None when one expert answers after all, which the record
        then says. Raises ServiceError for bad options."""
        name, body = record.decision.strategy, record.chat.body
        try:
            compiled = await self.catalogue.ready(name)
            options = self.options_for(name, body.routing.options)
        except StrategyError as error:
            log.error("strategy_unusable", strategy=name, error=str(error))
            self._give_up(record, "the strategy cannot be loaded")
            return None
        candidates, down = self._candidates(record.decision)
        if (why := _cannot(compiled.strategy, record.decision, body, candidates)) is not None:
            self._give_up(record, why)
            return None
        limits = self._limits.tightened(
            options.max_calls, options.max_tokens, options.max_seconds, options.max_cost
        )
        trace = Trace(name, compiled.shape, asdict(limits))
        document, generalist = record.chat.document, self._routing.policy.generalist
        run = Run(
            decision=record.decision,
            options=options,
            body=document,
            candidates=candidates,
            generalist=next((c.expert for c in candidates if c.expert == generalist), None),
            calls=ExpertCalls(self._access, record, Account(limits), trace),
            output=AnswerOutput(stream=record.stream, logprobs=bool(document.get("logprobs"))),
            trace=trace,
            compare=self._compare,
            fitted=record.context.strategies,
        )
        if down:
            run.degrade(f"{', '.join(down)} could not be asked: down.")
        why = compiled.strategy.refuses(run)
        if why is None and limits.calls < 2:
            why = "its limits leave a single call"
        if why is not None:
            self._give_up(record, why)
            return None
        record.trace = trace
        return StrategyAnswer(compiled, run, self._access.metrics)

    async def _compare(
        self, texts: Sequence[str | None], question: str, threshold: float | None
    ) -> "tuple[list[int], Comparison]":
        """Which replies say the same. Raises ServiceError (503) when too many requests wait for the
        encoder."""
        from routers.strategies.equivalence import answer_classes, comparison_of

        encoder = self._routing.router.encoder

        def classes(replies: Sequence[str | None]) -> "tuple[list[int], Comparison]":
            return answer_classes(replies, question, encoder.encode, threshold)

        if comparison_of(question, threshold) == "likeness":
            return await self._routing.in_thread(classes, texts)
        return classes(texts)

    def _give_up(self, record: AnswerRecord, why: str) -> None:
        self._access.metrics.strategies.labels(record.decision.strategy, "single").inc()
        record.give_up_strategy(why)

    def _candidates(self, decision: Decision) -> tuple[tuple[Candidate, ...], list[str]]:
        """Who may answer, best first, and who would but is known to be down."""
        able = [choice for choice in decision.ranking if choice.excluded is None]
        up = [choice for choice in able if self._access.health.available(choice.expert)]
        down = [choice.expert for choice in able if choice not in up]
        if not up:
            # What is known may be old: asked all the same, as one expert would be.
            up, down = able, []
        found = [
            Candidate(
                choice.expert,
                choice.utility + choice.correction,
                choice.value,
                choice.active_params_b,
                choice.cost,
            )
            for choice in up
        ]
        return tuple(found), down


def _cannot(
    strategy: Strategy, decision: Decision, body: ChatBody, candidates: Sequence[Candidate]
) -> str | None:
    """Why a request cannot have this strategy, as the end of a sentence."""
    if decision.reason is Reason.PINNED and decision.category is None:
        return f"the client named {decision.expert}"
    if body.tools and body.tool_choice != "none" and "tools" not in strategy.honours:
        return f"{strategy.name} does not take tools"
    kind = (body.response_format or {}).get("type", "text")
    if kind != "text" and "response_format" not in strategy.honours:
        return f"{strategy.name} does not keep to response_format"
    if ((body.model_extra or {}).get("n") or 1) != 1 and "n" not in strategy.honours:
        return f"{strategy.name} gives one choice, not n"
    if len(candidates) < strategy.least_experts:
        return f"{strategy.name} takes {strategy.least_experts} experts, and {len(candidates)} can answer"
    return None


class StrategyAnswer:
    """One request's answer by a graph: an `AnswerSource`, to be asked once."""

    def __init__(self, compiled: Compiled, run: Run, metrics: Metrics) -> None:
        self._compiled = compiled
        self._run = run
        self._metrics = metrics

    async def whole(self, record: AnswerRecord) -> dict[str, Any]:
        """The answer as one completion, without `routing`. Raises ExpertError, ServiceError."""
        await self._answer(record)
        completion = self._run.output.completion
        if completion is None:
            raise RuntimeError("a strategy answered in pieces what was to be whole")
        return {**completion, "usage": record.usage}

    async def events(self, record: AnswerRecord) -> AsyncGenerator[Sequence[StreamEvent]]:
        """The answer's chunks as they come. Raises ExpertError, ServiceError. Leaving early stops every
        expert."""
        run, output = self._run, self._run.output
        work = asyncio.create_task(self._work(record))
        try:
            while (chunk := await output.next()) is not None:
                _name_expert(record, run)
                yield [StreamEvent.of(chunk)]
            await work
        finally:
            work.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.wait({work})
            if work.done() and not work.cancelled():
                work.exception()  # so that nobody complains that nobody looked
        yield [END_OF_STREAM]

    async def _work(self, record: AnswerRecord) -> None:
        try:
            await self._answer(record)
        except Exception:
            await self._run.output.end()
            raise
        # Not when it is cancelled: then nobody reads any more, and a full queue would hold it for ever.
        await self._run.output.end()

    async def _answer(self, record: AnswerRecord) -> None:
        """Run the graph, and see to it that there is an answer if any expert gave one."""
        run, trace = self._run, self._run.trace
        result = "failed"
        try:
            with span(
                "coterie.strategy",
                {"coterie.strategy": trace.strategy, "coterie.decision": run.decision.id},
            ):
                failure = await self._graph_failure()
                if failure is not None or not run.output.begun:
                    await self._rescue(failure)
            _name_expert(record, run)
            result = "degraded" if trace.degraded else "ok"
        finally:
            await run.calls.close()
            trace.ended_s = trace.now_s
            self._metrics.strategies.labels(trace.strategy, result).inc()

    async def _graph_failure(self) -> Exception | None:
        """Run the graph; what it failed with, if it did."""
        run, seconds = self._run, self._run.calls.account.limits.seconds
        try:
            async with asyncio.timeout(seconds):
                await self._compiled.graph.ainvoke({}, context=run, config={"recursion_limit": SUPERSTEPS})
        except TimeoutError:
            return LimitReached("seconds", f"the request's {seconds:g} s ended")
        except (ExpertError, LimitReached) as error:
            return error
        except Exception as error:
            name = type(error).__name__
            log.error("strategy_failed", strategy=run.trace.strategy, error=name, at=place_of(error))
            run.degrade(f"The strategy failed with {name}.")
            return error
        return None

    async def _rescue(self, error: Exception | None) -> None:
        """Answer with what there is: the best whole answer, or what the limits leave time to ask for.
        Raises the failure when there is nothing, or when an answer was begun and came to no end."""
        run = self._run
        if run.output.whole:
            run.degrade("The strategy came to no end after its answer.")
            return
        if run.output.begun:
            raise self._failure(error)
        if run.replies:
            order = [each.expert for each in run.candidates]
            best = min(run.replies, key=lambda said: order.index(said.expert))
            run.degrade(f"The answer of {best.expert} stands: the strategy came to no end.")
            await run.answer(best)
            return
        account = run.calls.account
        for candidate in run.candidates:
            if account.calls_left < 1 or account.seconds_left <= 0:
                break
            if candidate.expert in run.calls.failed:
                continue
            run.degrade(f"{candidate.expert} alone was to answer: the strategy came to no end.")
            try:
                if await run.answer_from(candidate.expert, "last resort"):
                    return
            except LimitReached as late:  # in the middle of a stream
                raise self._failure(late) from late
        raise self._failure(error)

    def _failure(self, error: Exception | None) -> Exception:
        """The error for the client. A limit goes before an expert's failure, since a higher one may help."""
        if isinstance(error, ExpertError):
            return error
        calls, begun = self._run.calls, self._run.output.begun
        limit = error if isinstance(error, LimitReached) or begun else calls.last_limit
        if isinstance(limit, LimitReached):
            status = 504 if limit.kind == "seconds" else 503
            return ServiceError(status, "strategy_limit", f"No answer within the request's limits: {limit}.")
        if not begun and calls.last_error is not None:
            return calls.last_error
        return ServiceError(
            503, "strategy_failed", f"The strategy {self._run.trace.strategy} gave no answer."
        )


def _name_expert(record: AnswerRecord, run: Run) -> None:
    """The decision names who answers, which may be another expert than the one that was chosen."""
    expert = run.output.expert
    if expert is not None and expert != record.decision.expert:
        record.decision = replace(record.decision, expert=expert)
