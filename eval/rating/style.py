"""Style control (Li, Angelopoulos & Chiang 2024, "Does style matter?", LMSYS): Bradley-Terry with covariates,

    logit P(model wins) = θ_model - θ_baseline + Σ_k β_k·x_k,    x = (a - b) / (a + b), standardised,

of the answers' lengths and of headers, lists and bold per unit of length. θ is the strength at equal style.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from base.phrases import words
from eval.rating.bradley_terry import RIDGE, STEPS, Pairs, RatingError
from eval.rating.resampling import Floats, Ints, interval, multiplicities, sums_by_question

SETTLED = 1e-7

_CODE = re.compile(r"^(`{3,}|~{3,}).*?(?:^\1[`~]*[ \t]*$|\Z)", re.MULTILINE | re.DOTALL)
_HEADER = re.compile(r"^ {0,3}#{1,6}[ \t]", re.MULTILINE)
_LIST = re.compile(r"^[ \t]*(?:[-*+]|\d{1,9}[.)])[ \t]+\S", re.MULTILINE)
_BOLD = re.compile(r"(\*\*|__)(?=\S)(?:.*?\S)\1")


@dataclass(frozen=True, slots=True)
class Style:
    """Length in words (characters in scripts without blanks), and counts of Markdown outside code blocks."""

    length: int
    headers: int
    lists: int
    bold: int


def style_of(answer: str) -> Style:
    """The style of an answer."""
    prose = _CODE.sub("", answer)
    return Style(
        length=len(words(answer)),
        headers=len(_HEADER.findall(prose)),
        lists=len(_LIST.findall(prose)),
        bold=len(_BOLD.findall(prose)),
    )


def differences(styles: Mapping[str, tuple[Floats, Floats]]) -> tuple[tuple[str, ...], Floats]:
    """Names and values (rows, features) of the non-constant covariates; NaN for unknown styles."""
    lengths = styles.get("length")
    names, columns = [], []
    for name, (ours, theirs) in styles.items():
        if name != "length" and lengths is not None:
            with np.errstate(invalid="ignore", divide="ignore"):
                ours, theirs = ours / np.maximum(lengths[0], 1), theirs / np.maximum(lengths[1], 1)
        both = ours + theirs
        value = np.where(both == 0, 0.0, (ours - theirs) / np.where(both == 0, 1, both))
        deviation = float(np.nanstd(value)) if not np.isnan(value).all() else 0.0
        if deviation > 0:
            names.append(name)
            columns.append(value / deviation)
    return tuple(names), np.stack(columns, axis=1) if columns else np.empty((0, 0))


@dataclass(frozen=True, slots=True)
class Verdicts:
    """Rows: `pair`, `points` of its first player out of `games`, `question`, and covariates `x` (rows,
    features) of the first player."""

    pairs: Pairs
    pair: Ints
    question: Ints
    questions: int
    points: Floats
    games: Floats
    x: Floats


@dataclass(frozen=True, slots=True)
class StyleFit:
    """Strengths (players,) at equal style and coefficients (features,), log-odds, and their bootstrap
    samples."""

    theta: Floats
    coefficients: Floats
    theta_rounds: Floats
    coefficient_rounds: Floats

    def rates(self) -> Floats:
        """P(player beats the anchor) at equal style, (players,)."""
        return _logistic(self.theta)

    def rate_limits(self, confidence: float) -> tuple[Floats, Floats]:
        return interval(_logistic(self.theta_rounds), confidence)


def fit_style(verdicts: Verdicts, anchor: int, *, rounds: int, seed: int) -> StyleFit:
    """Fit by Newton's method, with the one-step bootstrap (Moulton & Zeger 1991, Comput. Stat. Data Anal.
    11). Raises RatingError without convergence."""
    players, features = verdicts.pairs.players, verdicts.x.shape[1]
    shape = _Shape(verdicts.pairs, features, anchor)
    parameters = np.zeros(players + features)
    for _ in range(STEPS):
        gradient, hessian = _sums(verdicts, parameters)
        step = shape.steps(gradient.sum(axis=0)[None], hessian.sum(axis=0)[None], parameters)[0]
        parameters = parameters + np.clip(step, -4, 4)
        if np.abs(step).max() < SETTLED:
            break
    else:
        raise RatingError(f"the style-controlled ratings did not settle in {STEPS} steps")
    gradient, hessian = _sums(verdicts, parameters)
    width = (players + features) ** 2
    moved: list[Floats] = [
        parameters + np.clip(shape.steps(drawn @ gradient, drawn @ hessian, parameters), -4, 4)
        for drawn in multiplicities(verdicts.questions, rounds, seed, width)
    ]
    resampled = np.concatenate(moved)
    return StyleFit(
        parameters[:players], parameters[players:], resampled[:, :players], resampled[:, players:]
    )


@dataclass(frozen=True, slots=True)
class _Shape:
    """Assembles gradient and Hessian from sums by pair and feature."""

    pairs: Pairs
    features: int
    anchor: int

    def steps(self, gradients: Floats, hessians: Floats, parameters: Floats) -> Floats:
        """Newton steps (rounds, players + features) from the sums of `_sums`."""
        rounds, pairs, players = len(gradients), len(self.pairs), self.pairs.players
        size = players + self.features
        first, second = self.pairs.first, self.pairs.second
        gradient = np.broadcast_to(-RIDGE * parameters, (rounds, size)).copy()
        np.add.at(gradient.T, first, gradients[:, :pairs].T)
        np.add.at(gradient.T, second, -gradients[:, :pairs].T)
        gradient[:, players:] += gradients[:, pairs:]
        matrix = np.zeros((rounds, size, size))
        weight = hessians[:, :pairs]
        matrix[:, first, second] -= weight
        matrix[:, second, first] -= weight
        diagonal = np.arange(players)
        matrix[:, diagonal, diagonal] = -matrix[:, :players, :players].sum(axis=2)
        for feature in range(self.features):
            crossed = hessians[:, pairs * (feature + 1) : pairs * (feature + 2)]
            column = matrix[:, :players, players + feature]
            np.add.at(column.T, first, crossed.T)
            np.add.at(column.T, second, -crossed.T)
            matrix[:, players + feature, :players] = column
        squares = hessians[:, pairs * (self.features + 1) :].reshape(rounds, self.features, self.features)
        matrix[:, players:, players:] = squares
        matrix[:, np.arange(size), np.arange(size)] += RIDGE
        gradient[:, self.anchor] = 0
        matrix[:, self.anchor, :] = 0
        matrix[:, :, self.anchor] = 0
        matrix[:, self.anchor, self.anchor] = 1
        return np.asarray(np.linalg.solve(matrix, gradient[..., None])[..., 0], dtype=np.float64)


def _sums(verdicts: Verdicts, parameters: Floats) -> tuple[Floats, Floats]:
    """Sparse sums (questions, ·): the gradient by pair and by feature; second derivatives by pair, by feature
    and pair, and by two features."""
    pairs, features = verdicts.pairs, verdicts.x.shape[1]
    theta, beta = parameters[: pairs.players], parameters[pairs.players :]
    odds = (theta[pairs.first] - theta[pairs.second])[verdicts.pair] + verdicts.x @ beta
    chance = _logistic(odds)
    surplus = verdicts.points - verdicts.games * chance
    weight = verdicts.games * chance * (1 - chance)
    rows, count = len(surplus), len(pairs)

    def laid_out(blocks: list[tuple[Ints, Floats]], columns: int) -> Floats:
        found: Floats = sums_by_question(
            np.tile(verdicts.question, len(blocks)),
            np.concatenate([column for column, _ in blocks]),
            np.concatenate([value for _, value in blocks]),
            verdicts.questions,
            columns,
        )
        return found

    def at(column: int) -> Ints:
        return np.full(rows, column, dtype=np.int64)

    gradient = [(verdicts.pair, surplus)]
    gradient += [(at(count + k), surplus * verdicts.x[:, k]) for k in range(features)]
    second = [(verdicts.pair, weight)]
    second += [(verdicts.pair + count * (k + 1), weight * verdicts.x[:, k]) for k in range(features)]
    second += [
        (at(count * (features + 1) + features * k + j), weight * verdicts.x[:, k] * verdicts.x[:, j])
        for k in range(features)
        for j in range(features)
    ]
    return (
        laid_out(gradient, count + features),
        laid_out(second, count * (features + 1) + features * features),
    )


def _logistic(odds: Floats) -> Floats:
    return 1 / (1 + np.exp(-odds))
