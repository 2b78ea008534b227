"""Code that a model wrote can neither hang us nor reach beyond its folder."""

import select
import socket
import time
from collections.abc import Sequence

import pytest

from eval.sandbox import Limits, Verdict, isolation, run_tests

QUICK = Limits(cpu_s=3, wall_s=8.0, part_s=0.7)
ONE = ["assert f() == 1"]


def ran(code: str, tests: Sequence[str] = ONE, limits: Limits = QUICK) -> Verdict:
    # What these tests show must hold with and without namespaces of the kernel.
    return run_tests([code], tests, limits=limits, allow_network_code=True)


def test_each_test_counts_by_itself() -> None:
    verdict = ran("def f():\n    return 1", ["assert f() == 1", "assert f() == 2", "assert g()"])

    assert verdict.passed == (True, False, False)
    assert verdict.reason == "test 2: AssertionError; test 3: NameError"
    assert verdict.share == pytest.approx(1 / 3)


def test_the_first_candidate_that_compiles_is_taken() -> None:
    verdict = run_tests(["def f(", "def f(): return 1", "def f(): return 2"], ONE, allow_network_code=True)

    assert verdict.passed == (True,)


def test_the_standard_library_can_be_used() -> None:
    code = "import collections, datetime, decimal, fractions, functools, heapq, itertools, math, random, re\n"
    code += "import dataclasses, json, statistics, string, typing\ndef f(): return 1"
    assert ran(code).share == 1


def test_functions_are_tested_even_when_the_example_below_them_fails() -> None:
    assert ran("def f():\n    return 1\n\nprint(f(int(input())))").share == 1
    assert ran("def f():\n    return 1\n\nif __name__ == '__main__':\n    while True: pass").share == 1


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("while True: pass", "too slow"),
        ("import time; time.sleep(60)", "too slow"),
        ("import sys; sys.exit(0)", "SystemExit"),
        ("raise KeyboardInterrupt", "KeyboardInterrupt"),
        ("return f()", "RecursionError"),
        ("return [0] * 10**9", "MemoryError"),
        ("return 10 ** 10 ** 10", "too slow|stopped|MemoryError"),
        ("import os; os._exit(0)", "ended before"),
        ("import os; os.kill(os.getpid(), 9)", "PermissionError"),
        ("open('/etc/passwd').read()", "PermissionError"),
        ("open('../escape', 'w')", "PermissionError"),
        ("import os; os.remove('/etc/hostname')", "PermissionError"),
        ("import os; os.open('/tmp/coterie-escape', os.O_CREAT | os.O_WRONLY)", "PermissionError"),
        ("import shutil; shutil.rmtree('/tmp/coterie-nothing')", "PermissionError"),
        ("import os; os.fork()", "PermissionError"),
        ("import os; os.system('true')", "PermissionError"),
        ("import subprocess; subprocess.run(['true'])", "PermissionError"),
        ("import ctypes; ctypes.CDLL(None)", "PermissionError"),
        ("import urllib.request; urllib.request.urlopen('http://127.0.0.1:9')", "PermissionError|URLError"),
        ("import numpy", "ModuleNotFoundError"),
        ("import eval.checks", "ModuleNotFoundError"),
        ("f = open('big', 'wb')\n    while True: f.write(b'x' * 65536)", "OSError|stopped"),
    ],
)
def test_misbehaviour_fails_with_a_reason(body: str, reason: str) -> None:
    verdict = ran(f"def f():\n    {body}\n    return 1")

    assert verdict.share == 0
    assert any(each in verdict.reason for each in reason.split("|")), verdict.reason


def test_code_that_swallows_every_exception_is_ended_by_the_wall_clock() -> None:
    code = "def f():\n    while True:\n        try:\n            while True: pass\n"
    code += "        except BaseException: pass"
    started = time.monotonic()

    verdict = ran(code, ["assert f()", "assert True"])

    assert verdict.passed[0] is False
    assert time.monotonic() - started < QUICK.wall_s + 3


def test_a_crash_of_the_interpreter_keeps_what_had_passed() -> None:
    crash = "import sys; sys.setrecursionlimit(10**9)\ndef f():\n    return 1\n"
    crash += "def g(n):\n    return eval('g(n+1)')"

    verdict = ran(crash, ["assert f() == 1", "g(0)", "assert f() == 1"])

    assert verdict.passed[0] is True
    assert verdict.passed[1] is False


def test_printing_without_end_neither_blocks_nor_counts() -> None:
    code = (
        "import sys\ndef f():\n    sys.stdout.write('x' * 10**6)\n    print('0 ok', flush=True)\n    return 1"
    )

    assert ran(code).share == 1


WRITES_EVERYWHERE = """
import os
def write(text):
    for descriptor in range(3, 10):
        try:
            os.write(descriptor, text)
        except OSError:
            pass
"""


def test_a_guessed_report_does_not_count() -> None:
    forged = r"def f():" "\n" r"    write(b'0 ok\ndeadbeef 0 ok\n')" "\n" r"    os._exit(0)"

    assert ran(WRITES_EVERYWHERE + forged).share == 0


def test_a_flood_of_output_is_cut() -> None:
    flood = "def f():\n    while True:\n        write(b'x' * 4096)"

    assert "wrote too much" in ran(WRITES_EVERYWHERE + flood).reason


def test_the_environment_and_the_folder_are_empty_and_the_folder_is_writable() -> None:
    code = """
import os
def f():
    assert not set(os.environ) - {'LC_CTYPE'}
    assert os.listdir('.') == []
    open('note', 'w').write('hello')
    assert open('note').read() == 'hello'
    return 1
"""
    assert ran(code).reason == ""


def test_no_candidate_is_no_code() -> None:
    assert run_tests([], ["assert True"], allow_network_code=True) == Verdict((False,), "no code found")


@pytest.mark.skipif(not isolation(), reason="this kernel does not let us make user namespaces")
def test_there_is_no_network_behind_the_guard_either() -> None:
    """Reaches a socket past Python's audit hook, as hostile code could: the namespace must stop it."""
    import subprocess
    import sys

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        call = f"import socket; socket.create_connection(('127.0.0.1', {port}), 1)"
        done = subprocess.run(
            [*isolation(), sys.executable, "-I", "-S", "-c", call], capture_output=True, check=False
        )
        # A connection would wait in the listener's queue, accepted or not.
        assert select.select([server], [], [], 0)[0] == []
    assert done.returncode != 0
