"""An expert of the registry is asked directly: what is sent, what comes back, and what failures become."""

from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from base.reply import AskError, Reply
from base.retries import RetryPolicy
from base.usage import TokenUsage
from experts.answer_store import AnswerStore
from experts.asker import Asker
from experts.expert import Expert
from experts.expert_line import AskedExpert, ExpertAsk, ExpertLine
from experts.fake import Behaviour, run_fake_expert, serve_in_thread
from prompts.mixture.call_budget import PromptTooLong

HELLO = [{"role": "user", "content": "Hello"}]
FORMER_KEY = "d7495e68876823053dd37dee07e3f0d2f1ac096196a053f6eb9209fa20d601df"
"""What `coterie prompts build` called the answer to the question below before there was one store."""
QUICK = RetryPolicy(attempts=2, first_wait_s=0.001, longest_wait_s=0.002)


def source_at(endpoint: str, **more: object) -> AskedExpert:
    return AskedExpert.of(
        Expert.model_validate(
            {"name": "toy", "endpoint": endpoint, "model": "toy", "params_b": 1.0, "context_length": 4096}
            | more
        )
    )


async def test_an_answer_comes_with_its_tokens(tmp_path: Path) -> None:
    with run_fake_expert(Behaviour(reply="two words"), models=["toy"]) as fake:
        line = ExpertLine()
        for _ in range(2):  # connections are opened again after they were closed
            found = await line.send(source_at(fake.endpoint), HELLO, {"max_tokens": 9})
            await line.aclose()
        assert (found.text, found.finish_reason, found.usage) == ("two words", "stop", TokenUsage(2, 2))
        assert fake.log.last["max_tokens"] == 9


@pytest.mark.parametrize(
    ("behaviour", "code", "unavailable", "transient"),
    [
        (Behaviour(status=503), "expert_unavailable", True, True),
        (Behaviour(status=429), "expert_busy", True, True),
        (Behaviour(rubbish_after=0), "expert_bad_reply", False, True),
        (Behaviour(status=400, error={"message": "no such field"}), "expert_rejected", False, False),
    ],
)
async def test_a_failure_says_whether_to_try_again(
    behaviour: Behaviour, code: str, unavailable: bool, transient: bool
) -> None:
    with run_fake_expert(behaviour, models=["toy"]) as fake:
        line = ExpertLine()
        with pytest.raises(AskError) as caught:
            await line.send(source_at(fake.endpoint), HELLO, {})
        await line.aclose()
    error = caught.value
    assert (error.code, error.unavailable, error.transient) == (code, unavailable, transient)
    assert error.said == ("no such field" if code == "expert_rejected" else "")


async def test_an_answer_by_another_expert_is_none() -> None:
    """Coterie, asked for one expert, may fall back to another."""

    async def fall_back(request: Request) -> JSONResponse:
        answer = {"choices": [{"message": {"role": "assistant", "content": "Hi"}}]}
        return JSONResponse(answer, headers={"x-coterie-expert": "other"})

    app = Starlette(routes=[Route("/v1/chat/completions", fall_back, methods=["POST"])])
    with serve_in_thread(app) as port:
        line = ExpertLine()
        with pytest.raises(AskError) as caught:
            await line.send(source_at(f"http://127.0.0.1:{port}/v1"), HELLO, {})
        await line.aclose()
    assert (caught.value.code, caught.value.transient) == ("other_expert", False)


async def test_prompt_building_asks_through_the_store_and_hears_of_prompts_that_do_not_fit(
    tmp_path: Path,
) -> None:
    with (
        run_fake_expert(models=["toy"], context_length=12) as small,
        AnswerStore(tmp_path / "answers.sqlite") as store,
    ):
        asker = Asker(store, ExpertLine(), retries=QUICK)
        async with asker.open():
            ask = ExpertAsk(asker, source_at(small.endpoint))
            asked, kept = [await ask(HELLO, max_tokens=4, temperature=0.0, seed=7) for _ in range(2)]
            other = ExpertAsk(asker, source_at(small.endpoint, sampling={"top_p": 0.5}))
            anew = await other(HELLO, max_tokens=4, temperature=0.9, seed=7)
            with pytest.raises(PromptTooLong):
                await ask([{"role": "user", "content": "a " * 20}], max_tokens=4, temperature=0.0, seed=0)
        assert [each.kept for each in (asked, kept, anew)] == [False, True, False]
        assert ["seed" in body for body in small.log.bodies] == [False, True, False]


async def test_answers_of_earlier_builds_are_found(tmp_path: Path) -> None:
    endpoint = "http://127.0.0.1:9/v1"
    with AnswerStore(tmp_path / "answers.sqlite") as store:
        asker = Asker(store, ExpertLine(), retries=QUICK)
        store.add(FORMER_KEY, Reply("Rome"), server="", model="")
        async with asker.open():
            ask = ExpertAsk(asker, source_at(endpoint))
            assert (await ask(HELLO, max_tokens=4, temperature=0.0, seed=3)).text == "Rome"
