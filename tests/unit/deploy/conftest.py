"""The deployment as Compose would see it, with its secrets set."""

from typing import Any

import pytest

from tests.unit.deploy.compose import compose

SECRETS = {
    "POSTGRES_PASSWORD": "p@ss:w/rd",
    "COTERIE_API_KEYS": "team:k1",
    "COTERIE_CONSOLE_KEY": "k2",
}


@pytest.fixture
def deployment() -> dict[str, Any]:
    """docker-compose.yml with the required variables set and no others."""
    return compose(SECRETS)


@pytest.fixture
def services(deployment: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Its services by name."""
    found: dict[str, dict[str, Any]] = deployment["services"]
    return found
