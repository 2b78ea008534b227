"""Stage 2: which experts to keep, and which one answers each category.

A mixed-integer linear program (`scipy.optimize.milp`, HiGHS) after CoE (arXiv 2412.01868):

    max Σ_c w_c Σ_e y_ce (U_ce - cost_e)   s.t.  Σ_e y_ce = 1,  y_ce ≤ z_m(e),  Σ_m z_m params_m ≤ budget

where m(e) is the model whose weights expert e uses: prompt experts over one model count once.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from routers.composition import ExpertCard
from routers.request import Matrix, Vector


class BudgetTooSmall(Exception):
    """No expert fits into the resident budget; the message names the smallest."""


@dataclass(frozen=True, slots=True)
class ExpertMap:
    """`expert_of[c]`: column of the expert for category c; `kept`: columns of all experts that stay."""

    expert_of: tuple[int, ...]
    kept: tuple[int, ...]
    objective: float
    """Σ_c w_c (U - cost) of the map."""
    active_params_b: float
    """Weighted mean of active parameters, billions."""


def solve_map(
    utilities: Matrix,
    experts: Sequence[ExpertCard],
    weights: Vector,
    costs: Matrix,
    resident_budget_b: float | None = None,
    *,
    targets: Sequence[tuple[Matrix, float]] = (),
) -> ExpertMap:
    """The optimal map and subset of experts.

    `utilities` (categories, experts); `weights` (categories,) traffic shares summing to one; `costs`
    (categories or 1, experts) in units of utility; `resident_budget_b` bounds the parameters of all kept
    models (billions); each of `targets`, (categories or 1, experts) with its limit, bounds the map's
    weighted mean. Raises BudgetTooSmall.
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
    if resident_budget_b is not None and size[smallest] > resident_budget_b:
        raise BudgetTooSmall(
            f"a resident budget of {resident_budget_b:g} B is below the smallest model, "
            f"{smallest} with {size[smallest]:g} B"
        )
    uses = csr_matrix(np.asarray([[m == name for name in models] for m in model_of], dtype=float))
    n_y = n_categories * n_experts
    gains = (weights[:, None] * (utilities - costs)).ravel()
    objective = np.concatenate([-gains, np.zeros(len(models))])
    one_each = hstack(
        [kron(identity(n_categories), np.ones((1, n_experts))), csr_matrix((n_categories, len(models)))]
    )
    only_kept = hstack([identity(n_y), -kron(np.ones((n_categories, 1)), uses)])
    constraints = [
        LinearConstraint(one_each.tocsr(), 1, 1),
        LinearConstraint(only_kept.tocsr(), -np.inf, 0),
    ]
    if resident_budget_b is not None:
        row = np.concatenate([np.zeros(n_y), [size[name] for name in models]])
        constraints.append(LinearConstraint(row[None, :], -np.inf, resident_budget_b))
    for spent, limit in targets:
        row = np.concatenate([(weights[:, None] * spent).ravel(), np.zeros(len(models))])
        constraints.append(LinearConstraint(row[None, :], -np.inf, limit * float(weights.sum())))
    # Without targets y is integral anyway: given z, each category takes its best kept expert.
    bounded = bool(targets)
    integrality = np.concatenate([np.full(n_y, float(bounded)), np.ones(len(models))])
    options = {"mip_rel_gap": 0.0}
    found = milp(
        objective, constraints=constraints, integrality=integrality, bounds=Bounds(0, 1), options=options
    )
    if found.x is None:
        raise BudgetTooSmall(f"no map fits: {found.message}")
    selected = {name for name, kept in zip(models, found.x[n_y:], strict=True) if kept > 0.5}
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
    return ExpertMap(
        expert_of,
        kept,
        float((weights * (utilities - costs)[rows, expert_of]).sum()),
        float((weights * active).sum()),
    )
