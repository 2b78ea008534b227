"""Stage 2: which experts to keep, and which one answers each category.

A mixed-integer linear program (`scipy.optimize.milp`, HiGHS) after CoE (arXiv 2412.01868):

    max Σ_c w_c Σ_e y_ce (U_ce - cost_e)   s.t.  Σ_e y_ce = 1,  y_ce ≤ z_m(e),  Σ_m z_m params_m ≤ budget

where m(e) is the model whose weights expert e uses: prompt experts over one model count once.

Where not all kept models are loaded at once (`SwitchPrice`), each stays loaded (r), or is brought in when it
is asked for: into room that is kept for it (b), or else in the place of one that is brought back afterwards:

    max Σ_c w_c (Σ_e y_ce (U_ce - cost_e) - p Σ_m (t_cm + u_cm))   s.t. also  r_m ≤ b_m ≤ z_m,
    t_cm ≥ Y_cm - r_m,   u_cm ≥ Y_cm - b_m,   Y_cm = Σ_{e over m} y_ce,
    Σ_m' r_m' params_m' + (b_m - r_m) params_m ≤ loaded   for every m

p is what one switch gives up, spread over the requests of a run.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from routers.composition import ExpertCard
from routers.request import Matrix, Vector

LEAST_PRICE = 1e-6
"""Of a switch, so that of equal maps the one with fewer switches is taken."""


class BudgetTooSmall(Exception):
    """No expert fits into the resident budget; the message names the smallest."""


@dataclass(frozen=True, slots=True)
class SwitchPrice:
    """`loaded_b`: billions of parameters that are loaded at once; `cost`: utility that a switch gives up (its
    seconds times a weight); `run`: requests of one category in a row, on average, of which the first may need
    a switch."""

    loaded_b: float
    cost: float
    run: float = 1.0

    @property
    def per_request(self) -> float:
        """What a request gives up for each switch that it may need."""
        return self.cost / self.run


@dataclass(frozen=True, slots=True)
class ExpertMap:
    """`expert_of[c]`: column of the expert for category c; `kept`: columns of all experts that stay;
    `loaded`: of those whose models stay loaded; `brings` (experts,): switches that a request for each may
    need, 0, 1 or 2; `switches`: expected a request, where requests come one by one (batches need fewer)."""

    expert_of: tuple[int, ...]
    kept: tuple[int, ...]
    objective: float
    """Σ_c w_c (U - cost) of the map."""
    active_params_b: float
    """Weighted mean of active parameters, billions."""
    loaded: tuple[int, ...] = ()
    brings: tuple[int, ...] = ()
    switches: float = 0.0


def solve_map(
    utilities: Matrix,
    experts: Sequence[ExpertCard],
    weights: Vector,
    costs: Matrix,
    resident_budget_b: float | None = None,
    *,
    targets: Sequence[tuple[Matrix, float]] = (),
    switching: SwitchPrice | None = None,
) -> ExpertMap:
    """The optimal map and subset of experts.

    `utilities` (categories, experts); `weights` (categories,) traffic shares summing to one; `costs`
    (categories or 1, experts) in units of utility; `resident_budget_b` bounds the parameters of all kept
    models (billions); each of `targets`, (categories or 1, experts) with its limit, bounds the map's
    weighted mean; `switching`: what is loaded at once, and what a switch costs. Raises BudgetTooSmall.
    """
    from scipy.optimize import Bounds, LinearConstraint, milp
    from scipy.sparse import csr_matrix, hstack, identity, kron

    n_categories, n_experts = utilities.shape
    model_of = [card.base or card.name for card in experts]
    models = sorted(set(model_of))
    size = {
        name: max(card.params_b for card, m in zip(experts, model_of, strict=True) if m == name)
        for name in models
    }
    smallest = min(size, key=lambda name: size[name])
    loaded_b = None if switching is None else switching.loaded_b
    for budget_b, what in ((resident_budget_b, "a resident budget"), (loaded_b, "memory for loaded models")):
        if budget_b is not None and size[smallest] > budget_b:
            raise BudgetTooSmall(
                f"{what} of {budget_b:g} B is below the smallest model, {smallest} with {size[smallest]:g} B"
            )
    uses = csr_matrix(np.asarray([[m == name for name in models] for m in model_of], dtype=float))
    n_y, n_models = n_categories * n_experts, len(models)
    gains = (weights[:, None] * (utilities - costs)).ravel()
    # The variables are y and z, and with `switching` t, u, r and b.
    n_t = n_categories * n_models
    n_extra = 0 if switching is None else 2 * (n_t + n_models)
    objective = np.concatenate([-gains, np.zeros(n_models + n_extra)])
    rest = csr_matrix((n_categories, n_models + n_extra))
    one_each = hstack([kron(identity(n_categories), np.ones((1, n_experts))), rest])
    only_kept = hstack(
        [
            identity(n_y),
            -kron(np.ones((n_categories, 1)), uses),
            csr_matrix((n_y, n_extra)),
        ]
    )
    constraints = [
        LinearConstraint(one_each.tocsr(), 1, 1),
        LinearConstraint(only_kept.tocsr(), -np.inf, 0),
    ]
    sizes = np.asarray([size[name] for name in models])
    at_most = np.ones(n_y + n_models + n_extra)
    if switching is not None:
        priced = max(switching.per_request, LEAST_PRICE) * np.repeat(weights, n_models)
        objective[n_y + n_models :][: 2 * n_t] = np.concatenate([priced, priced])
        constraints += _switching(switching, uses, sizes, n_categories)
        at_most[n_y:][:n_models] = sizes <= switching.loaded_b
    if resident_budget_b is not None:
        row = np.concatenate([np.zeros(n_y), sizes, np.zeros(n_extra)])
        constraints.append(LinearConstraint(row[None, :], -np.inf, resident_budget_b))
    for spent, limit in targets:
        row = np.concatenate([(weights[:, None] * spent).ravel(), np.zeros(n_models + n_extra)])
        constraints.append(LinearConstraint(row[None, :], -np.inf, limit * float(weights.sum())))
    # Without targets y is integral anyway: given z and r, each category takes its best kept expert.
    bounded = bool(targets)
    whole = [np.full(n_y, float(bounded)), np.ones(n_models)]
    if switching is not None:
        whole += [np.zeros(2 * n_t), np.ones(2 * n_models)]
    options = {"mip_rel_gap": 0.0}
    found = milp(
        objective,
        constraints=constraints,
        integrality=np.concatenate(whole),
        bounds=Bounds(0, at_most),
        options=options,
    )
    if found.x is None:
        raise BudgetTooSmall(f"no map fits: {found.message}")
    selected = {name for name, kept in zip(models, found.x[n_y:], strict=False) if kept > 0.5}
    brings = np.zeros(n_experts, dtype=np.int64)
    if switching is not None:
        stays, has_room = found.x[-2 * n_models :].reshape(2, n_models) > 0.5
        of_model = dict(zip(models, 2 - stays.astype(int) - (stays | has_room).astype(int), strict=True))
        brings = np.asarray([of_model[model] for model in model_of])
        costs = np.asarray(costs + switching.per_request * brings, dtype=np.float32)
    columns = [i for i, model in enumerate(model_of) if model in selected]
    if bounded:
        chosen = found.x[:n_y].reshape(n_categories, n_experts).argmax(axis=1)
        expert_of = tuple(int(best) for best in chosen)
    else:
        expert_of = tuple(columns[int(best)] for best in (utilities - costs)[:, columns].argmax(axis=1))
    # The solution may keep unused models, which cost nothing in the objective.
    used = {model_of[column] for column in expert_of}
    kept = tuple(i for i in columns if model_of[i] in used)
    rows = np.arange(n_categories)
    active = np.asarray([card.active_params_b for card in experts])[list(expert_of)]
    run = 1.0 if switching is None else switching.run
    switched = float(weights @ brings[list(expert_of)]) / run / float(weights.sum())
    return ExpertMap(
        expert_of,
        kept,
        float((weights * (utilities - costs)[rows, expert_of]).sum()),
        float((weights * active).sum()),
        tuple(i for i in kept if not brings[i]),
        tuple(int(each) for each in brings),
        switched,
    )


def _switching(
    switching: SwitchPrice, uses: Any, sizes: npt.NDArray[np.float64], n_categories: int
) -> list[Any]:
    """The constraints of models that are brought in when they are asked for; `uses` (experts, models)."""
    from scipy.optimize import LinearConstraint
    from scipy.sparse import csr_matrix, diags_array, identity, kron

    n_experts, n_models = uses.shape
    n_t = n_categories * n_models
    asked = kron(identity(n_categories), uses.T)
    every_category = kron(np.ones((n_categories, 1)), identity(n_models))
    one, t_one = identity(n_models), identity(n_t)
    # All that stay, and each of the others in its turn.
    others = np.tile(sizes, (n_models, 1)) - np.diag(sizes)
    own = diags_array(sizes.astype(np.float64))
    rows = (
        # y, z, t, u, r, b
        ([asked, None, -t_one, None, -every_category, None], 0.0),
        ([asked, None, None, -t_one, None, -every_category], 0.0),
        ([None, None, None, None, one, -one], 0.0),
        ([None, -one, None, None, None, one], 0.0),
        ([None, None, None, None, csr_matrix(others), own], switching.loaded_b),
    )
    widths = [n_categories * n_experts, n_models, n_t, n_t, n_models, n_models]
    return [LinearConstraint(_joined(blocks, widths), -np.inf, limit) for blocks, limit in rows]


def _joined(blocks: Sequence[Any], widths: Sequence[int]) -> Any:
    """Blocks side by side; None is zero."""
    from scipy.sparse import csr_matrix, hstack

    height = next(each.shape[0] for each in blocks if each is not None)
    filled = [
        csr_matrix((height, width)) if each is None else each
        for each, width in zip(blocks, widths, strict=True)
    ]
    return hstack(filled).tocsr()
