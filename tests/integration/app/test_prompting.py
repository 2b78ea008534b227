"""Prompts, mixtures and identities in front of real requests, and in their decisions."""

from collections.abc import Mapping
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.errors import StartError
from experts.fake import Behaviour, run_fake_expert
from prompts.mixture.demos import Demo
from prompts.mixture.mixture import Region
from prompts.mixture.pool import DemoPool
from prompts.templates import PromptLibrary
from tests.integration.app.prompt_world import Experts, mixture
from tests.integration.app.world import CODE, TALK, UNCLEAR, Api, WordEncoder, World, events_of


@pytest.fixture
def experts(world: World) -> Experts:
    return Experts.of(world)


def sent(api: Api) -> Any:
    """The messages that coder's server got last."""
    return api.fakes["coder"].log.last["messages"]


def users(*texts: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text} for text in texts]


async def test_a_library_prompt_stands_first_and_in_the_decision(experts: Experts) -> None:
    experts.add("writer", prompt="writing@1", variables={"tone": "warm"})
    prompt = PromptLibrary().get("writing@1")
    origin = {"name": "writing", "version": 1, "hash": prompt.hash}
    async with experts.serve() as api:
        answer = (await api.chat(TALK, model="writer")).json()
        assert answer["routing"]["prompt"] == origin
        assert answer["routing"]["mixture"] is None
        assert sent(api) == [{"role": "system", "content": prompt.render({"tone": "warm"})}, *users(TALK)]
        assert (await api.decision(answer["routing"]["id"]))["prompt"] == origin
        listed = {each["name"]: each for each in (await api.http.get("/v1/experts")).json()["data"]}
        assert listed["writer"]["prompt"] == origin
        assert listed["coder"]["prompt"] is None
        assert (await api.chat(CODE)).json()["routing"]["prompt"] is None


async def test_a_mixture_puts_the_nearest_regions_prompt_in_front(experts: Experts) -> None:
    digest = experts.mixture()
    async with experts.serve() as api:
        routing = (await api.chat(CODE, model="helper")).json()["routing"]
        assert sent(api) == [
            {"role": "system", "content": "Write short code."},
            {"role": "user", "content": "add a bug"},
            {"role": "assistant", "content": "fixed"},
            {"role": "user", "content": "write code"},
            {"role": "assistant", "content": "done"},
            *users(CODE),
        ]
        assert routing["expert"] == "helper"
        used = routing["mixture"]
        assert {**used, "distance": 0} == {
            "name": "helper",
            "digest": digest,
            "region": 0,
            "distance": 0,
            "fallback": False,
            "nearest": [],
            "dropped": None,
        }
        assert 0 < used["distance"] < 0.8
        assert (await api.decision(routing["id"]))["mixture"] == used
        assert (await api.chat(TALK, model="helper")).json()["routing"]["mixture"]["region"] == 1
        assert sent(api)[0] == {"role": "user", "content": "hello"}


async def test_a_mixture_shows_each_request_the_demos_nearest_to_it(experts: Experts) -> None:
    asked = ("python code", "weather", "python hello code")
    demos = tuple(Demo(text, f"about {text}") for text in asked)
    pool = DemoPool(demos, WordEncoder().encode(asked))
    experts.mixture(
        mixture(regions=(Region(mixture().regions[0].centroid, 2.0, "Be short.", nearest=2),), pool=pool)
    )
    async with experts.serve() as api:
        used = (await api.chat("python hello code", model="helper")).json()["routing"]["mixture"]
        assert (used["region"], used["nearest"]) == (0, [0, 2])
        assert [each["content"] for each in sent(api)] == [
            "Be short.",
            "python code",
            "about python code",
            "python hello code",
            "about python hello code",
            "python hello code",
        ]
        other = (await api.chat("weather", model="helper")).json()["routing"]
        assert other["mixture"]["nearest"][-1] == 1
        assert (await api.decision(other["id"]))["mixture"] == other["mixture"]
        body = {"model": "helper", "messages": users("weather")}
        assert (await api.http.post("/v1/route", json=body)).json()["mixture"]["nearest"][-1] == 1


async def test_a_request_far_from_every_region_gets_the_fallback(experts: Experts) -> None:
    experts.mixture()
    async with experts.serve() as api:
        used = (await api.chat(UNCLEAR, model="helper")).json()["routing"]["mixture"]
        assert (used["region"], used["fallback"]) == (None, True)
        assert sent(api) == [{"role": "system", "content": "Be brief."}, *users(UNCLEAR)]


