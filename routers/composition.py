"""A composition: everything that is fitted, in one folder.

    composition.json       manifest: categories, experts, policy, metrics, digests of the other files
    arrays.safetensors     classifier, prototypes, utilities, correction
    index.faiss            only for the k-NN classifier
    strategies.*           only with fitted strategies (`routers.strategies.fitted_strategies`)
    evidence.safetensors   training data (`routers.evidence`); optional, not read when serving

Loading verifies every digest; the digest of the manifest identifies the composition.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from base.files import file_digest, replacing_folder
from base.json_documents import DocumentError, json_text
from routers import features
from routers.classifiers import CLASSIFIERS, Classifier
from routers.correction import Correction, strip_prefix
from routers.evidence import FILE as EVIDENCE
from routers.evidence import Evidence
from routers.novelty import Novelty
from routers.outlook import Outlook
from routers.policy import Policy
from routers.request import NOTHING, Capability, Matrix, Vector
from routers.request_costs import ExpectedTokens, UnknownCost, costs
from routers.strategies import fitted_strategies
from routers.strategies.fitted_strategies import (
    FittedStrategies,
    StrategiesError,
    load_strategies,
    save_strategies,
)

FORMAT = 3
MANIFEST = "composition.json"
ARRAYS = "arrays.safetensors"
_CLASSIFIER, _NOVELTY, _CORRECTION = "classifier.", "novelty.", "correction."
"""Prefixes of the array names of each part."""
_TOKENS = ("tokens_in", "tokens_out")
"""Arrays of its tokens, where they are known; NaN for experts of whom nothing is."""
_TABLES = ("utilities", "errors", "counts", "global_utilities")
"""Arrays named as the fields of Composition."""
_NAME = re.compile(r"\w[\w.-]*", re.ASCII)
"""A file in the folder itself: no separators, no `..`."""


class CompositionError(Exception):
    """A composition cannot be read or used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class ExpertCard:
    """Properties of an expert. Prices in $ per million tokens, None when unknown; `price_cached` is that of
    prompt tokens that a prefix cache held, None: that of all others."""

    name: str
    params_b: float
    active_params_b: float
    price_input: float | None = None
    price_cached: float | None = None
    price_output: float | None = None
    context_length: int | None = None
    capabilities: frozenset[Capability] = frozenset()
    description: str = ""
    base: str | None = None
    """The expert whose weights this prompt expert shares."""


