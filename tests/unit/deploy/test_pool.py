"""experts/gpu.yaml and docker-compose.yml describe the same four experts, and the arms over them."""

import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from app.settings import PROJECT
from experts.outgoing import outgoing_body
from experts.registry import Expert, load_registry

Services = dict[str, dict[str, Any]]

REGISTRY = load_registry(PROJECT / "experts" / "gpu.yaml").experts
POOL = {name: expert for name, expert in REGISTRY.items() if expert.base is None}
ARMS = {name: expert for name, expert in REGISTRY.items() if expert.base is not None}

every_expert = pytest.mark.parametrize("expert", POOL.values(), ids=POOL.keys())
every_arm = pytest.mark.parametrize("arm", ARMS.values(), ids=ARMS.keys())
ASKED = {"messages": [{"role": "user", "content": "Hi"}]}


def flags(service: dict[str, Any]) -> dict[str, str]:
    """vLLM's arguments by name; a switch has an empty value."""
    pairs = [word.removeprefix("--").partition("=") for word in service["command"]]
    return {name: value for name, _, value in pairs}


def gpus(service: dict[str, Any]) -> list[str]:
    """The ids of the GPUs that are reserved for a service."""
    devices = service.get("deploy", {}).get("resources", {}).get("reservations", {}).get("devices", [])
    for device in devices:
        assert device["driver"] == "nvidia" and device["capabilities"] == ["gpu"]
    return [each for device in devices for each in device["device_ids"]]


def test_there_is_one_server_for_each_expert_and_no_other(services: Services) -> None:
    servers = {name for name, service in services.items() if service["image"].startswith("vllm/")}
    assert servers == set(POOL)
    assert len(servers) == 4


@every_expert
def test_the_endpoint_is_the_service_of_the_experts_name(expert: Expert, services: Services) -> None:
    url = urlsplit(expert.endpoint or "")
    served = int(flags(services[expert.name]).get("port", "8000"))
    assert (url.hostname, url.port) == (expert.name, served)
    assert f":{served}/health" in " ".join(services[expert.name]["healthcheck"]["test"])


@every_expert
def test_the_server_serves_the_model_by_the_name_that_is_asked_for(
    expert: Expert, services: Services
) -> None:
    given = flags(services[expert.name])
    assert given.get("served-model-name", given["model"]) == expert.model


@every_expert
def test_the_context_lengths_agree(expert: Expert, services: Services) -> None:
    assert int(flags(services[expert.name])["max-model-len"]) == expert.context_length


@every_expert
def test_tools_are_promised_where_the_server_reads_tool_calls(expert: Expert, services: Services) -> None:
    given = flags(services[expert.name])
    assert ("tools" in expert.capabilities) == ("tool-call-parser" in given)
    assert ("enable-auto-tool-choice" in given) == ("tool-call-parser" in given)


@every_expert
def test_images_are_promised_where_the_server_takes_them(expert: Expert, services: Services) -> None:
    if "vision" in expert.capabilities:
        assert "language-model-only" not in flags(services[expert.name])


@every_expert
def test_the_model_is_spread_over_all_gpus_that_are_reserved(expert: Expert, services: Services) -> None:
    service = services[expert.name]
    assert int(flags(service).get("tensor-parallel-size", "1")) == len(gpus(service))


def test_no_gpu_is_promised_twice(services: Services) -> None:
    promised = [gpu for service in services.values() for gpu in gpus(service)]
    assert sorted(promised) == [str(number) for number in range(8)]


@every_expert
def test_the_experts_network_is_the_apis(expert: Expert, services: Services) -> None:
    assert set(services[expert.name]["networks"]) & set(services["api"]["networks"])


def test_the_shipped_composition_is_of_this_pool_and_says_that_nobody_scored_it() -> None:
    manifest = json.loads((PROJECT / "routers/compositions/gpu/composition.json").read_text())
    assert [each["name"] for each in manifest["experts"]] == list(POOL)
    guessed = manifest["data"]["utilities"].startswith("a guess by size")
    assert guessed == ("Nobody has scored this pool yet" in (PROJECT / "docs/how-to/gpu-host.md").read_text())


@every_arm
def test_an_arm_is_asked_of_its_bases_server_in_a_way_of_its_own(arm: Expert) -> None:
    base = POOL[arm.base or ""]
    assert (arm.endpoint, arm.model, arm.context_length) == (base.endpoint, base.model, base.context_length)
    assert arm.settings != base.settings


def test_arms_say_their_effort_in_the_field_that_the_model_knows() -> None:
    sent = {name: outgoing_body(expert, ASKED, stream=False) for name, expert in REGISTRY.items()}
    efforts = {name: body["reasoning_effort"] for name, body in sent.items() if "reasoning_effort" in body}
    assert efforts == {"reasoner-low": "low", "reasoner-high": "high", "reasoner-voted": "low"}
    thinking = {
        name: body["chat_template_kwargs"]["enable_thinking"]
        for name, body in sent.items()
        if "chat_template_kwargs" in body
    }
    assert thinking == {"large": False, "large-thinking": True}


@every_arm
def test_a_budget_for_thinking_needs_a_server_that_reads_the_thinking(
    arm: Expert, services: Services
) -> None:
    budget = arm.sampling.get("thinking_token_budget")
    assert budget is None or 0 < int(str(budget)) < arm.context_length
    assert budget is None or "reasoning-parser" in flags(services[arm.base or ""])


def test_one_arm_answers_from_several_samples() -> None:
    several = {name: (arm.samples, arm.select) for name, arm in ARMS.items() if arm.samples > 1}
    assert several == {"reasoner-voted": (5, "majority")}
