from pathlib import Path

import pytest

from experts.local.errors import Cause
from experts.local.exit_causes import explain, oom_kills

LOG = Path("/logs/a.log")


@pytest.mark.parametrize(
    ("line", "cause"),
    [
        ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB", Cause.OUT_OF_MEMORY),
        ("RuntimeError: DefaultCPUAllocator: can't allocate memory: you tried", Cause.OUT_OF_MEMORY),
        ("ValueError: Available memory on node 0 (1/16 GiB) on kv cache allocation is less than requested", Cause.OUT_OF_MEMORY),  # noqa: E501
        ("OSError: [Errno 98] Address already in use", Cause.PORT_TAKEN),
        ("ModuleNotFoundError: No module named 'vllm'", Cause.NO_ENVIRONMENT),
        ("/usr/bin/python: Error while finding module specification (ModuleNotFoundError: No module named 'vllm')", Cause.NO_ENVIRONMENT),  # noqa: E501
        ("OSError: Can't load the configuration of '/no/such'. If you were trying to load it", Cause.WRONG_MODEL),  # noqa: E501
        ("pydantic_core.ValidationError: Invalid repository ID or local directory specified: 'x'", Cause.WRONG_MODEL),  # noqa: E501
        ("KeyError: 'lm_head'", Cause.CRASHED),
    ],
)  # fmt: skip
def test_the_cause_is_read_from_the_log(line: str, cause: Cause) -> None:
    error = explain("a", 1, f"INFO starting\n{line}\nINFO shutting down\n", log=LOG)
    assert error.cause is cause
    assert str(LOG) in str(error)
    assert error.exit_code == 1


def test_a_kill_by_the_kernel_for_memory_is_told_as_such() -> None:
    error = explain("a", 1, "RuntimeError: Engine core died\n", log=LOG, memory_ran_out=True)
    assert error.cause is Cause.OUT_OF_MEMORY
    assert "kv_cache_gib" in str(error)


def test_a_missing_program_is_a_missing_environment() -> None:
    assert explain("a", 127, "/x/python: No such file", log=LOG).cause is Cause.NO_ENVIRONMENT


@pytest.mark.parametrize(
    ("exit_code", "words"),
    [
        (0, "ended by itself"),
        (3, "ended with exit code 3"),
        (139, "was ended by signal 11"),
        (-9, "signal 9"),
    ],
)
def test_a_silent_end_is_told_by_its_exit_code(exit_code: int, words: str) -> None:
    assert words in str(explain("a", exit_code, "", log=LOG))


def test_the_last_exception_is_quoted_and_shortened() -> None:
    text = "ValueError: first\n(EngineCore pid=1) vllm.errors.EngineDeadError: " + "x" * 1000 + "\nbye\n"
    message = str(explain("a", 1, text, log=LOG))
    assert "EngineDeadError: xxx" in message
    assert "first" not in message
    assert len(message) < 400


@pytest.mark.parametrize(
    ("log", "quoted"),
    [
        ("ValueError: the cause\nRuntimeError: Engine core failed. See root cause above. {}\n", "the cause"),
        (
            "x.ValidationError: 1 validation error for ModelConfig\n  Value error, too long\n  more",
            "too long",
        ),
        ("usage: ...\napi_server.py: error: unrecognized arguments: --no-such-flag\n", "--no-such-flag"),
    ],
)
def test_what_is_quoted_says_something(log: str, quoted: str) -> None:
    assert quoted in str(explain("a", 1, log, log=LOG))


def test_the_kernel_counts_its_kills() -> None:
    assert oom_kills() >= 0
