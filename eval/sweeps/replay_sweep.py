"""Replay sweeps: configurations evaluated on an outcome table, fitted ones by cross-validation.

A unit of work is one composition on one fold: its configurations share the fit, and its rows are written in
one transaction, so that an interrupted sweep repeats only unfinished units.
"""

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from base.cache_folder import cache_folder
from base.files import file_digest
from eval.decontamination import DecontaminationError, Screening, fitted_prompts, screen, screen_for
from eval.sweeps.fold_baselines import FoldBaseline, baselines_of, labels_of
from eval.sweeps.grid import ReplayPoint, replay_points
from eval.sweeps.sweep_file import FitConfig, ReplayComposition, ReplaySweep, SweepError
from eval.sweeps.sweep_store import ItemRow
from prompts.seeds import load_seeds
from routers.batch import choose, is_sure
from routers.composition import Composition, CompositionError, load_composition
from routers.embeddings import vectors_folder
from routers.encoder import Encoder, EncoderMissing, load_encoder
from routers.estimate import Estimate, estimate_table
from routers.features import features_of_prompts
from routers.fitting import FitError, FitOptions, Labelled, fit
from routers.fitting.compose import Fit
from routers.fitting.policy_fit import fit_policy
from routers.fitting.splits import assign_folds
from routers.fitting.stages import StageCache
from routers.mapping import BudgetTooSmall
from routers.outcome_table import OutcomeError, read_outcomes, table_costs
from routers.policy import Policy
from routers.request import Matrix
from routers.utilities import Utilities

WHOLE = -1
"""The fold of a composition from a folder: the whole table."""
REFUSED = "fitted_on"
"""The error of an item removed by decontamination."""

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Unit:
    """`points` that share a fit (or folder) on one fold."""

    points: tuple[ReplayPoint, ...]
    fold: int


