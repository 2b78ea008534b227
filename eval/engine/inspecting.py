"""Runs a benchmark with Inspect AI: a task for each contestant in one eval set, without display or telemetry.

The only module that knows Inspect. Inspect gives concurrency over samples, retries of failed samples,
logs that its viewer opens (`inspect view --log-dir RUN/logs`), and eval sets that go on where they were
stopped. Questions are asked through our store rather than Inspect's providers and cache;
docs/explanation/evaluation.md says why.
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
"""How often Inspect runs a task's failed samples again, each of which was already tried several times."""
LOG_BUFFER = 256
"""Samples that Inspect holds before it writes them to its log. Each is in our own file at once."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a set of tasks needs. `done` is called with each item as it finishes."""

    benchmark: Benchmark
    asker: ContestantAsker
    done: Callable[[RunItem], None]
    seed: int | None = None


def run_set(
    work: Work, contestants: Sequence[Contestant], log_dir: Path, *, samples: int, metadata: dict[str, Any]
) -> bool:
    """Run the benchmark against each contestant; whether every sample was completed.

    `samples` run at a time for each contestant. Logs go to `log_dir`; called again with the same questions
    and contestants, completed samples are not run again.
    """
    from inspect_ai import eval_set

    tasks = [_task(work, each, place) for place, each in enumerate(contestants, start=1)]
    quiet = logging.getLogger("inspect_ai")
    level = quiet.level
    try:
        quiet.setLevel(logging.ERROR)
        # It says on standard output where its logs are; our commands say it themselves.
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
    """Inspect imports its OpenAI provider before every sample. Where that cannot be imported, because
    another version of the `openai` package is there, each try costs about a millisecond, a fifth of a
    sample: the failure is remembered meanwhile. We do not use the provider."""
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
    """Inspect leaves streams within the process unclosed; they are collected here, not in somebody else's
    work, and without anyio's warning about them."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Unclosed <MemoryObject", ResourceWarning)
        try:
            yield
        finally:
            gc.collect()


@contextlib.contextmanager
def _rare_collection() -> Iterator[None]:
    """Fewer passes of the garbage collector over the many objects that imports leave: 15 % of a sample."""
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
        # Inspect finds a task's log again by this name, which is part of the log's own.
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
        # The place rather than the message, which may hold a prompt. Inspect's log has it all.
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
