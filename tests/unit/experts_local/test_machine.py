from pathlib import Path

from experts.local.machine import Machine, read_machine

GIB = 2**30


def system(root: Path, **files: str) -> Path:
    """The files of a Linux system that are read, by the last part of their names."""
    places = {"cpuinfo": "proc", "meminfo": "proc", "max": "sys/fs/cgroup", "current": "sys/fs/cgroup"}
    for name, text in files.items():
        folder = root / places.get(name, "sys/fs/cgroup")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / (name if name in {"cpuinfo", "meminfo"} else f"memory.{name}")).write_text(text)
    return root


def test_flags_and_free_memory_are_read(tmp_path: Path) -> None:
    cpuinfo = (
        "processor\t: 0\nmodel name\t: X\nflags\t\t: fpu avx2 avx512_bf16\n\nprocessor\t: 1\nflags\t\t: fpu\n"
    )
    meminfo = "MemTotal:  16777216 kB\nMemAvailable:  1048576 kB\n"
    machine = read_machine(system(tmp_path, cpuinfo=cpuinfo, meminfo=meminfo))
    assert machine == Machine(frozenset({"fpu", "avx2", "avx512_bf16"}), GIB)


def test_a_container_has_no_more_than_its_limit_and_cached_files_count_as_free(tmp_path: Path) -> None:
    root = system(
        tmp_path,
        meminfo="MemAvailable:  16777216 kB\n",
        max=f"{4 * GIB}\n",
        current=f"{3 * GIB}\n",
        stat=f"anon {2 * GIB}\nfile {GIB}\n",
    )
    assert read_machine(root).available == 2 * GIB


def test_a_container_without_a_limit_has_what_is_free(tmp_path: Path) -> None:
    root = system(tmp_path, meminfo="MemAvailable:  1048576 kB\n", max="max\n", current=f"{3 * GIB}\n")
    assert read_machine(root).available == GIB


def test_other_processors_and_systems_are_not_known(tmp_path: Path) -> None:
    assert read_machine(tmp_path) == Machine(None, None)
    arm = system(tmp_path, cpuinfo="processor\t: 0\nFeatures\t: fp asimd bf16\n")
    assert read_machine(arm).features is None
