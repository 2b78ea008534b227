"""The Helm chart: rendered by helm, valid by Kubernetes' schemas, the same deployment as under compose."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from app.settings import PROJECT, Settings
from app.telemetry.metrics import Metrics
from experts.registry import load_registry
from tests.integration.deploy.conftest import FAR, REGISTRY, SECRETS, SERVERS
from tests.integration.deploy.helm import CHART, Document, Helm, Manifests, Refused
from tests.integration.deploy.schemas import NEWEST, OLDEST, problems
from tests.unit.deploy.compose import compose
from tests.unit.deploy.conftest import SECRETS as COMPOSE_SECRETS
from tests.unit.deploy.test_compose import BUILT
from ui.settings import ConsoleSettings

EXPERTS = load_registry(PROJECT / "experts" / "gpu.yaml").experts
SERVED = [name for name, expert in EXPERTS.items() if expert.base is None]

each_server = pytest.mark.parametrize("name", SERVED)


def variables(container: Document) -> dict[str, Any]:
    """A container's variables: values, or where they come from."""
    return {each["name"]: each.get("value", each.get("valueFrom")) for each in container["env"]}


def flags(container: Document) -> set[str]:
    return set(container["args"])


def test_helm_has_nothing_to_object_to(helm: Helm) -> None:
    assert "1 chart(s) linted, 0 chart(s) failed" in helm.run(
        "lint", "--strict", str(CHART), *REGISTRY, *SECRETS, "--values", str(SERVERS)
    )


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
def test_every_document_is_valid(pool: Manifests, version: str) -> None:
    assert problems(pool, version) == []
    assert {each["kind"] for each in pool.documents} == {
        "ConfigMap",
        "Deployment",
        "HorizontalPodAutoscaler",
        "Job",
        "NetworkPolicy",
        "PersistentVolumeClaim",
        "PodDisruptionBudget",
        "Service",
    }


def test_a_misspelt_field_would_be_found(pool: Manifests) -> None:
    broken = json.loads(json.dumps(pool.one("Deployment", "coterie-api")))
    broken["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    (problem,) = problems(Manifests((broken,)))
    assert "readynessProbe" in problem


def test_every_option_renders_to_valid_documents(helm: Helm) -> None:
    everything = helm.template(
        *REGISTRY, *SECRETS, files=[SERVERS, Path(__file__).with_name("every_option.yaml")]
    )
    assert problems(everything) == []
    assert everything.pod("coterie-api")["volumes"][2]["image"] == {"reference": "registry.example.org/c:3"}
    assert variables(everything.container("coterie-api"))["COTERIE_COMPOSITION"] == "/srv/config/composition"
    assert everything.one("Deployment", "coterie-api")["spec"]["replicas"] == 3
    assert everything.of("HorizontalPodAutoscaler") == []
    assert variables(everything.container("coterie-small"))["HF_TOKEN"]["secretKeyRef"]["name"] == "hub"
    assert "nvidia.com/gpu" not in everything.container("coterie-coder")["resources"]["limits"]


def test_without_a_console_it_has_neither_its_pods_nor_its_key(helm: Helm) -> None:
    alone = helm.template(
        *REGISTRY, *SECRETS, "--set", "console.enabled=false,console.key.secret=", files=[SERVERS]
    )
    assert {each["metadata"]["name"] for each in alone.of("Deployment")} == {
        "coterie-api",
        *(f"coterie-{name}" for name in SERVED),
    }
    assert "COTERIE_API_KEYS" not in variables(alone.container("coterie-api"))


# What it refuses


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (SECRETS, "registry: give the registry"),
        (REGISTRY, "name the secret that has PostgreSQL's URL"),
        ((*REGISTRY, *SECRETS, "--set", "servers.smal.gpus=1"), "no expert of this name"),
        ((*REGISTRY, *SECRETS, "--set", "servers.reasoner-low.gpus=1"), "it is an arm"),
        ((*REGISTRY, *SECRETS, "--set", "servers.small.gpu=1"), "'gpu' not allowed"),
        ((*REGISTRY, *SECRETS, "--set", "servers.small.replicas=2"), "ReadWriteMany"),
        ((*REGISTRY, *SECRETS, "--set", "config.rules=rules.yaml"), "name that volume"),
        ((*SECRETS, "--set", "registry=no: list: of experts"), "registry: not YAML"),
        ((*REGISTRY, *SECRETS, "--set", "api.settings.LOG_LEVEL=debug"), "LOG_LEVEL"),
        (
            (*REGISTRY, *SECRETS, "--set", "servers.small.pool.endpointPicker.service=epp"),
            "registry calls it on port 8000",
        ),
    ],
)
def test_it_says_what_is_missing_or_wrong(helm: Helm, words: tuple[str, ...], message: str) -> None:
    with pytest.raises(Refused, match=message.replace("(", r"\(")):
        helm.template(*words)


