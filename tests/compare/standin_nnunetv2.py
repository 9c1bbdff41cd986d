"""A stand-in for nnunetv2: the functions that the driver calls, on a net that is one threshold.

Written out as a package by ``install``, to be imported by a Python of its own.
"""

from __future__ import annotations

import stat
import sys
from pathlib import Path

VERSION = "0.0.standin"

_PLANNING = """
import json, os
from pathlib import Path

def _home(kind):
    return Path(os.environ["nnUNet_" + kind]) / "Dataset001_vessels"

def extract_fingerprints(ids, num_processes, check_dataset_integrity):
    about = json.loads((_home("raw") / "dataset.json").read_text())
    assert about["labels"] == {"background": 0, "vessel": 1}
    assert len(list((_home("raw") / "labelsTr").glob("*.tif"))) == about["numTraining"]

def plan_experiments(ids):
    assert int(os.environ["nnUNet_n_proc_DA"]) > 0
    _home("preprocessed").mkdir(parents=True, exist_ok=True)

def preprocess(ids, configurations, num_processes):
    assert configurations == ("3d_fullres",)
"""

_TRAINING = '''
import json, os, time
from pathlib import Path
import numpy as np
import tifffile

class Trainer:
    """The middle between the mean of vessels and that of the rest, seen patch by patch."""

    def __init__(self):
        self.output_folder = str(Path(os.environ["nnUNet_results"]) / "d" / "fold_0")
        Path(self.output_folder).mkdir(parents=True, exist_ok=True)
        self.current_epoch, self.middle = 0, None

    def train_step(self, batch):
        time.sleep(float(os.environ.get("STANDIN_SECONDS", 0)))
        if os.environ.get("STANDIN_FAILS_AT") == str(batch):
            raise RuntimeError("no memory left for step " + str(batch))
        raw = Path(os.environ["nnUNet_raw"]) / "Dataset001_vessels"
        home = Path(os.environ["nnUNet_preprocessed"]) / "Dataset001_vessels"
        (split,) = json.loads((home / "splits_final.json").read_text())
        names = split["train"]
        name = names[batch % len(names)]
        image = tifffile.imread(raw / "imagesTr" / (name + "_0000.tif"))
        label = tifffile.imread(raw / "labelsTr" / (name + ".tif")) > 0
        assert json.loads((raw / "imagesTr" / (name + ".json")).read_text())["spacing"] == [2, 1, 1]
        self.middle = float(image[label].mean() + image[~label].mean()) / 2

    def run_training(self):
        assert os.environ["nnUNet_n_proc_DA"] == "0"
        for epoch in range(self.current_epoch, self.num_epochs):
            for step in range(self.num_iterations_per_epoch):
                self.train_step(epoch * self.num_iterations_per_epoch + step)
            assert self.save_every == 1 and self.num_val_iterations_per_epoch >= 1
            self._save("best", epoch + 1)
            self._save("latest", epoch + 1)
        self._save("final", self.num_epochs)

    def load_checkpoint(self, path):
        self.current_epoch, self.middle = json.loads(Path(path).read_text())

    def _save(self, name, epoch):
        what = json.dumps([epoch, self.middle])
        (Path(self.output_folder) / ("checkpoint_" + name + ".pth")).write_text(what)

def get_trainer_from_args(dataset, configuration, fold, device):
    assert (dataset, configuration, fold) == ("Dataset001_vessels", "3d_fullres", 0)
    assert device.type == "cpu"
    return Trainer()

'''

_PREDICTION = """
import json
from pathlib import Path
from types import SimpleNamespace
import numpy as np
import torch

class nnUNetPredictor:
    def __init__(self, use_mirroring, perform_everything_on_device, device, allow_tqdm):
        assert use_mirroring

    def initialize_from_trained_model_folder(self, folder, folds):
        _, self.middle = json.loads((Path(folder) / "fold_0" / "checkpoint_final.pth").read_text())
        self.network = torch.nn.Conv3d(1, 2, 3, padding=1)
        self.configuration_manager = SimpleNamespace(patch_size=(8, 8, 8))
        self.dataset_json = {"channel_names": {"0": "a"}}

    def predict_single_npy_array(self, image, properties, save_or_return_probabilities):
        assert image.shape[0] == 1 and properties == {"spacing": [2.0, 1.0, 1.0]}
        vessel = np.clip(image[0] / self.middle / 2, 0, 1)
        return vessel > 0.5, np.stack([1 - vessel, vessel])
"""


def install(folder: Path) -> Path:
    """Write the package and a Python that finds it; returns that Python."""
    modules = {
        "experiment_planning/plan_and_preprocess_api.py": _PLANNING,
        "run/run_training.py": _TRAINING,
        "inference/predict_from_raw_data.py": _PREDICTION,
    }
    packages = folder / "packages"
    for name, source in modules.items():
        file = packages / "nnunetv2" / name
        file.parent.mkdir(parents=True)
        file.write_text(source, "utf-8")
        (file.parent / "__init__.py").touch()
    (packages / "nnunetv2" / "__init__.py").touch()
    about = packages / f"nnunetv2-{VERSION}.dist-info" / "METADATA"
    about.parent.mkdir()
    about.write_text(f"Metadata-Version: 2.1\nName: nnunetv2\nVersion: {VERSION}\n", "utf-8")
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH="{packages}" exec "{sys.executable}" "$@"\n', "utf-8")
    python.chmod(python.stat().st_mode | stat.S_IXUSR)
    return python
