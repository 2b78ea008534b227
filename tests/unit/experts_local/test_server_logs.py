from pathlib import Path

from experts.local.server_logs import open_log, tail


def write(path: Path, text: str, *, kept: int = 2) -> None:
    with open_log(path, kept=kept) as log:
        log.write(text.encode())


def test_each_start_has_its_own_log_and_old_ones_are_bounded(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "a.log"
    for start in range(5):
        write(path, f"start {start}")
    assert {file.name: file.read_text() for file in path.parent.iterdir()} == {
        "a.log": "start 4",
        "a.log.1": "start 3",
        "a.log.2": "start 2",
    }


def test_the_tail_begins_with_a_whole_line(tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes("first line\nsecond line\nthird ä\n".encode())
    assert tail(path, 20) == "third ä\n"
    assert tail(path) == "first line\nsecond line\nthird ä\n"


def test_the_tail_of_a_missing_log_is_empty(tmp_path: Path) -> None:
    assert tail(tmp_path / "none.log") == ""
