"""Outcome tables: prompts, their categories, and how well each expert answered them.

A folder of three files:

    prompts.parquet   uid, category, prompt
    scores.parquet    uid, one column per expert with scores in 0..1 (null where nobody scored)
    experts.yaml      experts: [{name, params_b, active_params_b?, price_input?, price_output?, ...}]

and of any of these beside them, with uid and a column per expert, null where unknown; prompts and experts
that a file lacks are unknown:

    tokens_in.parquet, tokens_out.parquet   tokens of the prompt, and of the whole answer
    tokens_reasoning.parquet                those of the answer that nobody sees
    seconds.parquet                         from the request to the whole answer
    samples.parquet                         how many answers a score is the mean of (1 without the file)
    spread.parquet                          the standard deviation of their scores
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import AliasChoices, Field, ValidationError

from base.strict_model import StrictModel
from base.validation_messages import problems_of
from base.yaml_lines import YamlProblem, read_yaml
from routers.composition import ExpertCard
from routers.request import Capability, Matrix
from routers.request_costs import CostKind, cell_costs


class _CardRow(StrictModel):
    """One expert of an `experts.yaml`; prices under either of two names."""

    name: str = Field(min_length=1)
    params_b: float = Field(ge=0, allow_inf_nan=False)
    active_params_b: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    price_input: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, validation_alias=AliasChoices("price_input", "input_price")
    )
    price_cached: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, validation_alias=AliasChoices("price_cached", "cached_price")
    )
    price_output: float | None = Field(
        default=None, ge=0, allow_inf_nan=False, validation_alias=AliasChoices("price_output", "output_price")
    )
    context_length: int | None = Field(default=None, gt=0)
    capabilities: frozenset[Capability] = frozenset()
    description: str = ""
    base: str | None = None

    def card(self) -> ExpertCard:
        return ExpertCard(
            name=self.name,
            params_b=self.params_b,
            active_params_b=self.params_b if self.active_params_b is None else self.active_params_b,
            price_input=self.price_input,
            price_cached=self.price_cached,
            price_output=self.price_output,
            context_length=self.context_length,
            capabilities=self.capabilities,
            description=self.description,
            base=self.base,
        )


class OutcomeError(Exception):
    """An outcome table that cannot be used; the message names the file and what is wrong."""


MEASURES = ("tokens_in", "tokens_out", "tokens_reasoning", "seconds", "samples", "spread")
"""What may be known of a cell beside its score: fields of OutcomeTable, and files of the folder."""


@dataclass(frozen=True, slots=True)
class OutcomeTable:
    """Parallel columns over prompts; `scores` has shape (prompts, experts), NaN where unscored. Those of
    MEASURES have the same shape, NaN where unknown, and are None where nothing is known."""

    uids: tuple[str, ...]
    categories: tuple[str, ...]
    prompts: tuple[str, ...]
    experts: tuple[ExpertCard, ...]
    scores: Matrix
    tokens_in: Matrix | None = None
    tokens_out: Matrix | None = None
    tokens_reasoning: Matrix | None = None
    seconds: Matrix | None = None
    samples: Matrix | None = None
    spread: Matrix | None = None

    def __len__(self) -> int:
        return len(self.uids)

    @property
    def expert_names(self) -> tuple[str, ...]:
        return tuple(card.name for card in self.experts)

    def take(self, rows: npt.NDArray[np.int64] | Sequence[int]) -> "OutcomeTable":
        """The table of these rows, in this order."""
        index = [int(row) for row in rows]
        return OutcomeTable(
            tuple(self.uids[row] for row in index),
            tuple(self.categories[row] for row in index),
            tuple(self.prompts[row] for row in index),
            self.experts,
            self.scores[index],
            **self._measures(lambda matrix: matrix[index]),
        )

    def _measures(self, part: Callable[[Matrix], Matrix]) -> dict[str, Matrix | None]:
        found = {name: getattr(self, name) for name in MEASURES}
        return {name: None if matrix is None else part(matrix) for name, matrix in found.items()}

    def keep_experts(self, names: Sequence[str]) -> "OutcomeTable":
        """The table with these experts only, in this order. Raises OutcomeError for an unknown one."""
        known = self.expert_names
        unknown = [name for name in names if name not in known]
        if unknown:
            raise OutcomeError(f"no expert {', '.join(unknown)} in the table: it has {', '.join(known)}")
        columns = [known.index(name) for name in names]
        experts = tuple(self.experts[column] for column in columns)
        return OutcomeTable(
            self.uids,
            self.categories,
            self.prompts,
            experts,
            self.scores[:, columns],
            **self._measures(lambda matrix: matrix[:, columns]),
        )


def table_costs(kind: CostKind, table: OutcomeTable) -> Matrix:
    """What each request took of each expert by the table's own counts, (prompts, experts); NaN unknown."""
    nothing = np.ones((len(table), 1), dtype=np.float32)
    return cell_costs(kind, table.experts, None, nothing, table.tokens_in, table.tokens_out)


