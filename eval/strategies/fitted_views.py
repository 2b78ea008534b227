"""Tables that show fitted strategies on a terminal."""

from rich.box import SIMPLE_HEAD
from rich.table import Table

from base.terminal import plain
from eval.strategies.fitted_replay import FittedReplay
from routers.composition import Composition
from routers.request_costs import UNITS
from routers.strategies.fitted_strategies import Unit
from routers.strategy_fitting.category_choice import StrategyMap


def policies_table(composition: Composition, unit: Unit) -> Table:
    """What held-out prompts say of each fitted policy."""
    strategies = composition.strategies
    found = Table("strategy", "score", "±", UNITS[unit], "calls", box=SIMPLE_HEAD)
    if strategies is not None:
        found.title = f"fitted on {strategies.prompts} prompts; each predicted by the other folds"
        found.title_justify = "left"
        for each in strategies.policies:
            said = each.evidence
            cells = (f"{said.score:.4f}", f"{said.error:.4f}", f"{said.cost:.4g}", f"{said.calls:.2f}")
            found.add_row(plain(each.id), *cells)
    return found


def chosen_table(chosen: StrategyMap, composition: Composition, unit: Unit) -> Table:
    """The strategy of each category, and what it gains over one expert."""
    found = Table("category", "strategy", "net gain", "±", box=SIMPLE_HEAD)
    for category in composition.categories:
        if (each := chosen.by_category.get(category)) is None:
            found.add_row(plain(category), f"one expert: {composition.map[category]}", "", "")
        else:
            found.add_row(plain(category), plain(each.id), f"{each.gain:+.4f}", f"{each.error:.4f}")
    found.caption = (
        f"held out {chosen.score:.4f} at {chosen.cost:.4g} {UNITS[unit]}; one expert for each request: "
        f"{chosen.single_score:.4f} at {chosen.single_cost:.4g}"
    )
    return found


def replay_tables(report: FittedReplay) -> list[Table]:
    """Baselines, then policies."""
    baselines = Table(
        "baseline",
        "score",
        "active, B",
        box=SIMPLE_HEAD,
        title=f"{report.n} prompts that nothing was fitted on",
        title_justify="left",
    )
    for name, (score, active) in report.baselines.items():
        baselines.add_row(plain(name), f"{score:.4f}", f"{active:.2f}")
    policies = Table(
        "strategy", "score", "active, B", "calls", "minus single", "minus best single", box=SIMPLE_HEAD
    )
    for each in report.policies:
        gains = [
            f"{gain.difference:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})" for gain in each.gains.values()
        ]
        cells = (f"{each.score:.4f}", f"{each.active_params_b:.2f}", f"{each.calls:.2f}")
        policies.add_row(plain(each.id), *cells, *gains)
    return [baselines, policies]
