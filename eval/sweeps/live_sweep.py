"""Live sweeps: every question under every configuration on a running API. Each request carries routing
options: removed experts as `exclude`, cost weights as `boost` (-weight · size, added to the served policy's
value), strategies by name."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from base.prices import usage_cost
from base.reply import AskError
from base.task_groups import together
from base.text_files import TextFileError, read_text
from client import ApiError, AsyncClient, CompositionInfo, ExpertInfo, RetryPolicy, routes
from eval.benchmark_registry import BENCHMARKS, Keys, RunRequest, prepare
from eval.decontamination import DecontaminationError, Screening, screen_for
from eval.engine.api_line import ApiLine
from eval.engine.benchmark import AskedTurn, Benchmark, Question, converse
from eval.engine.contestants import Contestant, ContestantAsker, ContestantError, identify, normal_base
from eval.engine.exclusions import composition_folder
from eval.service import served_composition, served_experts
from eval.sweeps.fold_baselines import FoldBaseline, baselines_of
from eval.sweeps.grid import LivePoint, live_points
from eval.sweeps.sweep_file import LiveSweep, SweepError
from eval.sweeps.sweep_store import ItemRow
from experts.answer_store import AnswerStore
from experts.asker import RETRIES, Asker
from routers.composition import ExpertCard
from routers.outcome_table import OutcomeTable

LARGEST_BOOST = 10.0
"""The API's limit."""
BASELINE = "expert "
"""Configurations of single experts begin so."""
FOLDS = 5

Keep = Callable[[ItemRow], None]


@dataclass(frozen=True, slots=True)
class ServedApi:
    """What one API says of itself."""

    base: str
    experts: tuple[ExpertInfo, ...]
    composition: CompositionInfo