@dataclass(frozen=True, slots=True)
class Composition:
    """Fitted estimates and policy. `utilities`, `errors` (standard errors) and `counts` (scored prompts):
    (categories, experts); `global_utilities` (experts,) for requests without category."""

    digest: str
    categories: tuple[str, ...]
    experts: tuple[ExpertCard, ...]
    classifier_name: str
    classifier: Classifier
    temperature: float
    novelty: Novelty
    utilities: Matrix
    errors: Matrix
    counts: Matrix
    global_utilities: Matrix
    policy: Policy
    encoder: str
    encoder_revision: str
    tokens: ExpectedTokens | None = None
    """What requests are expected to take; None when the outcome table had no tokens."""
    correction: Correction | None = None
    """Per-request correction of the utilities; None when it did not improve held-out predictions."""
    strategies: FittedStrategies | None = None
    """Strategies fitted for these experts and categories; None before `coterie strategies fit`."""
    manifest: Mapping[str, Any] = field(default_factory=lambda: NOTHING)
    expert_names: tuple[str, ...] = field(init=False)
    _outlooks: dict[tuple[object, ...], Outlook] = field(
        init=False, repr=False, compare=False, default_factory=dict
    )
    """By category and the weights of a policy: worked out once."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "expert_names", tuple(card.name for card in self.experts))

    @property
    def map(self) -> Mapping[str, str]:
        """Category → expert of best value under the composition's policy."""
        values = self.utilities - self.costs(np.eye(len(self.categories), dtype=np.float32))
        return {
            category: self.experts[int(best)].name
            for category, best in zip(self.categories, best_of(values, self.experts), strict=True)
        }

    def costs(self, posterior: Matrix | None, policy: Policy | None = None) -> Matrix:
        """What `policy` (its own by default) takes off the expected scores, (rows, experts), for requests
        with `posterior` (rows, categories); None: one row, for the mix of all categories. Raises
        UnknownCost."""
        return costs(self.experts, policy or self.policy, self.tokens, posterior)

    def outlook(self, policy: Policy, utilities: Vector, posterior: Vector | None) -> Outlook:
        """Of requests with `posterior` (categories,), None: of whatever category, and with these expected
        scores (experts,)."""
        return Outlook.of(self.experts, policy, self.tokens, utilities, posterior)

    def outlook_unread(self, policy: Policy, category: str | None) -> Outlook:
        """Of requests that nobody reads: the category's utilities hold, the overall ones where it is None."""
        weights = policy.active_weight, policy.cost_weight, policy.compute_weight
        key = category, *weights, tuple(policy.wake_costs.items())
        if (found := self._outlooks.get(key)) is None:
            utilities, posterior = self.global_utilities, None
            if category is not None:
                row = self.categories.index(category)
                utilities, posterior = self.utilities[row], np.eye(len(self.categories))[row]
            self._outlooks[key] = found = self.outlook(policy, utilities, posterior)
        return found

    @property
    def alternative(self) -> str:
        """The expert that costs are compared with: the policy's, else the best for everything."""
        return self.policy.alternative or self.experts[int(self.global_utilities.argmax())].name

    def with_cards(self, cards: Sequence[ExpertCard]) -> "Composition":
        """The composition with its experts' properties replaced; further `cards` are ignored.

        Raises CompositionError when an expert is not among `cards`.
        """
        by_name = {card.name: card for card in cards}
        missing = [name for name in self.expert_names if name not in by_name]
        if missing:
            raise CompositionError(
                f"the composition maps to {', '.join(missing)}, but the registry has only "
                f"{', '.join(sorted(by_name))}: add the missing experts or fit a composition without them"
            )
        found = replace(self, experts=tuple(by_name[name] for name in self.expert_names))
        try:
            found.costs(None)
        except UnknownCost as error:
            raise CompositionError(f"the composition weighs what a request costs, and {error}") from error
        return found


def best_of(values: Matrix, experts: Sequence[ExpertCard]) -> npt.NDArray[np.int64]:
    """argmax of each row (rows, experts); ties go to the smaller expert, then by name, as in `decide`."""
    order = np.asarray(
        sorted(range(len(experts)), key=lambda i: (experts[i].active_params_b, experts[i].name))
    )
    best: npt.NDArray[np.int64] = order[values[:, order].argmax(axis=1)]
    return best


def save_composition(
    composition: Composition,
    folder: Path,
    evidence: Evidence | None = None,
    *,
    keep_others: bool = False,
) -> str:
    """Write `composition` and `evidence` to `folder` atomically; return the digest.

    An existing folder is replaced only if it holds a composition; with `keep_others`, what else it held (its
    report, its fingerprints) is kept. Operators' rules are not written. Raises CompositionError.
    """
    from safetensors.numpy import save

    if folder.exists() and any(folder.iterdir()) and not (folder / MANIFEST).exists():
        raise CompositionError(f"{folder} is not empty and holds no composition: choose another folder")
    with replacing_folder(folder) as made:
        arrays = {name: np.ascontiguousarray(array) for name, array in _arrays(composition).items()}
        (made / ARRAYS).write_bytes(save(arrays))
        composition.classifier.save_index(made)
        if composition.strategies is not None:
            save_strategies(composition.strategies, made)
        files = {path.name: file_digest(path) for path in sorted(made.iterdir())}
        beside = None
        if evidence is not None:
            (made / EVIDENCE).write_bytes(evidence.to_bytes())
            beside = {"prompts": len(evidence), "sha256": file_digest(made / EVIDENCE)}
        manifest = _manifest(composition, files, beside)
        try:
            text = json_text(manifest) + "\n"
        except DocumentError as error:
            raise CompositionError(f"{error}; check the table and the options it was fitted with") from error
        (made / MANIFEST).write_text(text, encoding="utf-8")
        if keep_others and folder.exists():
            _copy_others(folder, made)
    return _short(hashlib.sha256(text.encode()).hexdigest())