def test_an_endpoint_that_no_service_can_have_is_refused(helm: Helm, tmp_path: Path) -> None:
    registry = tmp_path / "experts.yaml"
    registry.write_text(FAR)
    with pytest.raises(Refused, match="an endpoint such as http://far:8000/v1"):
        helm.template("--set-file", f"registry={registry}", *SECRETS, "--set", "servers.far.gpus=1")


def test_a_server_cannot_take_the_name_of_the_api(helm: Helm, tmp_path: Path) -> None:
    registry = tmp_path / "experts.yaml"
    registry.write_text(FAR.replace("https://api.example.org", "http://api:8000"))
    with pytest.raises(Refused, match="call the expert's host otherwise"):
        helm.template("--set-file", f"registry={registry}", *SECRETS, "--set", "servers.far.gpus=1")


# The registry and the servers


def test_the_registry_is_mounted_as_it_came(pool: Manifests) -> None:
    written = pool.one("ConfigMap", "coterie-registry")["data"]["experts.yaml"]
    assert written == (PROJECT / "experts" / "gpu.yaml").read_text(encoding="utf-8")


@each_server
def test_the_service_of_a_server_is_what_the_registry_calls(pool: Manifests, name: str) -> None:
    expert = EXPERTS[name]
    (port,) = pool.one("Service", name)["spec"]["ports"]
    assert expert.endpoint == f"http://{name}:{port['port']}/v1"
    (listens,) = pool.container(f"coterie-{name}")["ports"]
    assert port["targetPort"] == listens["name"]
    labels = pool.one("Deployment", f"coterie-{name}")["spec"]["template"]["metadata"]["labels"]
    assert pool.one("Service", name)["spec"]["selector"].items() <= labels.items()
    assert labels["coterie/expert"] == name


def test_each_replica_that_the_registry_names_has_a_server_of_its_own(helm: Helm, tmp_path: Path) -> None:
    registry = tmp_path / "experts.yaml"
    named = "    endpoint: http://small:8000/v1\n"
    text = (PROJECT / "experts" / "gpu.yaml").read_text(encoding="utf-8")
    registry.write_text(text.replace(named, f"{named}    replicas: [http://small-2:8000/v1]\n"))
    assert load_registry(registry).get("small").endpoints
    manifests = helm.template("--set-file", f"registry={registry}", *SECRETS, files=[SERVERS])
    assert problems(manifests) == []
    claims = set()
    for host in ("small", "small-2"):
        deployment = manifests.one("Deployment", f"coterie-{host}")["spec"]
        assert manifests.one("Service", host)["spec"]["selector"] == deployment["selector"]["matchLabels"]
        assert manifests.container(f"coterie-{host}")["args"] == manifests.container("coterie-small")["args"]
        claims.add(manifests.pod(f"coterie-{host}")["volumes"][0]["persistentVolumeClaim"]["claimName"])
        (budget,) = [
            each["spec"]["selector"]["matchLabels"]
            for each in manifests.of("PodDisruptionBudget")
            if each["spec"]["selector"]["matchLabels"].items()
            <= deployment["selector"]["matchLabels"].items()
        ]
        assert budget["coterie/expert"] == "small"
    assert len(claims) == 2