class ReplayWork:
    """A replay sweep with its table and folds."""

    def __init__(self, sweep: ReplaySweep) -> None:
        """Raises SweepError."""
        self.sweep = sweep
        self.points = replay_points(sweep)
        try:
            whole = read_outcomes(sweep.table)
            self._encoder: Encoder = load_encoder(threads=1)
        except (OutcomeError, EncoderMissing) as error:
            raise SweepError(str(error)) from error
        complete = np.flatnonzero(~np.isnan(whole.scores).any(axis=1))
        self.unscored = len(whole) - len(complete)
        self.table = whole.take(complete)
        self._paid = table_costs("cost", self.table)
        if len(self.table) < 2 * sweep.folds:
            raise SweepError(
                f"{sweep.table}: {len(self.table)} prompts are scored for every expert, too few for "
                f"{sweep.folds} folds"
            )
        for point in self.points:
            unknown = sorted(set(point.experts or ()) - set(self.table.expert_names))
            if unknown:
                raise SweepError(
                    f"grid.experts: the table has no {', '.join(unknown)}; it has "
                    f"{', '.join(self.table.expert_names)}"
                )
        self.categories, self._labels = labels_of(self.table)
        self.folds = assign_folds(self.table.prompts, self._labels, sweep.folds, sweep.seed)
        self._known_features: dict[str, Matrix] = {}
        self._screenings: dict[tuple[str, int], Screening] = {}
        self._lock = threading.Lock()

    @property
    def items(self) -> int:
        """Total number of items."""
        return len(self.points) * len(self.table)

    def digests(self) -> dict[str, str]:
        """Digests of table, compositions and encoder."""
        found = {
            f"table/{name}": file_digest(self.sweep.table / name)
            for name in ("prompts.parquet", "scores.parquet", "experts.yaml")
        }
        for each in self.sweep.grid.compositions:
            if each.folder is not None:
                found[f"composition/{each.name}"] = self._loaded(each.folder).digest
        found["encoder"] = self._encoder.revision
        return found

    def units(self, done: set[tuple[str, str]]) -> list[Unit]:
        """The units with unfinished items."""
        shared: dict[tuple[object, ...], list[ReplayPoint]] = {}
        for point in self.points:
            fits = point.composition.fit is not None
            key = (point.composition.name, *((point.experts, point.resident_budget_b) if fits else ()))
            shared.setdefault(key, []).append(point)
        units = []
        for points in shared.values():
            for fold in self._folds_of(points[0].composition):
                uids = [self.table.uids[int(row)] for row in self._rows(fold)]
                left = tuple(p for p in points if any((p.name, uid) not in done for uid in uids))
                if left:
                    units.append(Unit(left, fold))
        return units

    def run(self, units: Sequence[Unit]) -> Iterator[list[ItemRow]]:
        """The items of each unit as it finishes, with empty `run_id`. Raises SweepError."""
        waiting = iter(units)
        pool = ThreadPoolExecutor(self.sweep.workers, thread_name_prefix="sweep")
        running: set[Future[list[ItemRow]]] = set()
        try:
            for unit in waiting:
                running.add(pool.submit(self._work, unit))
                if len(running) < self.sweep.workers:
                    continue
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (each.result() for each in done)
            while running:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (each.result() for each in done)
        except (FitError, BudgetTooSmall, CompositionError, DecontaminationError, OutcomeError) as error:
            raise SweepError(str(error)) from error
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def baselines(self) -> Mapping[str, FoldBaseline]:
        """The cross-validated baselines on every prompt."""
        return baselines_of(
            self.table,
            self._features(self._encoder)[:, : self._encoder.dimension],
            folds=self.sweep.folds,
            seed=self.sweep.seed,
        )

    def guard(self) -> dict[str, Any]:
        """Decontamination results by composition and fold."""
        found = {
            composition.name: [
                self._screening(composition, fold).document() for fold in self._folds_of(composition)
            ]
            for composition in self.sweep.grid.compositions
        }
        every = [each for documents in found.values() for each in documents]
        return {
            "allow_seen": self.sweep.allow_seen,
            "refused": sum(each["refused"] for each in every),
            "seen": sum(each["seen"] for each in every),
            "near_duplicates": sum(each["near_duplicates"] for each in every),
            "compositions": found,
        }

    def _work(self, unit: Unit) -> list[ItemRow]:
        if unit.fold == WHOLE:
            return self._replay_folder(unit)
        point = unit.points[0]
        held = self._rows(unit.fold)
        screening = self._screening(point.composition, unit.fold)
        fitted = self._fit(point, np.flatnonzero(self.folds != unit.fold))
        features = self._features(self._encoder)[held]
        estimate = estimate_table(fitted.composition, features, threads=1)
        rows = []
        for each in unit.points:
            policy = _overridden(_policy(fitted, _options(each)), each)
            rows += self._items(each, fitted.composition, policy, estimate, held, screening.refused)
        return rows

    def _replay_folder(self, unit: Unit) -> list[ItemRow]:
        folder = unit.points[0].composition.folder
        if folder is None:
            raise SweepError("a composition without a folder cannot be replayed whole")
        composition = self._loaded(folder)
        missing = [name for name in composition.expert_names if name not in self.table.expert_names]
        if missing:
            raise SweepError(f"{folder}: the table has no scores of {', '.join(missing)}")
        features = self._features(_encoder_of(composition))
        screening = self._screening(unit.points[0].composition, WHOLE)
        estimate = estimate_table(composition, features, threads=1)
        rows = []
        for point in unit.points:
            allowed, policy = estimate, _overridden(composition.policy, point)
            if point.experts is not None:
                allowed, policy = _only(composition, policy, estimate, point.experts)
            held = self._rows(WHOLE)
            rows += self._items(point, composition, policy, allowed, held, screening.refused)
        return rows

    def _items(
        self,
        point: ReplayPoint,
        composition: Composition,
        policy: Policy,
        estimate: Estimate,
        held: Rows,
        refused: npt.NDArray[np.bool_],
    ) -> list[ItemRow]:
        chosen = choose(composition, policy, estimate)
        sure = is_sure(policy, estimate)
        items = []
        for place, row in enumerate(held):
            item = ItemRow(
                run_id="",
                configuration=point.name,
                uid=self.table.uids[int(row)],
                category=self.table.categories[int(row)],
            )
            if refused[place]:
                item.error = REFUSED
            else:
                card = composition.experts[int(chosen[place])]
                column = self.table.expert_names.index(card.name)
                item.score = float(self.table.scores[int(row), column])
                item.expert = card.name
                item.active_params_b = card.active_params_b
                if not np.isnan(paid := float(self._paid[int(row), column])):
                    item.cost = paid
                item.reason = "matched" if sure[place] else "uncertain"
                if self.table.seconds is not None:
                    waited = float(self.table.seconds[int(row), column])
                    item.latency_s = None if np.isnan(waited) else waited
            items.append(item)
        return items

    def _fit(self, point: ReplayPoint, train: Rows) -> Fit:
        """The fit on the rows `train`, without cost weights, which only concern the policy."""
        table = self.table if point.experts is None else self.table.keep_experts(point.experts)
        texts, seeds = self._seeds(point.composition, train)
        prompts = (*texts, *(self.table.prompts[int(row)] for row in train))
        part = table.take(train)
        return fit(
            Labelled(prompts, (*seeds, *part.categories), self._training_features(texts, train)),
            part,
            self._encoder,
            replace(
                _options(point), active_weight=0.0, cost_weight=0.0, compute_weight=0.0, target_active_b=None
            ),
            scored=np.arange(len(texts), len(prompts)),
            stages=StageCache(cache_folder() / "fits"),
        )

    def _seeds(self, composition: ReplayComposition, train: Rows) -> tuple[list[str], list[str]]:
        """The seed prompts that a fit includes, and their categories."""
        seeds = load_seeds("fit")
        wanted = (composition.fit or FitConfig()).seeds
        if wanted is None:
            ours = {seed.category for seed in seeds}
            wanted = {self.table.categories[int(row)] for row in train} <= ours
        if not wanted:
            return [], []
        return [seed.prompt for seed in seeds], [seed.category for seed in seeds]

    def _training_features(self, texts: Sequence[str], train: Rows) -> Matrix:
        own = self._features(self._encoder)[train]
        if not len(texts):
            return own
        with self._lock:
            return np.concatenate([features_of_prompts(self._encoder, texts, vectors_folder()), own])

    def _screening(self, composition: ReplayComposition, fold: int) -> Screening:
        """Decontamination of the prompts that `composition` is evaluated on in `fold`."""
        key = (composition.name, fold)
        if key not in self._screenings:
            held = self._rows(fold)
            prompts = [self.table.prompts[int(row)] for row in held]
            if composition.folder is not None:
                encoder = _encoder_of(self._loaded(composition.folder))
                vectors = self._features(encoder)[:, : encoder.dimension]
                found = screen_for(composition.folder, prompts, vectors, allow_seen=self.sweep.allow_seen)
            else:
                train = np.flatnonzero(self.folds != fold)
                texts, _ = self._seeds(composition, train)
                known = (*texts, *(self.table.prompts[int(row)] for row in train))
                found = screen(
                    prompts,
                    fitted_prompts(
                        known, self._training_features(texts, train)[:, : self._encoder.dimension]
                    ),
                    self._features(self._encoder)[held, : self._encoder.dimension],
                    allow_seen=self.sweep.allow_seen,
                )
            self._screenings[key] = found
        return self._screenings[key]

    def _folds_of(self, composition: ReplayComposition) -> Sequence[int]:
        return range(self.sweep.folds) if composition.fit is not None else (WHOLE,)

    def _rows(self, fold: int) -> Rows:
        found: Rows = np.flatnonzero(self.folds == fold) if fold != WHOLE else np.arange(len(self.table))
        return found

    def _loaded(self, folder: Path) -> Composition:
        try:
            return load_composition(folder)
        except CompositionError as error:
            raise SweepError(str(error)) from error

    def _features(self, encoder: Encoder) -> Matrix:
        with self._lock:
            if encoder.revision not in self._known_features:
                self._known_features[encoder.revision] = features_of_prompts(
                    encoder, self.table.prompts, vectors_folder()
                )
            return self._known_features[encoder.revision]


