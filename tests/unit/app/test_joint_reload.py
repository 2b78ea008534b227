"""All workers reload, or none does."""

from dataclasses import dataclass, field
from typing import Any

import pytest

from app.workers.channel import ChannelClosed, QuestionRefused
from app.workers.joint_reload import TRIES, reload_all


@dataclass
class Worker:
    """Loads `reads` in turn, the last one again and again; an exception is raised."""

    reads: list[Any]
    asked: list[tuple[str, Any]] = field(default_factory=list)

    async def ask(self, what: str, given: Any = None, *, seconds: float = 1.0) -> Any:
        self.asked.append((what, given))
        if what == "prepare":
            found = self.reads.pop(0) if len(self.reads) > 1 else self.reads[0]
            if isinstance(found, Exception):
                raise found
            return found
        return {"new": self.reads[0], "workers": 1} if what == "commit" else None


def questions(worker: Worker) -> list[str]:
    return [what for what, _ in worker.asked]


async def test_all_swap_when_all_have_loaded_the_same() -> None:
    workers = [Worker(["new"]) for _ in range(3)]
    assert await reload_all(workers) == ("new", {"new": "new", "workers": 3})
    assert [each.asked for each in workers] == [
        [("prepare", None), ("commit", noted)] for noted in (True, False, False)
    ]


@pytest.mark.parametrize("failure", [QuestionRefused("bad file"), TimeoutError()])
async def test_none_swaps_when_one_cannot_load(failure: Exception) -> None:
    workers = [Worker(["new"]), Worker([failure]), Worker(["new"])]
    with pytest.raises(QuestionRefused, match=r"bad file|too long"):
        await reload_all(workers)
    assert [questions(each) for each in workers] == [["prepare", "abandon"]] * 3
    assert [each.asked[-1][1] is None for each in workers] == [False, True, True]


async def test_they_load_again_while_they_read_different_things() -> None:
    workers = [Worker(["old", "new"]), Worker(["new"])]
    assert (await reload_all(workers))[1]["workers"] == 2
    assert questions(workers[0]) == ["prepare", "prepare", "commit"]
    workers = [Worker(["one"]), Worker(["other"])]
    with pytest.raises(QuestionRefused, match="different compositions"):
        await reload_all(workers)
    assert questions(workers[0]) == ["prepare"] * TRIES + ["abandon"]


async def test_one_that_ends_meanwhile_is_left_out() -> None:
    workers = [Worker([ChannelClosed()]), Worker(["new"])]
    assert await reload_all(workers) == ("new", {"new": "new", "workers": 1})
    assert workers[1].asked[-1] == ("commit", True)
    with pytest.raises(QuestionRefused):
        await reload_all([Worker([ChannelClosed()])])