class LiveWork:
    """A live sweep with questions loaded and servers identified."""

    def __init__(
        self,
        sweep: LiveSweep,
        *,
        api_key: str | None = None,
        cache: Path,
        retries: RetryPolicy | None = None,
    ) -> None:
        """Raises SweepError."""
        self.sweep = sweep
        self.points = live_points(sweep)
        self._cache = cache
        self._retries = retries
        self._key = api_key
        self._servers = asyncio.run(self._ask_servers())
        self.benchmark = self._prepared()
        self.questions: Sequence[Question] = self.benchmark.questions
        self._systems = {point.prompt.name: _system(point) for point in self.points}
        contestants = {point.name: self._contestant(point) for point in self.points}
        if sweep.baselines:
            main = self._servers[normal_base(sweep.api)]
            for expert in self._composed(main):
                name = f"{BASELINE}{expert.name}"
                contestants[name] = Contestant(name, main.base, expert.name, api_key=self._key)
        try:
            self.contestants = {each.name: each for each in asyncio.run(identify(contestants.values()))}
        except ContestantError as error:
            raise SweepError(str(error)) from error
        self.screening = self._screen()

    @property
    def items(self) -> int:
        """Items in all."""
        return len(self.contestants) * len(self.questions)

    def digests(self) -> dict[str, str]:
        """What results depend on, beside the sweep's file."""
        found = {f"data/{name}": digest for name, digest in self.benchmark.digests.items()}
        for name, contestant in self.contestants.items():
            if contestant.composition is not None:
                found[f"composition/{name}"] = contestant.composition
        return found

    async def run(self, done: set[tuple[str, str]], keep: Keep) -> int:
        """Ask what is not `done`, passing each finished item to `keep`. Returns the number of failed items,
        which a rerun retries."""
        refused = {
            question.id for question, no in zip(self.questions, self.screening.refused, strict=True) if no
        }
        work = [
            (contestant, question)
            for question in self.questions
            for contestant in self.contestants.values()
            if (contestant.name, question.id) not in done
        ]
        waiting = iter(work)
        failed = 0
        points = {point.name: point for point in self.points}
        with AnswerStore(self._cache) as answers:
            asker = Asker(
                answers, ApiLine(), concurrency=self.sweep.concurrency, retries=self._retries or RETRIES
            )

            async def worker() -> None:
                nonlocal failed
                for contestant, question in waiting:
                    if question.id in refused:
                        keep(self._refused(contestant, question))
                        continue
                    try:
                        item = await self._item(asker, contestant, question, points.get(contestant.name))
                    except AskError as error:
                        if error.unavailable:
                            failed += 1
                            continue
                        item = _blank(contestant, question, error.code)
                    keep(item)

            async with asker.open():
                await together(worker() for _ in range(self.sweep.concurrency))
        return failed

    def baselines(self, items: Sequence[ItemRow]) -> tuple[Mapping[str, FoldBaseline], tuple[str, ...]]:
        """The baselines from the experts' own items, and the questions they are over: those that every
        expert answered with a score."""
        experts = [name for name in self.contestants if name.startswith(BASELINE)]
        by_expert: dict[str, dict[str, float]] = {name: {} for name in experts}
        for item in items:
            if item.configuration in by_expert and item.score is not None:
                by_expert[item.configuration][item.uid] = item.score
        kept = [
            question
            for question in self.questions
            if experts and all(question.id in scores for scores in by_expert.values())
        ]
        if not kept:
            return {}, ()
        facts = {each.name: each for each in self._servers[normal_base(self.sweep.api)].experts}
        table = OutcomeTable(
            tuple(question.id for question in kept),
            tuple(question.category for question in kept),
            tuple(question.turns[0] for question in kept),
            tuple(_card(facts[name.removeprefix(BASELINE)]) for name in experts),
            np.asarray(
                [[by_expert[name][question.id] for name in experts] for question in kept], dtype=np.float32
            ),
        )
        embeddings = _embeddings(table.prompts)
        found = baselines_of(table, embeddings, folds=FOLDS, seed=self.sweep.seed)
        return found, table.uids

    async def _item(
        self, asker: ContestantAsker, contestant: Contestant, question: Question, point: LivePoint | None
    ) -> ItemRow:
        system = None if point is None else self._systems[point.prompt.name]
        turns = await converse(asker, contestant, question, seed=self.sweep.seed, system=system)
        marks = await self.benchmark.mark(question, contestant, turns, asker)
        item = _blank(contestant, question, None if marks.score is not None else "no_score")
        item.score = marks.score
        item.answer = turns[-1].reply.text
        self._note_cost(item, contestant, turns)
        return item

    def _note_cost(self, item: ItemRow, contestant: Contestant, turns: Sequence[AskedTurn]) -> None:
        """Who answered, and means over the turns of what that took."""
        facts = {each.name: each for each in self._servers[contestant.server].experts}
        sizes, costs, seconds = [], [], []
        for turn in turns:
            routing = turn.reply.routing or {}
            name = routing.get("expert") or contestant.model
            item.expert, item.reason = str(name), routing.get("reason")
            expert = facts.get(str(name))
            totals = (routing.get("trace") or {}).get("totals") or {}
            size = expert and (expert.active_params_b or expert.params_b)
            sizes.append(totals.get("active_params_b", size))
            costs.append(totals.get("cost", _cost(expert, turn)))
            seconds.append(turn.reply.seconds)
        item.active_params_b = _mean(sizes)
        item.cost = None if any(cost is None for cost in costs) else float(sum(filter(None, costs)))
        item.latency_s = _mean(seconds)

    def _refused(self, contestant: Contestant, question: Question) -> ItemRow:
        return _blank(contestant, question, "fitted_on")

    def _contestant(self, point: LivePoint) -> Contestant:
        server = self._servers[normal_base(point.composition.api or self.sweep.api)]
        composed = {each.name: each for each in self._composed(server)}
        routing: dict[str, Any] = {}
        if point.experts is not None:
            unknown = sorted(set(point.experts) - set(composed))
            if unknown:
                raise SweepError(
                    f"grid.experts: {server.base} does not compose {', '.join(unknown)}; it composes "
                    f"{', '.join(composed)}"
                )
            routing["exclude"] = sorted(set(composed) - set(point.experts))
        policy = server.composition.policy
        boosts = {name: weight_boost(expert, point, policy) for name, expert in composed.items()}
        if any(boosts.values()):
            routing["boost"] = boosts
        if point.strategy is not None:
            routing["strategy"] = point.strategy.name
            if point.strategy.options:
                routing["options"] = dict(point.strategy.options)
        extra: dict[str, Any] = {"routing": routing} if routing else {}
        return Contestant(point.name, server.base, "coterie", api_key=self._key, extra=extra)

    def _composed(self, server: ServedApi) -> list[ExpertInfo]:
        """The experts of the server's composition, or all of them when it says nothing of one."""
        names = {each["name"] for each in server.composition.experts}
        return [
            each for each in server.experts if each.name in names or (not names and not routes(each.name))
        ]

    async def _ask_servers(self) -> dict[str, ServedApi]:
        found = {}
        try:
            bases = {normal_base(self.sweep.api)} | {
                normal_base(each.api) for each in self.sweep.grid.compositions if each.api
            }
            for base in sorted(bases):
                async with AsyncClient(base, key=self._key) as api:
                    composition = await served_composition(api) or CompositionInfo()
                    found[base] = ServedApi(base, await served_experts(api), composition)
        except (ApiError, ContestantError) as error:
            raise SweepError(str(error)) from error
        return found

    def _prepared(self) -> Benchmark:
        config = self.sweep.benchmark
        request = RunRequest(
            benchmark=config.name,
            against=f"{BASELINE.strip()}=#{next(iter(self._servers.values())).experts[0].name}",
            api=self.sweep.api,
            data=config.data,
            limit=config.limit,
            category=tuple(config.category),
            max_tokens=config.max_tokens,
            baseline=config.baseline,
            judge=config.judge,
            concurrency=self.sweep.concurrency,
            seed=self.sweep.seed,
            cache=self._cache,
            allow_network_code=config.allow_network_code,
        )
        try:
            return prepare(request, Keys(api=self._key)).benchmark
        except Exception as error:
            # Every benchmark has errors of its own for names and files that cannot be used.
            if config.name in BENCHMARKS or Path(config.name).exists():
                raise SweepError(f"benchmark {config.name}: {error}") from error
            raise SweepError(f"there is no benchmark or file {config.name!r}") from error

    def _screen(self) -> Screening:
        """Decontaminate against the union of the compositions, so that rows are comparable."""
        from eval.decontamination import merged

        prompts = [question.turns[0] for question in self.questions]
        found = {}
        for each in self.sweep.grid.compositions:
            server = self._servers[normal_base(each.api or self.sweep.api)]
            folder = each.folder or composition_folder(server.composition.digest)
            try:
                if folder is None and not self.sweep.allow_seen:
                    raise DecontaminationError(
                        f"nothing says what the composition {each.name!r} was fitted on: give its folder in "
                        "grid.compositions, or take the risk with allow_seen: true"
                    )
                found[each.name] = screen_for(folder or Path("-"), prompts, allow_seen=self.sweep.allow_seen)
            except DecontaminationError as error:
                raise SweepError(str(error)) from error
        return merged(found)


