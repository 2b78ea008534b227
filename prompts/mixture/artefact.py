"""A mixture as a folder: `mixture.json` and `arrays.safetensors`.

The digest covers everything that affects answers (centroids, radii, prompts, demo pool, layout, encoder,
base) and is verified on loading; metrics and costs are outside it.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import numpy as np
from numpy.typing import NDArray

from base.files import replacing_folder
from prompts.mixture.demos import Demo
from prompts.mixture.layout import FewShotPrompt, Layout
from prompts.mixture.mixture import Mixture, MixtureError, Region
from prompts.mixture.pool import DemoPool

FORMAT = 2
MANIFEST = "mixture.json"
ARRAYS = "arrays.safetensors"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""As for experts."""


def check_name(name: str) -> None:
    """Raises MixtureError unless a mixture may have this name."""
    if not NAME.fullmatch(name) or name == "coterie":
        raise MixtureError(
            f"{name[:80]!r} cannot name a mixture: letters, digits, `.`, `_` and `-`, at most 64, and not "
            "`coterie`, which routes"
        )


def check_target(folder: Path) -> None:
    """Raises MixtureError when `folder` holds something other than a mixture, which saving would replace."""
    try:
        if folder.exists() and not folder.is_dir():
            raise MixtureError(f"{folder} is a file: name a folder")
        taken = folder.exists() and any(folder.iterdir()) and not (folder / MANIFEST).is_file()
    except OSError as error:
        raise MixtureError(f"{folder}: {error.strerror}: choose another folder") from error
    if taken:
        raise MixtureError(f"{folder} is not empty and holds no mixture: choose another folder")


def sealed(mixture: Mixture) -> Mixture:
    """The mixture with its digest updated."""
    return replace(mixture, digest=_digest_of(_facts(mixture), _arrays(mixture)))