@each_server
def test_a_server_is_started_as_docker_compose_starts_it(pool: Manifests, name: str) -> None:
    service = compose(COMPOSE_SECRETS)["services"][name]
    container = pool.container(f"coterie-{name}")
    named = f"--served-model-name={EXPERTS[name].model}"
    assert flags(container) == {*service["command"], named}
    assert container["image"] == service["image"]
    (device,) = service["deploy"]["resources"]["reservations"]["devices"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == str(len(device["device_ids"]))


@each_server
def test_a_server_may_load_for_hours_before_it_counts_as_dead(pool: Manifests, name: str) -> None:
    container = pool.container(f"coterie-{name}")
    startup = container["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] == 3 * 3600
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        assert container[probe]["httpGet"] == {"path": "/health", "port": "http"}
    assert pool.one("Deployment", f"coterie-{name}")["spec"]["progressDeadlineSeconds"] > 3 * 3600


@each_server
def test_a_new_replica_waits_for_the_gpus_of_the_old_one(pool: Manifests, name: str) -> None:
    strategy = pool.one("Deployment", f"coterie-{name}")["spec"]["strategy"]["rollingUpdate"]
    assert strategy == {"maxSurge": 0, "maxUnavailable": 1}


@each_server
def test_weights_are_kept_when_the_release_is_removed(pool: Manifests, name: str) -> None:
    (cache, *_) = pool.pod(f"coterie-{name}")["volumes"]
    claim = pool.one("PersistentVolumeClaim", cache["persistentVolumeClaim"]["claimName"])
    assert claim["metadata"]["annotations"] == {"helm.sh/resource-policy": "keep"}
    assert variables(pool.container(f"coterie-{name}"))["HF_HOME"].startswith("/cache/")


# The API and the console


def test_replicas_follow_a_metric_that_the_service_has(pool: Manifests) -> None:
    (in_flight, cpu) = pool.one("HorizontalPodAutoscaler", "coterie-api")["spec"]["metrics"]
    served = {each.name for each in text_string_to_metric_families(Metrics().text().decode())}
    assert in_flight["pods"]["metric"]["name"] in served
    assert cpu["resource"]["name"] in pool.container("coterie-api")["resources"]["requests"]
    # The autoscaler's number of replicas would be undone by each upgrade.
    assert "replicas" not in pool.one("Deployment", "coterie-api")["spec"]


def test_probes_are_those_of_the_service(pool: Manifests) -> None:
    container = pool.container("coterie-api")
    assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
    assert container["startupProbe"]["httpGet"]["path"] == "/healthz"
    assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert container["readinessProbe"]["timeoutSeconds"] > Settings().ready_check_s


def test_a_stop_is_given_the_time_that_the_service_takes(pool: Manifests) -> None:
    container = pool.container("coterie-api")
    answers = float(variables(container)["COTERIE_STOP_GRACE_S"])
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    needed = pause + answers + Settings().record_flush_s
    assert pool.pod("coterie-api")["terminationGracePeriodSeconds"] >= needed


@pytest.mark.parametrize("name", ["coterie-api", "coterie-console", "coterie-migrate"])
def test_our_own_containers_are_as_closed_as_under_docker_compose(pool: Manifests, name: str) -> None:
    kind = "Job" if name == "coterie-migrate" else "Deployment"
    service = compose(COMPOSE_SECRETS)["services"][name.removeprefix("coterie-")]
    pod, container = pool.pod(name, kind), pool.container(name, kind)
    security = container["securityContext"]
    assert security["readOnlyRootFilesystem"] is service["read_only"] is True
    assert security["capabilities"]["drop"] == service["cap_drop"]
    assert security["allowPrivilegeEscalation"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["automountServiceAccountToken"] is False
    assert container["image"] == service["image"]
    writable = {each["mountPath"] for each in container["volumeMounts"] if not each.get("readOnly")}
    assert writable <= {"/tmp", "/data"}
    assert set(BUILT) == {"api", "console", "migrate"}


def test_secrets_are_named_and_never_written(pool: Manifests) -> None:
    api = variables(pool.container("coterie-api"))
    assert api["COTERIE_DATABASE_URL"] == {"secretKeyRef": {"name": "db", "key": "url"}}
    assert api["COTERIE_API_KEYS"] == "console:$(CONSOLE_KEY)"
    # Kubernetes puts in only what stands before it.
    assert list(api).index("CONSOLE_KEY") < list(api).index("COTERIE_API_KEYS")
    console = variables(pool.container("coterie-console"))
    assert console["COTERIE_API_KEY"] == api["CONSOLE_KEY"]
    assert pool.of("Secret") == []


def test_what_containers_are_told_are_settings_they_have(pool: Manifests) -> None:
    for name, model in (("coterie-api", Settings), ("coterie-console", ConsoleSettings)):
        known = {f"COTERIE_{field.upper()}" for field in model.model_fields}
        told = {each for each in variables(pool.container(name)) if each.startswith("COTERIE_")}
        assert told <= known, name


def test_what_is_mounted_is_where_the_api_looks(pool: Manifests) -> None:
    container = pool.container("coterie-api")
    places = {each["name"]: each["mountPath"] for each in container["volumeMounts"]}
    assert variables(container)["COTERIE_EXPERTS"] == f"{places['registry']}/experts.yaml"
    assert variables(container)["COTERIE_API_KEYS_FILE"] == f"{places['keys']}/keys"
    assert {each["name"] for each in pool.pod("coterie-api")["volumes"]} == set(places)


def test_the_database_is_upgraded_before_the_api_is(pool: Manifests) -> None:
    job = pool.one("Job", "coterie-migrate")
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert pool.container("coterie-migrate", "Job")["args"] == ["db", "upgrade"]


def test_another_registry_replaces_the_replicas_of_the_api(
    helm: Helm, tmp_path: Path, pool: Manifests
) -> None:
    registry = tmp_path / "experts.yaml"
    registry.write_text((PROJECT / "experts" / "gpu.yaml").read_text() + "\n# changed\n")
    changed = helm.template("--set-file", f"registry={registry}", *SECRETS, files=[SERVERS])

    def annotations(manifests: Manifests) -> Any:
        return manifests.one("Deployment", "coterie-api")["spec"]["template"]["metadata"]["annotations"]

    assert annotations(changed) != annotations(pool)
    for name in SERVED:
        deployment = f"coterie-{name}"
        assert changed.one("Deployment", deployment) == pool.one("Deployment", deployment)


def test_a_new_version_of_the_chart_replaces_no_pod_by_itself(pool: Manifests) -> None:
    for workload in pool.of("Deployment"):
        labels = workload["spec"]["template"]["metadata"]["labels"]
        assert labels == workload["spec"]["selector"]["matchLabels"], workload["metadata"]["name"]


def test_one_disruption_at_a_time(pool: Manifests) -> None:
    workloads = {each["metadata"]["name"] for each in pool.of("Deployment")}
    budgets = {each["metadata"]["name"]: each["spec"] for each in pool.of("PodDisruptionBudget")}
    assert budgets.keys() == workloads
    for name, spec in budgets.items():
        assert spec["maxUnavailable"] == 1
        labels = pool.one("Deployment", name)["spec"]["template"]["metadata"]["labels"]
        assert spec["selector"]["matchLabels"].items() <= labels.items()


# The chart's own files


def test_the_page_shows_values_that_the_chart_takes(helm: Helm, tmp_path: Path) -> None:
    page = (PROJECT / "docs" / "how-to" / "kubernetes.md").read_text(encoding="utf-8")
    registry = tmp_path / "experts.yaml"
    registry.write_text((PROJECT / "experts" / "gpu.yaml").read_text().replace("//small:8000", "//small"))
    shown = re.findall(r"```yaml\n((?:servers|networkPolicy):.*?)```", page, re.DOTALL)
    for number, block in enumerate(shown):
        values = tmp_path / f"{number}.yaml"
        values.write_text(block)
        assert problems(helm.template("--set-file", f"registry={registry}", *SECRETS, files=[values])) == []
    assert len(shown) == 2


def test_every_value_is_in_the_schema_and_has_a_default() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    server = schema["$defs"]["server"]["properties"]
    assert set(values) | {"global"} == set(schema["properties"])
    assert set(values["vllm"]) == set(server)
    for part in ("database", "config", "api", "console", "networkPolicy"):
        assert set(values[part]) == set(schema["properties"][part]["properties"]), part


def test_its_version_is_the_projects() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    images = {compose(COMPOSE_SECRETS)["services"][name]["image"].rpartition(":")[2] for name in BUILT}
    assert {chart["version"], chart["appVersion"]} == images
    assert chart["kubeVersion"].removeprefix(">=").startswith(OLDEST)
