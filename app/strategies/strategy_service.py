"""Strategies as the service holds them: from a decision to a running graph and its answer.

A strategy never makes a request fail that one expert could have answered: what cannot run is answered by
one expert, what fails on the way by the best answer there is, and the decision says so.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import structlog
from pydantic import ValidationError

from app.errors import ServiceError, place_of, validation_error
from app.serving.chat_body import ChatBody
from app.serving.prompting import Prompting
from app.serving.records import AnswerRecord
from app.serving.strategy_trace import Trace
from app.strategies.answer_output import Output
from app.strategies.chunks import Chunk, closing_chunk
from app.strategies.expert_calls import Calls
from app.strategies.limits import Account, LimitReached, Limits
from app.strategies.strategy import Compiled, StrategyOptions
from app.strategies.strategy_registry import Catalogue, StrategyError
from app.strategies.strategy_run import Candidate, Run, probability_of
from app.telemetry.metrics import Metrics
from app.telemetry.spans import span
from base.suggestions import suggestion
from base.validation_messages import problems_of
from experts.errors import ExpertError
from experts.health import HealthMonitor
from experts.registry import Registry
from routers.cascade_model import CascadeModel, load_cascades
from routers.decision import SINGLE, Decision, Reason
from routers.policy import Policy

log = structlog.get_logger(__name__)

SUPERSTEPS = 100
"""A graph that goes round more often is stopped; limits usually stop it before."""
CASCADES = "cascades.json"
"""Beside the composition: its fitted cascades."""


class Strategies:
    """Runs strategies for one service."""

    def __init__(
        self,
        catalogue: Catalogue,
        prompting: Prompting,
        registry: Registry,
        health: HealthMonitor,
        metrics: Metrics,
        *,
        limits: Limits,
        options: Mapping[str, Mapping[str, Any]],
        cascades: Sequence[CascadeModel] = (),
    ) -> None:
        """`options`: the operator's, by strategy; a request's own go before them. `limits` hold always.
        Raises StrategyError for options that a strategy does not have."""
        self.catalogue = catalogue
        self._prompting = prompting
        self._registry = registry
        self._health = health
        self._metrics = metrics
        self._limits = limits
        self._options = options
        self.cascades = tuple(cascades)
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

    async def prepare(self, policy: Policy, operator: str) -> None:
        """Load what requests will need that do not ask for it themselves. Raises StrategyError."""
        named = {policy.strategy, operator, *policy.strategies.values()}
        named |= {rule.strategy for rule in policy.rules if rule.strategy is not None}
        for name in sorted(named & set(self.catalogue.names[1:])):
            await self.catalogue.ready(name)

    def options_for(self, name: str, own: Mapping[str, Any] | None) -> StrategyOptions:
        """The options of a request; its `own` override the operator's. Raises ServiceError (400) for those
        that the strategy does not have, and StrategyError when it cannot be loaded."""
        strategy = self.catalogue.strategy(name)
        given = {**self._options.get(name, {}), **(own or {})}
        try:
            return strategy.options.model_validate(given)
        except ValidationError as error:
            details = error.errors(include_url=False, include_context=False, include_input=False)
            for each in details:
                each["loc"] = ("routing", "options", *each["loc"])
            raise validation_error(details) from None

    async def start(
        self, record: AnswerRecord, body: ChatBody, document: Mapping[str, Any], generalist: str
    ) -> "StrategyRun | None":
        """The run of the record's strategy; None when one expert answers, which the record then says.
        Raises ServiceError for bad options."""
        name = record.decision.strategy
        if name == SINGLE:
            return None
        try:
            compiled = await self.catalogue.ready(name)
            options = self.options_for(name, body.routing.options)
        except StrategyError as error:
            log.error("strategy_unusable", strategy=name, error=str(error))
            self._give_up(record, "the strategy cannot be loaded")
            return None
        candidates, down = self._candidates(record.decision)
        why = _cannot(compiled, record.decision, body, candidates)
        if why is None:
            limits = self._limits.tightened(
                options.max_calls, options.max_tokens, options.max_seconds, options.max_cost
            )
            trace = Trace(name, compiled.shape, _shown(limits))
            calls = Calls(
                self._prompting,
                self._registry,
                self._health,
                self._metrics,
                record,
                document,
                Account(limits),
                trace,
            )
            run = Run(
                decision=record.decision,
                options=options,
                body=document,
                candidates=candidates,
                generalist=next((c.expert for c in candidates if c.expert == generalist), None),
                calls=calls,
                output=Output(stream=record.stream, logprobs=bool(document.get("logprobs"))),
                trace=trace,
                cascades=self.cascades,
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
        return StrategyRun(compiled, run, record, self._metrics)

    def _give_up(self, record: AnswerRecord, why: str) -> None:
        self._metrics.strategies.labels(record.decision.strategy, "single").inc()
        record.give_up_strategy(why)

    def _candidates(self, decision: Decision) -> tuple[tuple[Candidate, ...], list[str]]:
        """Who may answer, best first, and who would but is known to be down."""
        able = [choice for choice in decision.ranking if choice.excluded is None]
        up = [choice for choice in able if self._health.available(choice.expert)]
        down = [choice.expert for choice in able if choice not in up]
        if not up:
            # What is known may be old: asked all the same, as one expert would be.
            up, down = able, []
        found = [
            Candidate(
                choice.expert,
                probability_of(choice.utility + choice.correction),
                choice.value,
                choice.active_params_b,
                choice.price,
            )
            for choice in up
        ]
        return tuple(found), down


def _cannot(
    compiled: Compiled, decision: Decision, body: ChatBody, candidates: Sequence[Candidate]
) -> str | None:
    """Why a request cannot have this strategy, as the end of a sentence."""
    strategy = compiled.strategy
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


class StrategyRun:
    """One request's run of a graph. Use `whole` or `chunks`, once."""

    def __init__(self, compiled: Compiled, run: Run, record: AnswerRecord, metrics: Metrics) -> None:
        self._compiled = compiled
        self._run = run
        self._record = record
        self._metrics = metrics

    @property
    def usage(self) -> dict[str, Any]:
        """Summed over the calls so far."""
        return self._run.trace.usage()

    async def whole(self) -> dict[str, Any]:
        """The answer as one completion, without `routing`. Raises ExpertError, ServiceError."""
        await self._answer()
        completion = self._run.output.completion
        if completion is None:
            raise RuntimeError("a strategy answered in pieces what was to be whole")
        return {**completion, "usage": self.usage}

    async def chunks(self) -> AsyncGenerator[Chunk]:
        """The answer's chunks as they come; `record.decision` names the expert from the first one on.
        Raises ExpertError, ServiceError. Leaving early stops every expert."""
        work = asyncio.create_task(self._work())
        output = self._run.output
        try:
            first = True
            while (chunk := await output.next()) is not None:
                if first:
                    self._name_expert()
                    first = False
                yield chunk
            await work
        finally:
            work.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.wait({work})
            if work.done() and not work.cancelled():
                work.exception()  # so that nobody complains that nobody looked

    def closing(self) -> Chunk:
        """The chunk that goes after the last one: the whole trace, and the usage."""
        fields: dict[str, Any] = {"routing": self._record.document}
        if (self._run.body.get("stream_options") or {}).get("include_usage"):
            fields["usage"] = self.usage
        return closing_chunk(self._run.output.envelope, **fields)

    async def _work(self) -> None:
        try:
            await self._answer()
        except Exception:
            await self._run.output.end()
            raise
        # Not when it is cancelled: then nobody reads any more, and a full queue would hold it for ever.
        await self._run.output.end()

    async def _answer(self) -> None:
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
            self._name_expert()
            result = "degraded" if trace.degraded else "ok"
        finally:
            await run.calls.close()
            trace.ended_s = trace.now_s
            self._metrics.strategies.labels(trace.strategy, result).inc()

    async def _graph_failure(self) -> Exception | None:
        """Run the graph; what it failed with, if it did."""
        run = self._run
        try:
            await self._run_graph()
        except (ExpertError, LimitReached) as error:
            return error
        except Exception as error:
            name = type(error).__name__
            log.error("strategy_failed", strategy=run.trace.strategy, error=name, at=place_of(error))
            run.degrade(f"The strategy failed with {name}.")
            return error
        return None

    async def _run_graph(self) -> None:
        run = self._run
        seconds = run.calls.account.limits.seconds
        try:
            async with asyncio.timeout(seconds):
                await self._compiled.graph.ainvoke({}, context=run, config={"recursion_limit": SUPERSTEPS})
        except TimeoutError:
            raise LimitReached("seconds", f"the request's {seconds:g} s ended") from None

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
        """What the client is told. A limit goes before an expert's failure: a higher one may do."""
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

    def _name_expert(self) -> None:
        """The decision names who answers, which may be another expert than the one that was chosen."""
        expert = self._run.output.expert
        if expert is not None and expert != self._record.decision.expert:
            self._record.decision = replace(self._record.decision, expert=expert)


def _shown(limits: Limits) -> dict[str, float | None]:
    return {
        "calls": limits.calls,
        "tokens": limits.tokens,
        "seconds": limits.seconds,
        "cost": limits.cost,
    }


def read_cascades(path: Path | None, composition: Path) -> tuple[CascadeModel, ...]:
    """The fitted cascades: those of `path`, else those beside the composition if there are any.
    Raises CascadeError."""
    if path is not None:
        return load_cascades(path)
    beside = composition / CASCADES
    return load_cascades(beside) if beside.is_file() else ()
