"""helm, and the chart as it renders for the experts of experts/gpu.yaml."""

import pytest

from app.settings import PROJECT
from tests.integration.deploy.helm import Helm, Manifests

SECRETS = ("--set", "database.secret=db,api.keys.secret=callers,console.key.secret=console")
REGISTRY = ("--set-file", f"registry={PROJECT / 'experts' / 'gpu.yaml'}")
SERVERS = PROJECT / "deploy" / "helm" / "gpu-servers.yaml"

FAR = """\
experts:
  - {name: far, endpoint: "https://api.example.org/v1", model: m, params_b: 1, context_length: 10}
"""
"""A registry of one expert that is served elsewhere."""


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    return Helm.unpacked(tmp_path_factory.mktemp("helm"))


@pytest.fixture(scope="session")
def pool(helm: Helm) -> Manifests:
    """Every expert of experts/gpu.yaml on a server of its own."""
    return helm.template(*REGISTRY, *SECRETS, files=[SERVERS])
