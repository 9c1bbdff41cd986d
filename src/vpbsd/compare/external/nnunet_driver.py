"""nnU-Net as its authors ship it, run by the Python of the environment that has it.

    python nnunet_driver.py TASK.json

The other half is :mod:`vpbsd.compare.external.nnunet`. This file knows nothing of vpbsd, which need
not be installed there. Lines of stdout that begin with ``@`` are JSON for whoever started it; all
others are nnU-Net's own.
"""

from __future__ import annotations

import json
import math
import os
import random
import resource
import signal
import sys
import time
from importlib.metadata import version
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

__all__ = ["main", "schedule"]

DATASET = "Dataset001_vessels"
CONFIGURATION, FOLD = "3d_fullres", 0
_PROCESSES = "nnUNet_n_proc_DA"
# nnU-Net's learning rate falls from epoch to epoch: of few steps there must be several epochs.
_LEAST_EPOCHS, _MOST_ITERATIONS = 20, 250
# Of its own: 50 of validation for each 250 of training.
_VALIDATION_SHARE = 0.2


def main(task: dict[str, Any]) -> None:
    """Do what a task says: train, or predict."""
    folder = Path(task["folder"])
    for name in ("raw", "preprocessed", "results"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        os.environ[f"nnUNet_{name}"] = str(folder / name)
    # Its planner takes that for a number of threads.
    os.environ |= {_PROCESSES: str(task["threads"]), "nnUNet_compile": "0"}
    _Asked.listen()
    if task["do"] == "train":
        train(folder, task)
    else:
        predict(folder, task)


def tell(**news: Any) -> None:
    """Say something to whoever started this."""
    sys.stdout.write(f"\n@{json.dumps(news)}\n")
    sys.stdout.flush()


def end_if_asked(parent: int) -> None:
    """End between two steps after SIGTERM, or if whoever started this was killed.

    It may have been started again in this folder.
    """
    if _Asked.to_end or os.getppid() != parent:
        raise SystemExit("asked to end, or the process that started this is gone")


class _Asked:
    to_end = False

    @classmethod
    def listen(cls) -> None:
        """Note SIGTERM, so that no checkpoint is cut short by it."""

        def on_signal(number: int, frame: Any) -> None:
            cls.to_end = True

        signal.signal(signal.SIGTERM, on_signal)


# --------------------------------------------------------------------------------------- training


def train(folder: Path, task: dict[str, Any]) -> None:
    """Plan, preprocess and train, from the last checkpoint if there is one."""
    import torch
    from nnunetv2.run.run_training import get_trainer_from_args

    torch.set_num_threads(task["threads"])
    prepare(folder, task)
    iterations, epochs = schedule(task["steps"])
    trainer = get_trainer_from_args(
        DATASET, CONFIGURATION, FOLD, device=torch.device(task["device"])
    )
    trainer.num_epochs, trainer.num_iterations_per_epoch = epochs, iterations
    trainer.num_val_iterations_per_epoch = max(1, round(_VALIDATION_SHARE * iterations))
    trainer.save_every = 1
    # Batches are made in this process, so that they are the same for one seed.
    os.environ[_PROCESSES] = "0"
    results = Path(trainer.output_folder)
    go_on(trainer, results)
    done = trainer.current_epoch * iterations
    seed_everything(task["seed"] + done)
    step = trainer.train_step

    def counted(batch: dict[str, Any]) -> Any:
        nonlocal done
        end_if_asked(task["parent"])
        result = step(batch)
        done += 1
        tell(step=done, steps=epochs * iterations)
        return result

    trainer.train_step = counted
    if trainer.current_epoch < epochs:
        trainer.run_training()
    tell(done=True, steps=epochs * iterations, results=str(results))


def go_on(trainer: Any, results: Path) -> None:
    """Load the last checkpoint that is whole: nnU-Net writes over an earlier one."""
    for name in ("final", "latest", "best"):
        path = results / f"checkpoint_{name}.pth"
        if not path.exists():
            continue
        try:
            trainer.load_checkpoint(str(path))
        except (OSError, EOFError, RuntimeError, ValueError, KeyError, UnpicklingError) as error:
            sys.stdout.write(f"{path} is damaged ({type(error).__name__}: {error})\n")
            path.unlink()
        else:
            return


def prepare(folder: Path, task: dict[str, Any]) -> None:
    """Let nnU-Net look at the data and plan, once."""
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprints,
        plan_experiments,
        preprocess,
    )

    splits = folder / "preprocessed" / DATASET / "splits_final.json"
    if splits.exists():
        return
    extract_fingerprints([1], num_processes=1, check_dataset_integrity=True)
    plan_experiments([1])
    preprocess([1], configurations=(CONFIGURATION,), num_processes=(1,))
    # Its own five folds would take from the labelled volumes, and split patches of one brain.
    splits.write_text(json.dumps([{"train": task["labelled"], "val": task["validation"]}]))


def schedule(steps: int) -> tuple[int, int]:
    """Return iterations of an epoch, and epochs."""
    iterations = max(1, min(_MOST_ITERATIONS, math.ceil(steps / _LEAST_EPOCHS)))
    return iterations, math.ceil(steps / iterations)


def seed_everything(seed: int) -> None:
    """Seed all that nnU-Net draws from."""
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


# ------------------------------------------------------------------------------------- prediction


def predict(folder: Path, task: dict[str, Any]) -> None:
    """Write the vessel probability of each image, with its own tiler and mirrors."""
    import numpy as np
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    torch.set_num_threads(task["threads"])
    device = torch.device(task["device"])
    predictor = nnUNetPredictor(
        use_mirroring=True,
        perform_everything_on_device=device.type == "cuda",
        device=device,
        allow_tqdm=False,
    )
    predictor.initialize_from_trained_model_folder(str(Path(task["results"]).parent), (FOLD,))
    for volume in task["volumes"]:
        end_if_asked(task["parent"])
        image = np.load(volume["image"]).astype(np.float32)
        began = time.monotonic()
        _, probability = predictor.predict_single_npy_array(
            image, {"spacing": volume["spacing"]}, save_or_return_probabilities=True
        )
        seconds = time.monotonic() - began
        np.save(volume["probability"], np.asarray(probability[1], np.float32))
        tell(volume=volume["name"], seconds=seconds)
    tell(done=True, peak_memory_bytes=peak_memory_bytes(device.type), **costs(predictor))


def costs(predictor: Any) -> dict[str, Any]:
    """Return parameters, and multiplications for each voxel of a window."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode

    network = predictor.network
    patch = [int(n) for n in predictor.configuration_manager.patch_size]
    channels = len(predictor.dataset_json["channel_names"])
    device = next(network.parameters()).device
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network(torch.zeros((1, channels, *patch), device=device))
    return {
        "parameters": sum(p.numel() for p in network.parameters()),
        "mac_per_voxel": counter.get_total_flops() / 2 / math.prod(patch),
        "version": version("nnunetv2"),
    }


def peak_memory_bytes(device: str) -> int:
    """Return the most memory that this process has had, of a GPU if it ran there."""
    if device == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


if __name__ == "__main__":
    main(json.loads(Path(sys.argv[1]).read_text("utf-8")))
