"""The cause of a server's exit, from its exit code and the end of its log."""

import itertools
import re
from collections.abc import Mapping
from pathlib import Path

from experts.local.errors import Cause, ServerError

_SIGNS: Mapping[Cause, re.Pattern[str]] = {
    Cause.PORT_TAKEN: re.compile(r"address already in use", re.IGNORECASE),
    Cause.NO_ENVIRONMENT: re.compile(r"No module named '?vllm\b|^cannot start ", re.MULTILINE),
    Cause.WRONG_MODEL: re.compile(
        r"is not a local folder and is not a valid model identifier|Invalid repository ID or local directory"
        r"|Repository Not Found|RepositoryNotFoundError|LocalEntryNotFoundError|GatedRepoError"
        r"|OfflineModeIsEnabled|outgoing traffic has been disabled"
        r"|Cannot find any model weights|does not appear to have a file named"
        r"|Can't load the configuration of|Error no file named|SafetensorError"
    ),
    Cause.OUT_OF_MEMORY: re.compile(
        r"\bMemoryError\b|OutOfMemoryError|CUDA out of memory|Cannot allocate memory|can't allocate memory"
        r"|bad_alloc|No available memory for the cache blocks|on kv cache\s+allocation is less than requested"
        r"|less than desired GPU memory utilization|oom-kill",
        re.IGNORECASE,
    ),
}
_EXCEPTION = re.compile(r"(?:^|\s)((?:[\w.]+\.)?\w*(?:Error|Exception)): (.+)$")
_USAGE = re.compile(r"^\S+\.py: error: (.+)$")
LONGEST = 300
"""Maximum characters of a quoted error."""
_HINTS: Mapping[Cause, str] = {
    Cause.PORT_TAKEN: "its port is taken",
    Cause.NO_ENVIRONMENT: "vLLM is not installed there (`make setup` installs it)",
    Cause.WRONG_MODEL: "the model cannot be loaded: wrong name, no access, or no model folder",
    Cause.OUT_OF_MEMORY: "memory ran out: lower local.kv_cache_gib or max_model_len, or take a smaller model",
}


def explain(
    server: str, exit_code: int, log_tail: str, *, log: Path, memory_ran_out: bool = False
) -> ServerError:
    """The error of a server that exited; `memory_ran_out`: the kernel's OOM killer was active meanwhile."""
    cause = _cause(exit_code, log_tail, memory_ran_out)
    last = _last_error(log_tail)
    hint = _HINTS.get(cause) or _ended(exit_code)
    said = f" ({last})" if last else ""
    return ServerError(server, cause, f"{hint}{said}; its log: {log}", exit_code=exit_code)


def oom_kills() -> int:
    """The number of OOM kills since boot (`/proc/vmstat`); 0 if unknown."""
    try:
        for line in Path("/proc/vmstat").read_text(encoding="ascii").splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return 0


def _cause(exit_code: int, log_tail: str, memory_ran_out: bool) -> Cause:
    if exit_code in {126, 127}:
        return Cause.NO_ENVIRONMENT
    for cause, sign in _SIGNS.items():
        if sign.search(log_tail):
            return cause
    return Cause.OUT_OF_MEMORY if memory_ran_out else Cause.CRASHED


def _ended(exit_code: int) -> str:
    if exit_code > 128 or exit_code < 0:
        return f"was ended by signal {exit_code - 128 if exit_code > 0 else -exit_code}"
    return "ended by itself" if exit_code == 0 else f"ended with exit code {exit_code}"


def _last_error(log_tail: str) -> str:
    """The last informative exception, shortened. (vLLM logs no prompts by default.)"""
    found = ""
    lines = log_tail.splitlines()
    for line, following in itertools.zip_longest(lines, lines[1:], fillvalue=""):
        if usage := _USAGE.search(line):
            found = usage[1]
        elif (match := _EXCEPTION.search(line)) and "See root cause above" not in match[2]:
            # pydantic's message is on the next line.
            said = following.strip() if "validation error" in match[2] and following else match[2].strip()
            found = f"{match[1].rpartition('.')[2]}: {said}"
    return found if len(found) <= LONGEST else f"{found[: LONGEST - 3]}..."
