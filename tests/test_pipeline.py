"""The whole pipeline in a minute: simulate, three stages, segment block by block, evaluate."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from vpbsd.config import RunConfig, SimulateConfig, load_config, parse_config
from vpbsd.data.simulate import write_simulated
from vpbsd.metrics import Scores, best_threshold, probability_mask, score
from vpbsd.metrics.evaluate import evaluate, read_mask
from vpbsd.models import Student, load_model
from vpbsd.segment import SegmentOptions, TorchRuntime, predict_volume, segment_volume
from vpbsd.stages import Run, read_metrics, train
from vpbsd.volumes import open_volume

ROLES = {"labelled": (1, 2), "unlabelled": (2, 1), "validation": (3, 1), "held_out": (4, 1)}
STAGE = {
    "batch_size": 2,
    "patch_voxels": (16, 24, 24),
    "simulated_share": 0.25,
    "validate_every": 20,
    "checkpoint_every": 20,
}


def simulate(folder: Path) -> None:
    """Write volumes that no two roles share an anatomy of; the held-out one is the largest."""
    for role, (seed, count) in ROLES.items():
        shape = (32, 56, 64) if role == "held_out" else (24, 40, 40)
        write_simulated(folder / role, SimulateConfig(shape_voxels=shape), seed, count)


def recipe(folder: Path) -> RunConfig:
    def listed(role: str, label: bool = True) -> list[dict[str, Any]]:
        images = sorted((folder / role).glob("*_image.ome.tif"))
        return [
            {"image": str(i.relative_to(folder))}
            | ({"label": str(i.relative_to(folder)).replace("_image", "_label")} if label else {})
            for i in images
        ]

    return parse_config(
        {
            "data": {
                "root": str(folder),
                "labelled": listed("labelled"),
                "unlabelled": listed("unlabelled", label=False),
                "validation": listed("validation"),
            },
            "simulate": {"shape_voxels": (24, 40, 40)},
            "teacher": {
                **{"widths": (8, 16, 32, 32), "heads": 4},
                **{"attention_blocks": 1, "window_tokens": 4},
            },
            "codebook": {"size": 32, "dimension": 8},
            "student": {"widths": (16, 16), "downsampling": ((2, 2, 2), (2, 2, 2))},
            "pretrain": {**STAGE, "steps": 20},
            "finetune": {**STAGE, "steps": 40, "learning_rate": 3e-3},
            "distill": {**STAGE, "steps": 60, "learning_rate": 1e-2},
            "machine": {"precision": "fp32", "accelerator": "cpu"},
        }
    )


def scores_of_untrained_student(config: RunConfig, image: Path, truth: Path) -> Scores:
    """Score the net that training starts from, at the threshold that suits the truth best."""
    torch.manual_seed(0)
    with open_volume(image) as volume, open_volume(truth) as label:
        probability = predict_volume(volume, TorchRuntime(Student(config.student)))
        true = read_mask(label)
        grid = np.quantile(probability, np.linspace(0.01, 0.99, 25)).tolist()
        threshold = best_threshold([(probability, true)], sorted(set(grid)))
        return score(probability_mask(probability, threshold), true, volume.require_voxel_size())


@pytest.mark.slow
def test_from_simulated_volumes_to_an_evaluated_mask(tmp_path: Path) -> None:
    simulate(tmp_path)
    config, folder = recipe(tmp_path), tmp_path / "run"
    train(Run(config, folder))

    # Training has left what the next person needs.
    assert load_config(folder / "config.yaml") == config
    for stage, steps in (("pretrain", 20), ("finetune", 40), ("distill", 60)):
        assert read_metrics(folder / stage / "metrics.jsonl")[-1]["step"] == steps
    teacher, student = load_model(folder, "teacher"), load_model(folder, "student")

    # The student segments a volume larger than any patch, in blocks smaller than the volume.
    image = tmp_path / "held_out" / "volume_000_image.ome.tif"
    truth = tmp_path / "held_out" / "volume_000_label.ome.tif"
    options = SegmentOptions(block_voxels=(16, 32, 32), precision="fp32", progress=False)
    report = segment_volume(image, student, tmp_path / "mask.ome.zarr", options)
    assert report.blocks == 2 * 2 * 2
    assert report.threshold == student.threshold
    found, size = evaluate(report.mask, truth)
    with open_volume(image) as volume:
        assert size == volume.require_voxel_size()

    # It has learnt: a net that knows nothing reaches the share of vessels at best.
    chance = scores_of_untrained_student(config, image, truth)
    assert found.dice > chance.dice + 0.2
    assert found.dice > 0.5
    assert found.cldice > 0.5
    assert found.precision > 0.2
    assert found.recall > 0.2

    # And it is the lighter of the two.
    count = [sum(p.numel() for p in m.net.parameters()) for m in (teacher, student)]
    assert count[1] < count[0] / 2
