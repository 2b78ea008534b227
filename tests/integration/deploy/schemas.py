"""What Kubernetes' own schemas say of documents. Custom resources have none here and are left out."""

from functools import cache
from typing import Any

from jsonschema import Draft202012Validator
from kubernetes_validate.utils import schema_contents
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from tests.integration.deploy.helm import Manifests

OLDEST = "1.30"
NEWEST = "1.37"
OTHER_APIS = {"InferencePool", "HTTPRoute"}
"""Custom resources: no package ships their schemas."""


@cache
def schemas(version: str) -> tuple[str, Registry[Any]]:
    """The folder of the strict schemas of one Kubernetes version, and what they refer to."""
    folder = f"kubernetes-json-schema/v{version}.0-local-strict"
    definitions = schema_contents(f"{folder}/_definitions.json", version)
    return folder, Resource.from_contents(definitions, DRAFT202012) @ Registry()


def problems(manifests: Manifests, version: str = NEWEST) -> list[str]:
    """What Kubernetes would refuse, unknown fields included."""
    found = []
    for document in manifests.documents:
        kind, name = document["kind"], document["metadata"]["name"]
        if kind not in OTHER_APIS:
            folder, registry = schemas(version)
            group, _, api = document["apiVersion"].rpartition("/")
            stem = "-".join(word for word in (kind.lower(), group.partition(".")[0], api) if word)
            schema = schema_contents(f"{folder}/{stem}.json", version)
            errors = Draft202012Validator(schema, registry=registry).iter_errors(document)
            found += [f"{kind}/{name}: {error.message}" for error in errors]
    return found