def weight_boost(expert: ExpertInfo, point: LivePoint, policy: Mapping[str, Any]) -> float:
    """The boost that turns the served `policy`'s cost weight into `point`'s for `expert`. Raises SweepError
    (unknown size, or a boost above LARGEST_BOOST)."""

    size, wanted = expert.active_params_b or expert.params_b, point.active_weight
    by_size = 0.0 if wanted is None else wanted - float(policy.get("active_weight") or 0.0)
    if by_size and size is None:
        raise SweepError(f"the API does not say how large {expert.name} is, so it has no active weight")
    boost = -by_size * (size or 0.0)
    if abs(boost) > LARGEST_BOOST:
        raise SweepError(
            f"{point.name}: the weight moves {expert.name} by {boost:g}, more than a request may "
            f"({LARGEST_BOOST:g}): choose one closer to the served policy's"
        )
    return round(boost, 9) + 0.0


def _system(point: LivePoint) -> str | None:
    if point.prompt.file is None:
        return point.prompt.system
    try:
        return read_text(point.prompt.file).strip()
    except TextFileError as error:
        raise SweepError(str(error)) from error


def _blank(contestant: Contestant, question: Question, error: str | None) -> ItemRow:
    return ItemRow(
        run_id="",
        configuration=contestant.name,
        uid=question.id,
        category=question.category,
        error=error,
    )


def _cost(expert: ExpertInfo | None, turn: AskedTurn) -> float | None:
    return None if expert is None else usage_cost(expert.price, turn.reply.usage)


def _card(expert: ExpertInfo) -> ExpertCard:
    size = expert.params_b or 0.0
    return ExpertCard(
        expert.name,
        size,
        expert.active_params_b or size,
        expert.price.input,
        expert.price.cached_input,
        expert.price.output,
    )


def _embeddings(prompts: Sequence[str]) -> Any:
    """Embeddings for kNN and k-means; None without an encoder."""
    from routers.embeddings import encode_cached, vectors_folder
    from routers.encoder import EncoderMissing, load_encoder

    try:
        return encode_cached(load_encoder(threads=1), prompts, vectors_folder())
    except EncoderMissing:
        return None


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known and len(known) == len(values) else None
