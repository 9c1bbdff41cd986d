"""Result lines as a comparison writes them, with counts drawn from a seed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vpbsd.compare.results.lines import COUNTS, ResultLine
from vpbsd.compare.results.pooled import pooled_scores

MACHINE = {"system": "Linux", "cpu": "AMD EPYC", "cores": 2, "gpus": [], "torch_threads": 1}


def blocks_of(counts: Any) -> dict[str, list[int]]:
    """Return the blocks of a line from counts (sub-blocks, 7)."""
    table = np.asarray(counts)
    columns = {name: table[:, i].tolist() for i, name in enumerate(COUNTS)}
    return {"edge_voxels": [32, 32, 32], **columns}


def values(
    counts: Any = ((30, 10, 10, 20, 15, 20, 10), (0,) * 7), **changed: Any
) -> dict[str, Any]:
    """Return the values of one line, whose scores are those of its counts."""
    dice, cldice = pooled_scores(np.asarray(counts).sum(axis=0)).tolist()
    scores = {
        "dice": dice,
        "cldice": cldice,
        "surface_dice_1_voxel": 0.7,
        "surface_dice_2_voxels": 0.9,
        "hd95_um": 12.0,
        "betti_0_error_per_block": 3.0,
        "betti_1_error_per_block": 8.0,
        "note": None,
    }
    line = {
        "comparison": "cpu",
        "dataset": "simulated",
        "method": "unet",
        "family": "net",
        "seed": 0,
        "volume": "volume_000",
        "scores": scores,
        "blocks": blocks_of(counts),
        "threshold": 0.4,
        "parameters": 1_000_000,
        "mac_per_voxel": 50_000.0,
        "peak_memory_bytes": 2**29,
        "voxels_per_second": 200_000.0,
        "steps": 400,
        "training_seconds": 600.0,
        "budget": {"kind": "steps", "value": 400},
        "deployed": "unet",
        "machine": MACHINE,
        "versions": {"vpbsd": "0.1.0"},
        "labelled_patches": 2,
        "validation": ["volume_900"],
    }
    return {**line, **changed}


def line(counts: Any = None, **changed: Any) -> ResultLine:
    """Return one line."""
    return ResultLine.from_dict(values(**changed) if counts is None else values(counts, **changed))


def failed(reason: str = "all background", **changed: Any) -> ResultLine:
    """Return the line of a run that failed."""
    return ResultLine.from_dict(
        {**values(**changed), "scores": {}, "blocks": None, "failure": reason}
    )


def drawn_counts(
    quality: float, *, blocks: int = 24, seed: int = 0, truth: int = 0
) -> NDArray[Any]:
    """Return counts (sub-blocks, 7) whose Dice and clDice are about ``quality``.

    Parameters
    ----------
    truth
        Seed of the truth: the same for all methods on a volume.
    """
    of_truth, of_method = np.random.default_rng(truth), np.random.default_rng((seed, 1))
    true = of_truth.integers(200, 2000, blocks)
    lines = true // 10
    true[::7] = lines[::7] = 0  # sub-blocks without vessels
    noise = of_truth.normal(0, 0.03, blocks) + of_method.normal(0, 0.02, blocks)
    share = np.clip(quality + noise, 0, 1)
    tp = np.rint(share * true)
    predicted = np.rint(lines * of_method.uniform(0.9, 1.1, blocks))
    line_share = np.clip(quality + of_method.normal(0, 0.02, blocks), 0, 1)
    columns = [
        tp, true - tp, true - tp,
        predicted, np.rint(line_share * predicted), lines, np.rint(line_share * lines),
    ]  # fmt: skip
    return np.stack(columns, axis=-1).astype(int)


def runs(
    method: str,
    family: str,
    quality: float,
    seeds: Sequence[int | None] = (0, 1, 2),
    volumes: Sequence[str] = ("volume_000", "volume_001"),
    **changed: Any,
) -> list[ResultLine]:
    """Return the lines of one method: quality varies by about 0.01 from seed to seed."""
    found = []
    for seed in seeds:
        offset = 0.0 if seed is None else 0.01 * np.sin(7 * seed + len(method))
        for number, volume in enumerate(volumes):
            counts = drawn_counts(
                quality + offset,
                seed=abs(hash_of(method)) + 10 * (seed or 0) + number,
                truth=hash_of(volume),
            )
            found.append(
                line(counts, method=method, family=family, seed=seed, volume=volume, **changed)
            )
    return found


def hash_of(text: str) -> int:
    """Return a number that is the same in every process."""
    return sum((i + 1) * ord(c) for i, c in enumerate(text))
