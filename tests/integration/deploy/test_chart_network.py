"""The Helm chart: who may call whom, and replicas behind an InferencePool."""

from pathlib import Path

import pytest

from app.settings import PROJECT
from tests.integration.deploy.conftest import FAR, REGISTRY, SECRETS, SERVERS
from tests.integration.deploy.helm import Helm, Manifests
from tests.integration.deploy.schemas import problems

POOLED = Path(__file__).with_name("inference_pool.yaml")


def component(labels: dict[str, str]) -> str:
    return labels["app.kubernetes.io/component"]


def callers(manifests: Manifests, name: str) -> list[str]:
    """The components that a policy lets in."""
    (rule,) = manifests.one("NetworkPolicy", name)["spec"]["ingress"]
    return [component(each["podSelector"]["matchLabels"]) for each in rule["from"]]


def test_the_experts_are_called_by_the_api_alone(pool: Manifests) -> None:
    assert callers(pool, "coterie-experts") == ["api"]


def test_the_database_is_called_by_the_api_and_its_migration_alone(helm: Helm) -> None:
    manifests = helm.template(
        *REGISTRY, *SECRETS, "--set", "database.podSelector.app=postgres", files=[SERVERS]
    )
    policy = manifests.one("NetworkPolicy", "coterie-database")["spec"]
    assert policy["podSelector"] == {"matchLabels": {"app": "postgres"}}
    (rule,) = policy["ingress"]
    labels = [each["podSelector"]["matchLabels"] for each in rule["from"]]
    assert [component(each) for each in labels[:2]] == ["api", "migrate"]
    assert labels[2:] == [{"app": "postgres"}]
    for name in ("coterie-console", "coterie-experts"):
        ports = [
            port for each in manifests.one("NetworkPolicy", name)["spec"]["egress"] for port in each["ports"]
        ]
        assert 5432 not in [port["port"] for port in ports]


def test_every_pod_is_under_a_policy_for_both_directions(pool: Manifests) -> None:
    held = set()
    for policy in pool.of("NetworkPolicy"):
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        held.add(component(policy["spec"]["podSelector"]["matchLabels"]))
    pods = [each["spec"]["template"] for kind in ("Deployment", "Job") for each in pool.of(kind)]
    assert {component(each["metadata"]["labels"]) for each in pods} == held


def test_the_port_of_an_expert_elsewhere_is_opened(helm: Helm, tmp_path: Path) -> None:
    registry = tmp_path / "experts.yaml"
    registry.write_text(FAR)
    manifests = helm.template("--set-file", f"registry={registry}", *SECRETS)
    egress = manifests.one("NetworkPolicy", "coterie-api")["spec"]["egress"]
    assert egress[-1] == {"ports": [{"port": 443}]}
    assert problems(manifests) == []
    assert {each["metadata"]["name"] for each in manifests.of("Deployment")} == {
        "coterie-api",
        "coterie-console",
    }


@pytest.fixture(scope="module")
def pooled(helm: Helm, tmp_path_factory: pytest.TempPathFactory) -> Manifests:
    """`small` with three replicas behind a gateway; its endpoint has the gateway's port."""
    text = (PROJECT / "experts" / "gpu.yaml").read_text().replace("http://small:8000/v1", "http://small/v1")
    registry = tmp_path_factory.mktemp("pool") / "experts.yaml"
    registry.write_text(text)
    return helm.template("--set-file", f"registry={registry}", *SECRETS, files=[SERVERS, POOLED])


def test_a_pool_selects_the_experts_replicas(pooled: Manifests) -> None:
    assert problems(pooled) == []
    spec = pooled.one("InferencePool", "coterie-small")["spec"]
    deployment = pooled.one("Deployment", "coterie-small")["spec"]
    assert spec["selector"] == deployment["selector"]
    assert deployment["replicas"] == 3
    (port,) = pooled.container("coterie-small")["ports"]
    assert spec["targetPorts"] == [{"number": port["containerPort"]}]
    assert spec["endpointPickerRef"] == {
        "name": "small-epp",
        "port": {"number": 9002},
        "failureMode": "FailOpen",
    }


def test_the_expert_is_called_through_the_gateway_by_its_own_name(pooled: Manifests) -> None:
    service = pooled.one("Service", "small")["spec"]
    assert service == {"type": "ExternalName", "externalName": "inference.gateways.svc.cluster.local"}
    route = pooled.one("HTTPRoute", "coterie-small")["spec"]
    assert route["hostnames"] == ["small"]
    assert route["parentRefs"] == [{"name": "inference", "namespace": "gateways"}]
    ((backend,),) = [rule["backendRefs"] for rule in route["rules"]]
    assert (backend["kind"], backend["name"]) == ("InferencePool", "coterie-small")


def test_the_gateway_is_let_in_to_the_replicas(pooled: Manifests) -> None:
    (rule,) = pooled.one("NetworkPolicy", "coterie-experts")["spec"]["ingress"]
    assert {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "gateways"}}} in rule["from"]