def _copy_others(folder: Path, made: Path) -> None:
    """Copy to `made` the files of `folder` that are no part of a composition."""
    owned = {EVIDENCE, *json.loads((folder / MANIFEST).read_bytes())["files"]}
    for path in folder.iterdir():
        if path.is_file() and path.name not in owned and not (made / path.name).exists():
            shutil.copy2(path, made / path.name)


def load_composition(folder: Path) -> Composition:
    """Read a composition and verify its digests. Raises CompositionError."""
    try:
        content = (folder / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise CompositionError(f"no composition in {folder}: make one with `coterie fit`") from error
    try:
        manifest = json.loads(content.decode())
        if manifest["format"] != FORMAT:
            raise CompositionError(
                f"{folder}: format {manifest['format']}, this version reads {FORMAT}: fit it again"
            )
        if manifest["features"] != features.FORMAT:
            raise CompositionError(f"{folder}: fitted on features of another version: fit it again")
        _verify(folder, manifest)
        return _composition(manifest, folder, _short(hashlib.sha256(content).hexdigest()))
    except OSError as error:
        raise CompositionError(f"{error.filename or folder}: {error.strerror}: fit it again") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise CompositionError(
            f"{folder / MANIFEST} is not a composition ({error!r}): fit it again"
        ) from error


def _verify(folder: Path, manifest: Mapping[str, Any]) -> None:
    """Raises CompositionError unless every file has the manifest's digest."""
    files = manifest["files"]
    needed = {ARRAYS, *CLASSIFIERS[manifest["classifier"]["name"]].FILES}
    if fitted_strategies.FILE in files:
        needed.add(fitted_strategies.ARRAYS)
    if missing := needed - set(files):
        raise CompositionError(
            f"{folder / MANIFEST} has no digest of {', '.join(sorted(missing))}: fit it again"
        )
    for name, digest in files.items():
        if not _NAME.fullmatch(name):
            raise CompositionError(f"{folder / MANIFEST}: {name!r} is not the name of a file beside it")
        if file_digest(folder / name) != digest:
            raise CompositionError(f"{folder / name} does not have the digest in {MANIFEST}: fit it again")


def _composition(manifest: Mapping[str, Any], folder: Path, digest: str) -> Composition:
    cards = tuple(
        ExpertCard(**{**card, "capabilities": frozenset(Capability(each) for each in card["capabilities"])})
        for card in manifest["experts"]
    )
    policy = Policy(**manifest["policy"])
    temperature = float(manifest["classifier"]["temperature"])
    if not 0 < temperature < float("inf"):
        raise ValueError(f"temperature must be positive, not {temperature}")
    if policy.generalist not in {card.name for card in cards}:
        raise CompositionError(f"the generalist {policy.generalist!r} is not an expert of the composition")
    categories, name = tuple(manifest["categories"]), manifest["classifier"]["name"]
    encoder, revision = manifest["encoder"]["name"], manifest["encoder"]["revision"]
    try:
        arrays = _read_arrays(folder / ARRAYS)
        further = strip_prefix(_CORRECTION, arrays)
        loaded = Composition(
            digest=digest,
            categories=categories,
            experts=cards,
            classifier_name=name,
            classifier=CLASSIFIERS[name].load(strip_prefix(_CLASSIFIER, arrays), folder),
            temperature=temperature,
            novelty=Novelty.load(strip_prefix(_NOVELTY, arrays)),
            **{table: arrays[table] for table in _TABLES},
            policy=policy,
            encoder=encoder,
            encoder_revision=revision,
            tokens=_tokens(arrays),
            correction=Correction.load(further) if further else None,
            strategies=load_strategies(folder) if fitted_strategies.FILE in manifest["files"] else None,
            manifest=manifest,
        )
        _check(loaded, arrays)
        if loaded.strategies is not None:
            loaded.strategies.check(loaded.expert_names, categories)
    except StrategiesError as error:
        raise CompositionError(f"{folder}: {error}") from error
    except (IndexError, KeyError, TypeError, ValueError) as error:
        what = f"{error.args[0]} is missing" if isinstance(error, KeyError) else error
        raise CompositionError(
            f"{folder / ARRAYS} does not hold the arrays that this version reads ({what}): fit it again"
        ) from error
    return loaded


def _read_arrays(path: Path) -> dict[str, Matrix]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(str(error)) from error


def _arrays(composition: Composition) -> dict[str, npt.NDArray[Any]]:
    """The content of `arrays.safetensors`, by name."""
    parts: dict[str, Mapping[str, npt.NDArray[Any]]] = {
        _CLASSIFIER: composition.classifier.arrays(),
        _NOVELTY: composition.novelty.arrays(),
        _CORRECTION: composition.correction.arrays() if composition.correction is not None else {},
    }
    named = {prefix + name: array for prefix, part in parts.items() for name, array in part.items()}
    named |= {table: getattr(composition, table) for table in _TABLES}
    if (tokens := composition.tokens) is not None:
        named |= {name: getattr(tokens, name) for name in (*_TOKENS, "shares")}
    return named


def _tokens(arrays: Mapping[str, Matrix]) -> ExpectedTokens | None:
    if "shares" not in arrays:
        return None
    return ExpectedTokens(*(arrays[name] for name in (*_TOKENS, "shares")))


def _check(composition: Composition, arrays: Mapping[str, Matrix]) -> None:
    """Raises ValueError unless `arrays` agree with the manifest and none is unknown or holds NaN."""
    if unknown := sorted(arrays.keys() - _arrays(composition).keys()):
        raise ValueError(f"{', '.join(unknown)} is unknown")
    categories, experts = len(composition.categories), len(composition.experts)
    for table in _TABLES:
        shape = (experts,) if table == "global_utilities" else (categories, experts)
        if arrays[table].shape != shape:
            raise ValueError(f"{table} has shape {arrays[table].shape}, the manifest says {shape}")
    if (tokens := composition.tokens) is not None:
        shapes = {tokens.tokens_in.shape, tokens.tokens_out.shape, (*tokens.shares.shape, experts)}
        if shapes != {(categories, experts)}:
            raise ValueError(f"the tokens have shapes {shapes}, the manifest says {(categories, experts)}")
    if composition.classifier.categories != categories:
        raise ValueError(
            f"the classifier has {composition.classifier.categories} categories, not {categories}"
        )
    for name, array in arrays.items():
        if name not in _TOKENS and array.dtype.kind == "f" and np.isnan(array).any():
            raise ValueError(f"{name} holds what is no number")
    if composition.correction is not None:
        composition.correction.check(categories, experts)


def _manifest(
    composition: Composition, files: Mapping[str, str], evidence: Mapping[str, Any] | None
) -> dict[str, Any]:
    policy = asdict(replace(composition.policy, rules=()))
    del policy["rules"]
    cards = [{**asdict(card), "capabilities": sorted(card.capabilities)} for card in composition.experts]
    utilities = {
        category: {card.name: round(float(u), 4) for card, u in zip(composition.experts, row, strict=True)}
        for category, row in zip(composition.categories, composition.utilities, strict=True)
    }
    facts = {
        "format": FORMAT,
        "encoder": {"name": composition.encoder, "revision": composition.encoder_revision},
        "features": features.FORMAT,
        "classifier": {"name": composition.classifier_name, "temperature": composition.temperature},
        "categories": list(composition.categories),
        "experts": cards,
        "policy": policy,
        "map": dict(composition.map),
        "utilities": utilities,
        "tokens": _readable(composition.tokens, composition),
        "evidence": evidence,
    }
    # The manifest of a loaded composition holds older values of the same keys.
    metrics = {key: value for key, value in composition.manifest.items() if key not in facts}
    return {**facts, **metrics, "files": dict(files)}


def _readable(tokens: ExpectedTokens | None, composition: Composition) -> dict[str, Any] | None:
    """Category → expert → expected [tokens in, tokens out], null where unknown."""
    if tokens is None:
        return None

    def pair(row: int, column: int) -> list[float | None]:
        cells = (float(each[row, column]) for each in (tokens.tokens_in, tokens.tokens_out))
        return [None if np.isnan(cell) else round(cell, 1) for cell in cells]

    return {
        category: {name: pair(row, column) for column, name in enumerate(composition.expert_names)}
        for row, category in enumerate(composition.categories)
    }


def _short(digest: str) -> str:
    return digest[:16]
