"""Rivals on disk: tensors in safetensors, what rebuilds the net as JSON in the same file's header.

As for our own models (:mod:`vpbsd.models.weights`): written whole or not at all, read strictly, and
no pickle. The net is rebuilt by the name of its architecture from the configuration of its run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from vpbsd.compare.nets import ARCHITECTURES, build_net
from vpbsd.config import RunConfig
from vpbsd.errors import CheckpointError
from vpbsd.models.weights import read_tensors, restore, write_tensors

__all__ = ["SavedRival", "load_rival", "save_rival"]

_STATE = "state."


@dataclass(frozen=True)
class SavedRival:
    """A trained rival with what is needed to use it.

    Attributes
    ----------
    net
        In evaluation mode on the CPU.
    method
        Name of the method that trained it.
    architecture
        Name of the net in :data:`vpbsd.compare.nets.ARCHITECTURES`.
    config
        Of the run.
    threshold
        Probability above which a voxel is vessel, fixed on validation volumes.
    metadata
        What else was recorded.
    fingerprint
        SHA-256 of the file; names these exact weights in provenance.
    """

    net: nn.Module
    method: str
    architecture: str
    config: RunConfig
    threshold: float
    metadata: Mapping[str, Any]
    fingerprint: str


def save_rival(
    path: Path,
    net: nn.Module,
    *,
    method: str,
    architecture: str,
    config: RunConfig,
    threshold: float,
    metadata: Mapping[str, Any],
) -> None:
    """Write a deployed net with what rebuilds it.

    Parameters
    ----------
    path
        A ``.safetensors`` file.
    net
        What ``Objective.deployed`` gives.
    method, architecture, config, threshold
        See :class:`SavedRival`.
    metadata
        JSON-able values to keep beside them.

    Raises
    ------
    OutputError
        If the file cannot be written; the old one stays.
    """
    header = {
        "method": method,
        "architecture": architecture,
        "config": config.model_dump(mode="json"),
        "threshold": threshold,
        "metadata": dict(metadata),
    }
    tensors = {_STATE + key: value for key, value in net.state_dict().items()}
    write_tensors(path, tensors, header, "rival")


def load_rival(path: Path) -> SavedRival:
    """Load what `save_rival` wrote.

    Raises
    ------
    CheckpointError
        If the file is missing, damaged, of another kind or version, names an architecture that
        there is not, or does not fit its net.
    MissingExtraError
        If its net comes from MONAI, which is not installed.
    """
    tensors, header = read_tensors(path, "rival")
    try:
        method, architecture = str(header["method"]), str(header["architecture"])
        config = RunConfig.model_validate(header["config"])
        threshold, metadata = float(header["threshold"]), dict(header["metadata"])
    except (KeyError, TypeError, ValueError, ValidationError) as error:
        raise CheckpointError(
            f"{path} does not say which net it holds ({error}): it was damaged or written by "
            "another version; copy it again, or train again"
        ) from error
    if architecture not in ARCHITECTURES:
        raise CheckpointError(
            f"{path} holds a net of architecture '{architecture}', which this version of vpbsd "
            f"does not have (it has {', '.join(ARCHITECTURES)}): install the vpbsd that wrote it"
        )
    # Random weights that are overwritten at once must not move anyone's random numbers on.
    with torch.random.fork_rng(devices=[]):
        net = build_net(architecture, config)
    restore(net, {k.removeprefix(_STATE): v for k, v in tensors.items()}, source=str(path))
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return SavedRival(net.eval(), method, architecture, config, threshold, metadata, digest)
