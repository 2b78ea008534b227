"""Plots of replays, with matplotlib's object-oriented interface (no display needed)."""

from pathlib import Path

from eval.composition_replay import CompositionReplayError, Replay

ROUTED, SINGLE, LINE = "#1f5fa8", "#c2571a", "#b9b2a6"


def draw_curve(found: Replay, path: Path, title: str = "") -> None:
    """Plot score against mean active parameters: the composition's curve and operating point, each expert,
    and the lines between experts (random mixing). Raises CompositionReplayError without a curve."""
    if found.curve is None:
        raise CompositionReplayError("no picture: no prompt is scored for every expert")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.2, 5.2), layout="constrained")
    axes = figure.subplots()
    curve = found.curve
    singles = [(each.cost, each.score, name) for name, each in curve.singles]
    axes.plot(
        [p.cost for p in curve.line],
        [p.score for p in curve.line],
        color=LINE,
        linewidth=1.2,
        linestyle="--",
        label="mixing at random",
    )
    axes.scatter(
        [s[0] for s in singles], [s[1] for s in singles], color=SINGLE, s=34, zorder=3, label="one expert"
    )
    far_right = 0.8 * max(size for size, _, _ in singles)
    for size, score, name in singles:
        side, shift = ("right", -5) if size > far_right else ("left", 5)
        axes.annotate(
            name,
            (size, score),
            xytext=(shift, -11),
            textcoords="offset points",
            ha=side,
            fontsize=7,
            color=SINGLE,
        )
    axes.plot(
        [p.cost for p in curve.points],
        [p.score for p in curve.points],
        color=ROUTED,
        linewidth=2,
        label="routed, by weight on size",
    )
    axes.scatter(
        [found.active_params_b],
        [found.score],
        color=ROUTED,
        s=70,
        marker="D",
        zorder=4,
        label="this composition",
    )
    axes.set_xlabel("average active parameters, billions")
    axes.set_ylabel("mean score")
    axes.set_title(title or f"{found.n} prompts", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120)