def save_mixture(mixture: Mixture, folder: Path) -> str:
    """Write `mixture` to `folder` atomically and return its digest. Only an existing mixture is replaced.
    Raises MixtureError."""
    check_name(mixture.name)
    check_target(folder)
    arrays, facts = _arrays(mixture), _facts(mixture)
    digest = _digest_of(facts, arrays)
    record = {key: value for key, value in mixture.manifest.items() if key not in facts}
    manifest = {
        **facts,
        "digest": digest,
        **{key: value for key, value in record.items() if key not in {"digest", "files"}},
        "files": {ARRAYS: hashlib.sha256(arrays).hexdigest()},
    }
    try:
        text = (json.dumps(manifest, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()
    except UnicodeEncodeError as error:
        raise MixtureError(
            "a prompt holds half a surrogate pair, which is no text: nothing written"
        ) from error
    try:
        with replacing_folder(folder) as made:
            (made / ARRAYS).write_bytes(arrays)
            (made / MANIFEST).write_bytes(text)
    except OSError as error:
        raise MixtureError(f"{error.filename or folder}: {error.strerror}: nothing was written") from error
    return digest


def load_mixture(folder: Path) -> Mixture:
    """Read a mixture and verify its digests. Raises MixtureError."""
    try:
        content = (folder / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MixtureError(f"no mixture in {folder}: make one with `coterie prompts build`") from error
    except OSError as error:
        raise MixtureError(f"{folder / MANIFEST}: {error.strerror}") from error
    try:
        manifest = json.loads(content.decode())
        if manifest["format"] != FORMAT:
            raise MixtureError(
                f"{folder}: format {manifest['format']}, this version reads {FORMAT}: build it again"
            )
        arrays = (folder / ARRAYS).read_bytes()
        if hashlib.sha256(arrays).hexdigest() != manifest["files"][ARRAYS]:
            raise MixtureError(f"{folder / ARRAYS} does not have the digest in {MANIFEST}: build it again")
        mixture = _mixture(manifest, arrays)
        if sealed(mixture).digest != manifest["digest"]:
            raise MixtureError(f"{folder / MANIFEST} was changed after it was built: build it again")
        return mixture
    except OSError as error:
        raise MixtureError(f"{error.filename or folder}: {error.strerror}: build it again") from error
    except MixtureError:
        raise
    except Exception as error:
        # safetensors raises an Exception of its own; a manifest can be wrong in any way.
        raise MixtureError(f"{folder} holds no readable mixture: {error!r}: build it again") from error


def _mixture(manifest: Mapping[str, Any], content: bytes) -> Mixture:
    from safetensors.numpy import load

    arrays = load(content)
    centroids, radii = arrays["centroids"], arrays["radii"]
    regions = tuple(
        Region(centroid, float(radius), said["instruction"], _demos(said["demos"]), int(said["nearest"]))
        for centroid, radius, said in zip(centroids, radii, manifest["regions"], strict=True)
    )
    pool = DemoPool(_demos(manifest["pool"]), arrays["pool"]) if manifest["pool"] else None
    if pool is not None and (pool.embeddings.dtype != np.float32 or not np.isfinite(pool.embeddings).all()):
        raise ValueError("the pool's embeddings must be finite float32")
    if centroids.dtype != np.float32 or not np.isfinite(centroids).all():
        raise ValueError("centroids must be finite float32")
    if manifest["layout"] not in get_args(Layout):
        raise ValueError(f"unknown layout {manifest['layout']!r}")
    fallback = manifest["fallback"]
    return Mixture(
        name=manifest["name"],
        base=manifest["base"],
        encoder=manifest["encoder"]["name"],
        encoder_revision=manifest["encoder"]["revision"],
        regions=regions,
        fallback=FewShotPrompt(fallback["instruction"], _demos(fallback["demos"])),
        layout=manifest["layout"],
        pool=pool,
        digest=manifest["digest"],
        manifest=manifest,
    )


def _demos(said: Any) -> tuple[Demo, ...]:
    return tuple(Demo(str(each["input"]), str(each["output"])) for each in said)


def _facts(mixture: Mixture) -> dict[str, Any]:
    """Everything that affects answers except the arrays, as JSON types."""
    regions = [
        {
            "radius": round(region.radius, 4) if math.isfinite(region.radius) else None,
            **_said(FewShotPrompt(region.instruction, region.demos)),
            "nearest": region.nearest,
        }
        for region in mixture.regions
    ]
    return {
        "format": FORMAT,
        "name": mixture.name,
        "base": mixture.base,
        "encoder": {"name": mixture.encoder, "revision": mixture.encoder_revision},
        "layout": mixture.layout,
        "regions": regions,
        "fallback": _said(mixture.fallback),
        "pool": [] if mixture.pool is None else _said_demos(mixture.pool.demos),
    }


def _said(prompt: FewShotPrompt) -> dict[str, Any]:
    return {"instruction": prompt.instruction, "demos": _said_demos(prompt.demos)}


def _said_demos(demos: Sequence[Demo]) -> list[dict[str, str]]:
    return [{"input": demo.input, "output": demo.output} for demo in demos]


def _arrays(mixture: Mixture) -> bytes:
    from safetensors.numpy import save

    centroids = np.stack([region.centroid for region in mixture.regions]).astype(np.float32)
    # float64, so that radii round-trip.
    radii = np.asarray([region.radius for region in mixture.regions], dtype=np.float64)
    arrays: dict[str, NDArray[Any]] = {"centroids": np.ascontiguousarray(centroids), "radii": radii}
    if mixture.pool is not None:
        arrays["pool"] = np.ascontiguousarray(mixture.pool.embeddings, dtype=np.float32)
    return bytes(save(arrays))


def _digest_of(facts: Mapping[str, Any], arrays: bytes) -> str:
    canonical = json.dumps(facts, sort_keys=True, ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(canonical.encode() + b"\n" + arrays).hexdigest()[:16]
