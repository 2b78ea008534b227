"""Runs a benchmark with Inspect AI: one task per contestant in one eval set, without display or telemetry.

The only module that imports Inspect, which provides concurrency over samples, retries, logs for its viewer
(`inspect view --log-dir RUN/logs`) and resumable eval sets. Questions go through our answer store rather than
Inspect's providers and cache; docs/explanation/evaluation.md says why.
"""

import contextlib
import gc
import importlib
import io
import logging
import re
import sys
import traceback
import warnings
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from base.reply import AskError
from eval.engine.benchmark import AskedTurn, Benchmark, Marks, Question, converse
from eval.engine.contestants import Contestant, ContestantAsker
from eval.engine.items import ItemTurn, RunItem

if TYPE_CHECKING:
    from inspect_ai import Task
    from inspect_ai.scorer import Scorer
    from inspect_ai.solver import Solver

T = TypeVar("T")

RETRIES = 1
"""Inspect's retries of failed samples, on top of the retries of each request."""
RETRY_WAIT_S = 1.0
"""Before such a retry: each request has waited for the server already."""
LOG_BUFFER = 256
"""Samples that Inspect buffers before it writes its log. Our item log is not buffered."""


@dataclass(frozen=True, slots=True)
class Work:
    """The inputs of a set of tasks. `done` is called with each finished item."""

    benchmark: Benchmark
    asker: ContestantAsker
    done: Callable[[RunItem], None]
    seed: int | None = None


def run_set(
    work: Work, contestants: Sequence[Contestant], log_dir: Path, *, samples: int, metadata: dict[str, Any]
) -> bool:
    """Run the benchmark against each contestant; returns whether every sample was completed.

    `samples` run concurrently per contestant. Logs go to `log_dir`; a second call with the same questions
    and contestants skips completed samples.
    """
    from inspect_ai import eval_set

    tasks = [_task(work, each, place) for place, each in enumerate(contestants, start=1)]
    quiet = logging.getLogger("inspect_ai")
    level = quiet.level
    try:
        quiet.setLevel(logging.ERROR)
        # Inspect prints where its logs are; our commands print that themselves.
        with (
            contextlib.redirect_stdout(io.StringIO()),
            _leftovers_collected(),
            _provider_not_sought(),
            _rare_collection(),
        ):
            complete, _ = eval_set(
                tasks,
                log_dir=str(log_dir),
                model=None,
                retry_attempts=RETRIES,
                retry_wait=RETRY_WAIT_S,
                fail_on_error=True,
                continue_on_fail=True,
                max_samples=samples,
                max_tasks=len(tasks),
                metadata=metadata,
                display="none",
                log_level="error",
                log_realtime=False,
                log_buffer=LOG_BUFFER,
                log_model_api=False,
                log_dir_allow_dirty=True,
                score_display=False,
                ctl_server=False,
                acp_server=False,
            )
    finally:
        quiet.setLevel(level)
    return complete


@contextlib.contextmanager
def _provider_not_sought() -> Iterator[None]:
    """Block the import of Inspect's OpenAI provider, which we do not use. Inspect tries it before every
    sample; with an incompatible `openai` package each failure takes a millisecond, a fifth of a sample."""
    name = "inspect_ai.model._openai_responses"
    try:
        importlib.import_module(name)
    except ImportError:
        pass
    else:
        yield
        return
    # None makes an import fail at once.
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        sys.modules.pop(name, None)


@contextlib.contextmanager
def _leftovers_collected() -> Iterator[None]:
    """Garbage-collect the memory streams that Inspect leaves unclosed, without anyio's warning."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Unclosed <MemoryObject", ResourceWarning)
        try:
            yield
        finally:
            gc.collect()


@contextlib.contextmanager
def _rare_collection() -> Iterator[None]:
    """Run the garbage collector less often; it takes 15 % of a sample's time otherwise."""
    before = gc.get_threshold()
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def _task(work: Work, contestant: Contestant, place: int) -> "Task":
    from inspect_ai import Task
    from inspect_ai.dataset import MemoryDataset, Sample

    questions = {each.id: each for each in work.benchmark.questions}
    samples = [
        Sample(input=each.turns[0], id=each.id, metadata={"category": each.category})
        for each in questions.values()
    ]
    said: dict[str, tuple[AskedTurn, ...]] = {}
    return Task(
        # Inspect finds a task's log by this name, which is part of the log's name.
        name=f"{work.benchmark.name}_{place}_{re.sub(r'[^0-9A-Za-z.-]', '-', contestant.name)}",
        dataset=MemoryDataset(samples, name=work.benchmark.name),
        solver=_solver(work, contestant, questions, said),
        scorer=_scorer(work, contestant, questions, said),
        metadata={"contestant": contestant.name, "model": contestant.model, "server": contestant.server},
    )


