"""What is written is there whole, or what was there before is."""

import os
import stat
from pathlib import Path

import pytest

from base.files import file_digest, replacing, replacing_folder, write_bytes, write_text


def test_folders_are_made_and_content_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "a.txt"
    write_text("é\n", path)
    assert path.read_bytes() == "é\n".encode()
    write_bytes(b"other", path)
    assert path.read_bytes() == b"other"
    assert list(path.parent.iterdir()) == [path]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text("old", path)
    with pytest.raises(ZeroDivisionError), replacing(path) as partial:
        partial.write_text("half")
        raise ZeroDivisionError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_replaced_file_keeps_its_mode(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text("old", path)
    path.chmod(0o640)
    write_text("new", path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_links_are_followed_and_pipes_written_to(tmp_path: Path) -> None:
    target, link, pipe = tmp_path / "a.txt", tmp_path / "link", tmp_path / "pipe"
    link.symlink_to(target)
    write_text("through", link)
    assert link.is_symlink() and target.read_text() == "through"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    write_text("into", pipe)
    assert os.read(reader, 100) == b"into"
    os.close(reader)
    assert pipe.is_fifo()


def test_two_writers_of_one_file_do_not_meet(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with replacing(path) as first, replacing(path) as second:
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"


def test_a_folder_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "made"
    with replacing_folder(folder) as made:
        (made / "old").touch()
    with pytest.raises(ZeroDivisionError), replacing_folder(folder) as made:
        (made / "half").touch()
        raise ZeroDivisionError
    assert [each.name for each in folder.iterdir()] == ["old"]
    with replacing_folder(folder) as made:
        (made / "new").touch()
    assert [each.name for each in folder.iterdir()] == ["new"]
    assert list(folder.parent.iterdir()) == [folder]


def test_a_digest_is_that_of_the_content(tmp_path: Path) -> None:
    write_bytes(b"abc", tmp_path / "a")
    assert file_digest(tmp_path / "a").startswith("ba7816bf8f01cfea")