async def test_a_mixture_is_mapped_to_a_category_and_streams(experts: Experts) -> None:
    """Routed, not named: the embedding is the router's own."""
    experts.mixture()
    experts.compose("helper")
    async with experts.serve() as api:
        response = await api.chat(CODE, stream=True)
        first, *_ = events_of(response.text)
        assert first["routing"]["expert"] == "helper"
        assert first["routing"]["reason"] == "matched"
        assert first["routing"]["mixture"]["region"] == 0
        assert sent(api)[0]["content"] == "Write short code."


async def test_a_clients_own_system_message_stays_and_tools_pass(experts: Experts) -> None:
    experts.mixture()
    async with experts.serve() as api:
        messages = [{"role": "system", "content": "Mine."}, *users("python code", "more"), *users(CODE)]
        await api.http.post(
            "/v1/chat/completions", json={"model": "helper", "messages": messages, "temperature": 0.3}
        )
        assert sent(api)[0] == {"role": "system", "content": "Write short code.\n\nMine."}
        assert sent(api)[-3:] == messages[1:]
        assert api.fakes["coder"].log.last["temperature"] == 0.3


async def test_route_shows_the_region_without_asking_anybody(experts: Experts) -> None:
    experts.mixture()
    async with experts.serve() as api:
        body = {"model": "helper", "messages": users(CODE)}
        routing = (await api.http.post("/v1/route", json=body)).json()
        assert routing["mixture"]["region"] == 0
        assert api.fakes["coder"].log.started == 0


async def test_demos_that_do_not_fit_the_context_are_dropped_and_the_decision_says_so(
    experts: Experts,
) -> None:
    long = mixture(
        regions=(Region(mixture().regions[0].centroid, 2.0, "Write short code.", (Demo("x" * 12_000, "y"),)),)
    )
    experts.mixture(long)
    async with experts.serve() as api:
        used = (await api.chat(CODE, model="helper")).json()["routing"]["mixture"]
        assert used["dropped"] == "demos"
        assert sent(api) == [{"role": "system", "content": "Write short code."}, *users(CODE)]
        # A cap is no need: it leaves nothing more out, and is clipped to what the prompt leaves.
        used = (await api.chat(CODE, model="helper", max_tokens=4_000)).json()["routing"]["mixture"]
        assert used["dropped"] == "demos"
        assert sent(api) == [{"role": "system", "content": "Write short code."}, *users(CODE)]
        assert api.fakes["coder"].log.last["max_tokens"] < 4_000


async def test_a_refusal_for_length_is_answered_with_less_in_front(experts: Experts) -> None:
    """The estimate was too low: the server counts, and only then is the demo left out."""
    experts.mixture()
    async with experts.serve() as api:
        for stream in (False, True):
            api.fakes["coder"].log.bodies.clear()
            refusal = {"status": 400, "error": {"message": "maximum context length is 9", "code": 400}}
            response = await api.chat(CODE, model="helper", stream=stream, fake=refusal)
            assert response.status_code == 400
            assert response.json()["error"]["code"] == "context_length_exceeded"
            lengths = [len(body["messages"]) for body in api.fakes["coder"].log.bodies]
            assert lengths == [6, 2, 1]


async def test_an_identity_stands_before_requests_of_kept_categories_only(experts: Experts) -> None:
    known = experts.identities("category", "coding")
    experts.compose("expert")
    async with experts.serve() as api:
        routing = (await api.chat(CODE)).json()["routing"]
        assert routing["expert"] == "expert"
        assert sent(api) == [{"role": "system", "content": "You are a compiler."}, *users(CODE)]
        identity = known.of("coding")
        assert identity is not None
        used = routing["identity"]
        assert (used["per"], used["category"], used["hash"]) == ("category", "coding", identity.hash)
        assert (used["calls"], used["skipped"]) == (0, None)
        assert (await api.decision(routing["id"]))["identity"] == used
        unsure = await api.chat(UNCLEAR, routing={"exclude": ["talker", "backup"]})
        assert unsure.json()["routing"]["classification"] == "unclassified"
        assert unsure.json()["routing"]["identity"]["skipped"] == "no_category"
        named = (await api.chat(CODE, model="expert")).json()["routing"]["identity"]
        assert named["skipped"] == "no_category"
        assert sent(api) == users(CODE)
        talk = await api.chat(TALK, model="coterie/smalltalk", routing={"exclude": ["talker", "backup"]})
        assert talk.json()["routing"]["identity"]["skipped"] == "not_kept"
        assert sent(api) == users(TALK)