def _solver(
    work: Work, contestant: Contestant, questions: dict[str, Question], said: dict[str, tuple[AskedTurn, ...]]
) -> "Solver":
    from inspect_ai.model import ChatMessageAssistant, ChatMessageUser, ModelOutput
    from inspect_ai.solver import Generate, TaskState, solver

    async def solve(state: TaskState, generate: Generate) -> TaskState:
        question = questions[str(state.sample_id)]
        async with work.asker.open():
            turns = await _attempt(
                work,
                contestant,
                question,
                (),
                lambda: converse(work.asker, contestant, question, seed=work.seed),
            )
        if turns is None:
            state.completed = True
            return state
        said[question.id] = turns
        state.messages = []
        for turn in turns:
            state.messages.append(ChatMessageUser(content=turn.prompt))
            state.messages.append(ChatMessageAssistant(content=turn.reply.text, model=contestant.model))
            if turn.reply.routing:
                state.metadata.setdefault("routing", []).append(dict(turn.reply.routing))
        state.output = ModelOutput.from_content(contestant.model, turns[-1].reply.text)
        return state

    return solver(name="converse")(lambda: solve)()


def _scorer(
    work: Work, contestant: Contestant, questions: dict[str, Question], said: dict[str, tuple[AskedTurn, ...]]
) -> "Scorer":
    from inspect_ai.scorer import Score, Target, mean, scorer, stderr
    from inspect_ai.solver import TaskState

    async def mark(state: TaskState, target: Target) -> Score:
        question = questions[str(state.sample_id)]
        turns = said.pop(question.id, None)
        if turns is None:
            return Score.unscored(explanation="the contestant gave no answer")
        async with work.asker.open():
            marks = await _attempt(
                work,
                contestant,
                question,
                turns,
                lambda: work.benchmark.mark(question, contestant, turns, work.asker),
            )
        if marks is None:
            return Score.unscored(explanation="a judge or the baseline gave no answer")
        work.done(_item(contestant, question, turns, marks))
        if marks.score is None:
            return Score.unscored(explanation=marks.reason)
        return Score(value=marks.score, explanation=marks.reason or None, metadata=dict(marks.values))

    return scorer(metrics=[mean(), stderr()], name="marks")(lambda: mark)()


async def _attempt(
    work: Work,
    contestant: Contestant,
    question: Question,
    turns: Sequence[AskedTurn],
    act: Callable[[], Awaitable[T]],
) -> T | None:
    """The result of `act`; None after a permanent error. Transient errors are raised for Inspect to retry.
    Either is recorded in an item."""

    def failed(code: str, message: str) -> None:
        work.done(
            RunItem(
                question=question.id,
                category=question.category,
                contestant=contestant.name,
                reason=message,
                turns=tuple(_turn(each) for each in turns),
                error=code,
            )
        )

    try:
        return await act()
    except AskError as error:
        failed(error.code, error.message)
        if error.unavailable:
            raise
        return None
    except Exception as error:
        # The location only: the message may contain a prompt. Inspect's log has the traceback.
        frame = traceback.extract_tb(error.__traceback__)[-1]
        failed("internal", f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}")
        raise


def _item(contestant: Contestant, question: Question, turns: Sequence[AskedTurn], marks: Marks) -> RunItem:
    return RunItem(
        question=question.id,
        category=question.category,
        contestant=contestant.name,
        score=marks.score,
        reason=marks.reason,
        values=dict(marks.values),
        turns=tuple(_turn(each) for each in turns),
        verdicts=tuple(dict(each) for each in marks.verdicts),
        judgments=tuple(dict(each) for each in marks.judgments),
        unparsed=marks.unparsed,
    )


def _turn(turn: AskedTurn) -> ItemTurn:
    reply = turn.reply
    return ItemTurn(
        prompt=turn.prompt,
        answer=reply.text,
        finish_reason=reply.finish_reason,
        prompt_tokens=reply.usage.prompt,
        completion_tokens=reply.usage.completion,
        latency_s=reply.seconds,
        cached=reply.kept,
        routing=dict(reply.routing) if reply.routing else None,
    )
