"""Scores of logged answers, shadow answers included, as feedback: by the checks of a suite whose prompts they
answer, or by a judge. Only text that the operator keeps can be scored."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from base.reply import AskError
from eval.checks import Check
from eval.engine.contestants import ContestantAsker
from eval.judging.judge import Judge
from eval.judging.judge_prompts import Kind, Scale
from eval.protocols.checkable import Grader
from eval.suite import Suite
from eval.traffic import Logged, reward

RATINGS = Kind(Scale.RATING)


@dataclass(frozen=True, slots=True)
class LoggedAnswer:
    """One answer to a logged request. `id`: of the decision, or of the shadow answer."""

    id: str
    expert: str
    prompt: str
    text: str


class Scorer(Protocol):
    """Scores an answer 0..1; None where it cannot, such as a prompt that no check is known of."""

    async def score(self, answer: LoggedAnswer) -> float | None: ...


class CheckScorer:
    """By the checks of a suite."""

    def __init__(self, suite: Suite, grader: Grader) -> None:
        self._checks: Mapping[str, Check] = {item.prompt.strip(): item.check for item in suite.items}
        self._grader = grader

    async def score(self, answer: LoggedAnswer) -> float | None:
        check = self._checks.get(answer.prompt)
        return None if check is None else (await self._grader.mark(check, answer.text)).score


class JudgeScorer:
    """By a judge's rating of 1 to 10, as 0 to 1."""

    def __init__(self, judge: Judge, asker: ContestantAsker) -> None:
        judge.must_have([RATINGS])
        self._judge = judge
        self._asker = asker

    async def score(self, answer: LoggedAnswer) -> float | None:
        texts = {"question_1": answer.prompt, "answer_a_1": answer.text}
        try:
            judgment = await self._judge.judge(self._asker, RATINGS, texts)
        except AskError:
            return None
        return None if judgment.rating is None else (judgment.rating - 1) / 9


def unrated(log: Iterable[Logged], *, pairs_only: bool = False) -> tuple[LoggedAnswer, ...]:
    """The answers that nobody has rated and whose text is kept. Only requests of one user turn: a check or a
    judge sees nothing else of a conversation. `pairs_only`: only where a shadow answered the same request."""
    found: list[LoggedAnswer] = []
    for each in log:
        shadows = [shadow for shadow in each.shadows if shadow.status == "ok" and shadow.answer]
        turns = each.turns or ()
        if [turn.role for turn in turns if turn.role != "system"] != ["user"] or (pairs_only and not shadows):
            continue
        prompt = next(turn.text for turn in turns if turn.role == "user").strip()
        if each.status == "ok" and each.answer and reward(each.feedback) is None:
            found.append(LoggedAnswer(each.id, each.expert, prompt, each.answer))
        found += [
            LoggedAnswer(shadow.id, shadow.expert, prompt, shadow.answer or "")
            for shadow in shadows
            if reward(shadow.feedback) is None
        ]
    return tuple(found)


async def score_answers(
    answers: Iterable[LoggedAnswer],
    scorer: Scorer,
    rate: Callable[[LoggedAnswer, float], None],
    done: Callable[[], None] = lambda: None,
) -> int:
    """Score `answers` and `rate` each; how many have a score now. What was rated stays rated when this is
    interrupted, and is not scored again."""
    count = 0
    for answer in answers:
        if (score := await scorer.score(answer)) is not None:
            rate(answer, score)
            count += 1
        done()
    return count