async def test_an_identity_per_request_costs_a_call_that_the_decision_shows(experts: Experts) -> None:
    identity = "You are a poet of code. You write it short."

    def answer(body: Mapping[str, Any]) -> Behaviour:
        writes = str(body["messages"][-1]["content"]).startswith("Describe the expert")
        return Behaviour(reply=identity if writes else "done")

    experts.identities("request", "coding")
    experts.compose("expert")
    with run_fake_expert(answer, name="coder") as coder:
        experts.endpoints["coder"] = coder.endpoint
        async with experts.serve() as api:
            routing = (await api.chat(CODE)).json()["routing"]
        asked, answered = coder.log.bodies
    assert asked["messages"][-1]["content"].endswith(CODE)
    assert answered["messages"] == [{"role": "system", "content": identity}, *users(CODE)]
    used = routing["identity"]
    assert used["calls"] == 1
    assert used["prompt_tokens"] > 0
    assert used["completion_tokens"] > 0
    assert used["ms"] > 0
    assert identity not in str(routing)


async def test_a_model_that_writes_no_identity_answers_without(experts: Experts) -> None:
    experts.identities("request", "coding")
    experts.compose("expert")
    async with experts.serve() as api:
        response = await api.chat(CODE)
        used = response.json()["routing"]["identity"]
        assert (used["skipped"], used["calls"], used["hash"]) == ("not_written", 1, None)
        assert used["completion_tokens"] > 0
        assert sent(api) == users(CODE)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"encoder": "other"}, "other 1 .*words 1"),
        ({"encoder_revision": "2"}, "words 2"),
    ],
)
async def test_a_mixture_of_another_encoder_stops_the_start(
    experts: Experts, change: Mapping[str, str], said: str
) -> None:
    experts.mixture(mixture(**change))
    with pytest.raises(StartError, match=said) as caught:
        await experts.start()
    assert "mixtures/helper" in str(caught.value)
    assert "build the mixture again" in str(caught.value)


async def test_a_damaged_mixture_stops_the_start(experts: Experts) -> None:
    experts.mixture()
    manifest = experts.folder / "mixtures" / "helper" / "mixture.json"
    manifest.write_text(manifest.read_text().replace("Write short code.", "Write long code."))
    with pytest.raises(StartError, match=r"helper: .*mixture\.json"):
        await experts.start()


async def test_a_missing_mixture_is_told_by_the_registrys_line(experts: Experts) -> None:
    experts.add("helper", mixture="mixtures/none")
    with pytest.raises(StartError, match=r"yaml:\d+: mixture: .*coterie prompts build"):
        await experts.start()


async def test_identities_that_were_not_measured_stop_the_start(experts: Experts) -> None:
    experts.identities("category")
    with pytest.raises(StartError, match=r"\.yaml: .*coterie eval personas"):
        await experts.start()


async def test_identities_measured_for_the_other_variant_are_not_measured(experts: Experts) -> None:
    experts.identities("category", "coding")
    experts.entries[-1]["identity"]["per"] = "request"
    said = r"per request were not measured: run `coterie eval personas \S+identities.yaml --per request`"
    with pytest.raises(StartError, match=said):
        await experts.start()


async def test_identities_measured_on_another_expert_are_served_with_a_warning(experts: Experts) -> None:
    experts.identities("category", "coding")
    experts.entries[-1]["base"] = "talker"
    with capture_logs() as logs:
        await experts.start()
    (said,) = (each for each in logs if each["event"] == "identities_of_another_base")
    assert (said["base"], said["measured_on"]) == ("talker", "coder")


async def test_no_prompt_of_ours_is_in_the_list_of_experts(experts: Experts) -> None:
    digest = experts.mixture()
    known = experts.identities("category", "coding")
    async with experts.serve() as api:
        response = await api.http.get("/v1/experts")
        listed = {each["name"]: each for each in response.json()["data"]}
        assert listed["helper"]["mixture"] == {"name": "helper", "digest": digest}
        assert listed["expert"]["identity"] == {
            "per": "category",
            "digest": known.digest,
            "categories": ["coding"],
        }
        assert "Write short code" not in response.text
        assert "compiler" not in response.text
        assert {each["id"] for each in (await api.http.get("/v1/models")).json()["data"]} >= {
            "helper",
            "expert",
        }