def _options(point: ReplayPoint) -> FitOptions:
    config = point.composition.fit or FitConfig()
    return FitOptions(
        classifier=config.classifier,
        correction=config.correction,
        sure_accuracy=config.sure_accuracy,
        novel_quantile=config.novel_quantile,
        active_weight=point.active_weight or 0.0,
        cost_weight=point.cost_weight or 0.0,
        compute_weight=point.compute_weight or 0.0,
        target_active_b=point.target_active_b,
        resident_budget_b=point.resident_budget_b,
        jobs=1,
    )


def _policy(fitted: Fit, options: FitOptions) -> Policy:
    """The policy of a fit with these weights, without refitting the rest."""
    composition = fitted.composition
    utilities = Utilities(
        composition.utilities, composition.errors, composition.counts, composition.global_utilities, 0.0
    )
    return fit_policy(fitted.held_out, utilities, composition.experts, options, fitted.validation)


def _overridden(policy: Policy, point: ReplayPoint) -> Policy:
    names = ["threshold", "ood_threshold"]
    if point.composition.folder is not None:
        names += ["active_weight", "cost_weight", "compute_weight"]
    return replace(policy, **{n: getattr(point, n) for n in names if getattr(point, n) is not None})


def _only(
    composition: Composition, policy: Policy, estimate: Estimate, experts: Sequence[str]
) -> tuple[Estimate, Policy]:
    """As if the client excluded all others; without its generalist the policy never falls back."""
    barred = np.asarray([name not in experts for name in composition.expert_names])
    if barred.all():
        raise SweepError(f"grid.experts: the composition has none of {', '.join(experts)}")
    utilities = np.where(barred, np.float32(-1e9), estimate.utilities).astype(np.float32)
    if barred[composition.expert_names.index(policy.generalist)]:
        policy = replace(policy, threshold=0.0, ood_threshold=1.0)
    return replace(estimate, utilities=utilities), policy


def _encoder_of(composition: Composition) -> Encoder:
    """The encoder in the precision of `composition`."""
    return load_encoder(
        precision="float32" if "float32" in composition.encoder_revision else "int8", threads=1
    )
