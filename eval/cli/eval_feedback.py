"""`coterie eval feedback`, on `eval.live_scoring`."""

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from base.progress import ProgressBars
from base.terminal import console, fail, say
from eval.cli.eval_options import API, ApiKey, Cache, NetworkCode, Newest, SuitePath
from eval.cli.eval_options import Keys as KeyOptions
from eval.cli.run_progress import read_keys

if TYPE_CHECKING:
    from eval.live_scoring import LoggedAnswer


def feedback(
    api: Annotated[str, typer.Option(help="The running service.", envvar="COTERIE_API_URL")] = API,
    suite: SuitePath = None,
    judge: Annotated[
        str | None,
        typer.Option(help="Rate by this judge, an expert's name or NAME=URL#MODEL, and not by checks."),
    ] = None,
    pairs: Annotated[bool, typer.Option("--pairs", help="Only requests that a shadow answered too.")] = False,
    limit: Newest = None,
    allow_network_code: NetworkCode = False,
    api_key: ApiKey = None,
    key: KeyOptions = None,
    cache: Cache = None,
) -> None:
    """Rate logged answers and shadow answers that nobody has rated, by checks or by a judge.

    Needs kept text (COTERIE_STORE_PROMPTS). Checks score the answers to the prompts of a suite, a judge
    those of any request of one turn. Interrupted, the same command goes on.

    Examples:

      coterie eval feedback --suite my-prompts.jsonl

      coterie eval feedback --judge gpt=https://host/v1#gpt-large --pairs
    """
    from client import ApiError, Client
    from eval.benchmark_registry import Keys
    from eval.engine.api_line import ApiLine
    from eval.engine.contestants import ContestantError, identify, parse_contestants
    from eval.judging.judge import Judge
    from eval.judging.judge_prompts import own_prompts
    from eval.live_scoring import CheckScorer, JudgeScorer, score_answers, unrated
    from eval.protocols.checkable import Grader
    from eval.suite import OWN, SuiteError, load_suite
    from eval.traffic import TrafficError, fetch_traffic
    from experts.answer_store import AnswerStore, StoreError, default_store
    from experts.asker import Asker

    try:
        answers = unrated(fetch_traffic(api, key=api_key, limit=limit), pairs_only=pairs)
        with Client(api, key=api_key) as service, ProgressBars() as progress:
            bar = progress.add("rated", len(answers))

            def rate(answer: "LoggedAnswer", score: float) -> None:
                service.feedback(answer.id, score=score, comment=f"by {judge or 'its check'}")

            def done() -> None:
                progress.advance(bar)

            if judge is None:
                checks = CheckScorer(load_suite(suite or OWN), Grader(allow_network_code=allow_network_code))
                count = asyncio.run(score_answers(answers, checks, rate, done))
            else:
                named = parse_contestants(judge, api=api, api_key=api_key)
                contestants = Keys(api_key, read_keys(key or [])).on(named)
                with AnswerStore(cache or default_store()) as store:

                    async def judged() -> int:
                        (model,) = await identify(contestants)
                        asker = Asker(store, ApiLine())
                        async with asker.open():
                            return await score_answers(
                                answers, JudgeScorer(Judge(model, own_prompts()), asker), rate, done
                            )

                    count = asyncio.run(judged())
    except (ApiError, ContestantError, StoreError, SuiteError, TrafficError, OSError, ValueError) as error:
        fail(error)
    except KeyboardInterrupt:
        say("\nStopped. What was rated stays rated; the same command goes on.")
        raise typer.Exit(130) from None
    console(stderr=False).print(f"{count} of {len(answers)} unrated answers rated", highlight=False)
