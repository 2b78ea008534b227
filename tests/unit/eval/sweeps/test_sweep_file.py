"""A sweep's file is read strictly, every mistake with its line; its grid becomes named configurations."""

from pathlib import Path

import pytest

from eval.sweeps.grid import live_points, replay_points, settings_of
from eval.sweeps.sweep_file import LiveSweep, ReplaySweep, SweepError, read_sweep

EXAMPLES = Path(__file__).resolve().parents[4] / "eval" / "sweeps" / "examples"

REPLAY = """\
kind: replay
name: mine
table: outcomes
grid:
  compositions:
    - {name: here, fit: {classifier: logistic}}
  active_weight: [0, 0.1]
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "sweep.yaml"
    path.write_text(text)
    return path


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    sweep = read_sweep(written(tmp_path, REPLAY))
    assert isinstance(sweep, ReplaySweep)
    assert sweep.table == (tmp_path / "outcomes").resolve()


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        (REPLAY + "  wieght: [1]\n", 8, "grid.wieght: unknown key"),
        (REPLAY.replace("logistic", "logistik"), 6, "classifier"),
        (REPLAY.replace("{classifier: logistic}", "{clasifier: knn}"), 6, "clasifier: unknown key"),
        (REPLAY.replace("[0, 0.1]", "[0, -1]"), 7, "active_weight"),
        (REPLAY.replace("kind: replay", "kind: reply"), 1, "must be replay or live"),
        (REPLAY.replace("table: outcomes\n", ""), 1, "table: Field required"),
        (REPLAY + "name: again\n", 8, "written twice"),
        (REPLAY.replace("fit: {classifier: logistic}", ""), 6, "either a folder or fit"),
        (
            REPLAY.replace("  active", "    - {name: here, folder: x}\n  active"),
            7,
            "the name 'here' occurs twice",
        ),
        (REPLAY + "  target_active_b: [1]\n", 8, "not both"),
        (
            REPLAY.replace("fit: {classifier: logistic}", "folder: x") + "  resident_budget_b: [9]\n",
            8,
            "is an option of fitting",
        ),
        ("kind: live\nname: x\ngrid: {threshold: [0.5]}\n", 3, "grid.threshold: unknown key"),
        ("[1, 2]\n", 1, "must be a mapping"),
    ],
)
def test_a_mistake_is_told_with_its_line(tmp_path: Path, text: str, line: int, says: str) -> None:
    with pytest.raises(SweepError) as raised:
        read_sweep(written(tmp_path, text))
    assert f"sweep.yaml:{line}:" in str(raised.value)
    assert says in str(raised.value)


def test_every_combination_is_a_configuration_named_by_what_varies(tmp_path: Path) -> None:
    text = REPLAY + "  threshold: [null, 0.5]\n  experts: [all, [small, large]]\n"
    sweep = read_sweep(written(tmp_path, text))
    assert isinstance(sweep, ReplaySweep)
    points = replay_points(sweep)
    assert len(points) == 8
    assert points[0].name == "here experts=all active_weight=0 threshold=default"
    assert points[-1].name == "here experts=small+large active_weight=0.1 threshold=0.5"
    assert settings_of(points[-1]) == {
        "composition": "here",
        "experts": "small+large",
        "active_weight": 0.1,
        "threshold": 0.5,
        "strategy": "single",
    }


def test_a_value_twice_and_a_grid_too_large_are_refused(tmp_path: Path) -> None:
    twice = read_sweep(written(tmp_path, REPLAY.replace("[0, 0.1]", "[0.1, 0.1]")))
    assert isinstance(twice, ReplaySweep)
    with pytest.raises(SweepError, match="more than once"):
        replay_points(twice)
    many = ", ".join(str(number / 1000) for number in range(101))
    large = REPLAY.replace("[0, 0.1]", f"[{many}]") + f"  threshold: [{many}]\n"
    sweep = read_sweep(written(tmp_path, large))
    assert isinstance(sweep, ReplaySweep)
    with pytest.raises(SweepError, match="10,201 configurations"):
        replay_points(sweep)


def test_strategies_are_names_or_names_with_options(tmp_path: Path) -> None:
    text = """\
kind: live
name: ways
grid:
  strategy: [single, {name: cascade, options: {threshold: 0.5}}, {name: panel, label: three}]
"""
    sweep = read_sweep(written(tmp_path, text))
    assert isinstance(sweep, LiveSweep)
    assert [point.name for point in live_points(sweep)] == [
        "served strategy=single",
        'served strategy=cascade{"threshold": 0.5}',
        "served strategy=three",
    ]


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_shipped_examples_can_be_read(path: Path) -> None:
    assert read_sweep(path).name == path.stem