def read_outcomes(folder: Path) -> OutcomeTable:
    """Read and validate a table. Raises OutcomeError."""
    prompts = _read_parquet(folder / "prompts.parquet", {"uid", "category", "prompt"})
    scores = _read_parquet(folder / "scores.parquet", {"uid"})
    cards = read_cards(folder / "experts.yaml")
    uids = [str(uid) for uid in prompts["uid"]]
    _unique(folder / "prompts.parquet", uids)
    scored = [str(uid) for uid in scores["uid"]]
    _unique(folder / "scores.parquet", scored)
    stray = set(scored) - set(uids)
    if stray:
        raise OutcomeError(f"{folder / 'scores.parquet'}: {_some(stray)} not in prompts.parquet")
    columns = set(scores) - {"uid"}
    names = [card.name for card in cards]
    missing = [name for name in names if name not in columns]
    if missing:
        raise OutcomeError(f"{folder / 'scores.parquet'}: no column for the experts {', '.join(missing)}")
    undescribed = sorted(columns - set(names))
    if undescribed:
        raise OutcomeError(
            f"{folder / 'experts.yaml'}: scores.parquet has {', '.join(undescribed)}, described nowhere"
        )
    for kind in ("category", "prompt"):
        empty = [uid for uid, text in zip(uids, prompts[kind], strict=True) if not str(text or "").strip()]
        if empty:
            raise OutcomeError(f"{folder / 'prompts.parquet'}: {kind} is empty for {_some(empty)}")
    return OutcomeTable(
        tuple(uids),
        tuple(str(each) for each in prompts["category"]),
        tuple(str(each) for each in prompts["prompt"]),
        cards,
        _scores(folder / "scores.parquet", uids, scored, scores, names),
        **{name: _measure(folder / f"{name}.parquet", uids, names) for name in MEASURES},
    )


def _measure(path: Path, uids: Sequence[str], names: Sequence[str]) -> Matrix | None:
    """One of MEASURES; None without the file."""
    if not path.exists():
        return None
    found = _read_parquet(path, {"uid"})
    known = [str(uid) for uid in found["uid"]]
    _unique(path, known)
    if stray := set(known) - set(uids):
        raise OutcomeError(f"{path}: {_some(stray)} not in prompts.parquet")
    if unknown := sorted(set(found) - {"uid", *names}):
        raise OutcomeError(f"{path}: a column for {', '.join(unknown)}, described nowhere in experts.yaml")
    nothing: list[Any] = [None] * len(known)
    matrix = _matrix(path, uids, known, {name: found.get(name, nothing) for name in names}, names)
    if len(wrong := np.argwhere((matrix < 0) | np.isinf(matrix))):
        row, column = wrong[0]
        raise OutcomeError(f"{path}: {matrix[row, column]} for {names[column]} at {uids[row]} is no amount")
    return matrix


def read_cards(path: Path) -> tuple[ExpertCard, ...]:
    """The experts of an `experts.yaml`, prices in $ per million tokens. Raises OutcomeError."""
    if not path.exists():
        raise OutcomeError(f"{path} is missing")
    try:
        document, _ = read_yaml(path)
        rows = document["experts"]
    except (YamlProblem, TypeError, KeyError) as error:
        raise OutcomeError(f"{path}: expected `experts:` and a list: {error}") from error
    if not isinstance(rows, list) or not rows:
        raise OutcomeError(f"{path}: expected `experts:` and a list of at least one expert")
    cards = tuple(_card(path, position, row) for position, row in enumerate(rows, start=1))
    _unique(path, [card.name for card in cards])
    return cards


def _card(path: Path, position: int, row: Any) -> ExpertCard:
    try:
        return _CardRow.model_validate(row).card()
    except ValidationError as error:
        name = row.get("name") if isinstance(row, dict) else None
        expert = repr(name) if name else f"number {position}"
        raise OutcomeError(f"{path}: expert {expert}: {problems_of(error, 'the entry')[0]}") from error


def _read_parquet(path: Path, wanted: set[str]) -> dict[str, list[Any]]:
    import pyarrow
    import pyarrow.parquet

    try:
        table = pyarrow.parquet.read_table(path)
    except FileNotFoundError as error:
        raise OutcomeError(f"{path} is missing") from error
    except (pyarrow.ArrowException, OSError) as error:
        raise OutcomeError(f"{path} is not a Parquet file: {error}") from error
    missing = wanted - set(table.column_names)
    if missing:
        raise OutcomeError(f"{path}: no column {', '.join(sorted(missing))}")
    columns: dict[str, list[Any]] = table.to_pydict()
    return columns


def _matrix(
    path: Path, uids: Sequence[str], scored: Sequence[str], scores: dict[str, list[Any]], names: Sequence[str]
) -> Matrix:
    row_of = {uid: row for row, uid in enumerate(uids)}
    matrix = np.full((len(uids), len(names)), np.nan, dtype=np.float32)
    rows = [row_of[uid] for uid in scored]
    for column, name in enumerate(names):
        try:
            matrix[rows, column] = [np.nan if value is None else float(value) for value in scores[name]]
        except (TypeError, ValueError) as error:
            raise OutcomeError(f"{path}: {name}: not a number: {error}") from error
    return matrix


def _scores(
    path: Path, uids: Sequence[str], scored: Sequence[str], scores: dict[str, list[Any]], names: Sequence[str]
) -> Matrix:
    matrix = _matrix(path, uids, scored, scores, names)
    wrong = np.argwhere((matrix < 0) | (matrix > 1))
    if len(wrong):
        row, column = wrong[0]
        raise OutcomeError(
            f"{path}: {len(wrong)} scores outside 0..1, the first {matrix[row, column]} "
            f"for {names[column]} at {uids[row]}: rescale them"
        )
    return matrix


def _unique(path: Path, names: Sequence[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise OutcomeError(f"{path}: {_some(twice)} more than once: ids must be unique")


def _some(names: Sequence[str] | set[str]) -> str:
    shown = sorted(names)[:3]
    return ", ".join(shown) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
