"""nnU-Net itself (Isensee et al. 2021), planned, trained and applied by ``nnunetv2``.

Its environment is named by the variable ``VPBSD_NNUNET_PYTHON``. It finds the labelled volumes in
its own format, plans its own net, patch and augmentation, and trains with its own optimiser, for as
many steps as the others. Prediction is its own, with overlapping windows and mirrors.

::

    RUN/nnunet/raw/             volumes as nnU-Net wants them       labelled, and ours of validation
    RUN/nnunet/preprocessed/    what it made of them, its plans
    RUN/nnunet/results/         its checkpoints
    RUN/nnunet/log.txt          what it had to say
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vpbsd.compare.external.method import Predicted
from vpbsd.data.collection import TrainingVolume
from vpbsd.errors import MissingExtraError, WorkerDiedError
from vpbsd.geometry import Box
from vpbsd.provenance import write_json_atomic
from vpbsd.stages.interrupt import StopRequested, stop_on_signal
from vpbsd.stages.loop import OnStep
from vpbsd.stages.run import Run

__all__ = ["PYTHON", "NnUnet"]

PYTHON = "VPBSD_NNUNET_PYTHON"
"""Variable of the environment that names the Python which has nnunetv2."""

_DRIVER = Path(__file__).with_name("nnunet_driver.py")
_DATASET = "Dataset001_vessels"
_ENDING = ".tif"
_POLL_SECONDS = 0.5
# For a step, or a checkpoint, to end.
_STEP_SECONDS = 60.0
_SHOWN_LINES = 3


@dataclass(frozen=True)
class NnUnet:
    """See the module."""

    name: str = "nnunet"
    what: str = "nnU-Net as its authors ship it (Isensee et al. 2021), in its own environment"

    def require(self) -> None:
        """Look whether nnunetv2 can be imported there.

        Raises
        ------
        MissingExtraError
            If not, with what to do about it.
        """
        remedy = (
            "make an environment for it (python -m venv nnunet && nnunet/bin/pip install nnunetv2) "
            f"and name its Python: export {PYTHON}=$PWD/nnunet/bin/python"
        )
        python = os.environ.get(PYTHON)
        if not python:
            raise MissingExtraError(f"method nnunet runs in an environment of its own: {remedy}")
        command = [python, "-c", "import nnunetv2"]
        try:
            done = subprocess.run(
                command, env=_environment(), capture_output=True, text=True, check=False
            )
        except OSError as error:
            raise MissingExtraError(f"{PYTHON}={python}: {error.strerror}; {remedy}") from error
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no word of why"])[-1]
            raise MissingExtraError(f"{PYTHON}={python} cannot import nnunetv2 ({last}); {remedy}")

    def train(self, run: Run, on_step: OnStep) -> int:
        """Export what nnU-Net needs, and let it train; see :class:`External`."""
        folder = run.folder / "nnunet"
        validation = run.validation
        names = {
            "labelled": _export(folder, "labelled", run.collection.labelled),
            "validation": _export(folder, "validation", validation),
        }
        _describe(folder, sum(len(n) for n in names.values()), run.config.teacher.channels)
        steps = run.config.distill.steps
        task = {"do": "train", "steps": steps, "seed": run.config.seed, **names}
        taken = [0, steps]

        def on_news(news: Mapping[str, Any]) -> None:
            if "step" in news:
                taken[:] = news["step"], news["steps"]
                on_step("nnunet", news["step"], news["steps"], {})

        with _stoppable(lambda: StopRequested("nnunet", *taken)) as stopped:
            done = _run(folder, task, run.device, on_news, stopped)
        write_json_atomic(folder / "trained.json", {"results": done["results"]})
        return int(done["steps"])

    def predict(self, run: Run, volumes: Sequence[TrainingVolume]) -> Predicted:
        """Let nnU-Net apply what it has learnt; see :class:`External`."""
        folder = run.folder / "nnunet"
        place = folder / "predictions"
        place.mkdir(parents=True, exist_ok=True)
        asked: list[dict[str, Any]] = []
        for number, volume in enumerate(volumes):
            image = place / f"image_{number:03d}.npy"
            np.save(image, _image(volume))
            asked.append(
                {
                    **{"name": volume.name, "image": str(image), "spacing": _spacing(volume)},
                    "probability": str(place / f"probability_{number:03d}.npy"),
                }
            )
        trained = json.loads((folder / "trained.json").read_text("utf-8"))
        task = {"do": "predict", "results": trained["results"], "volumes": asked}
        seconds: dict[str, float] = {}

        def on_news(news: Mapping[str, Any]) -> None:
            if "volume" in news:
                seconds[news["volume"]] = news["seconds"]

        with _stoppable(lambda: StopRequested("nnunet", len(seconds), len(volumes))) as stopped:
            done = _run(folder, task, run.device, on_news, stopped)
        found = {one["name"]: np.load(one["probability"]) for one in asked}
        for one in asked:
            Path(one["image"]).unlink()
            Path(one["probability"]).unlink()
        facts = {
            "deployed": f"nnU-Net {done['version']}",
            **{k: done[k] for k in ("parameters", "mac_per_voxel", "peak_memory_bytes")},
        }
        return Predicted(found, seconds, facts)


# ------------------------------------------------------------------------------------------ volumes


def _export(folder: Path, role: str, volumes: Sequence[TrainingVolume]) -> list[str]:
    """Write volumes as nnU-Net wants them; returns the names that they have there."""
    import tifffile

    raw = folder / "raw" / _DATASET
    names = []
    for number, volume in enumerate(volumes):
        name = f"{role}_{number:03d}"
        names.append(name)
        for place in ("imagesTr", "labelsTr"):
            (raw / place).mkdir(parents=True, exist_ok=True)
            write_json_atomic(raw / place / f"{name}.json", {"spacing": _spacing(volume)})
        for channel, values in enumerate(_image(volume)):
            tifffile.imwrite(raw / "imagesTr" / f"{name}_{channel:04d}{_ENDING}", values)
        truth = volume.truth(Box.whole(volume.shape)).astype(np.uint8)
        tifffile.imwrite(raw / "labelsTr" / f"{name}{_ENDING}", truth)
    return names


def _describe(folder: Path, volumes: int, channels: int) -> None:
    about = {
        "channel_names": {str(c): f"channel {c}" for c in range(channels)},
        "labels": {"background": 0, "vessel": 1},
        "numTraining": volumes,
        "file_ending": _ENDING,
        "overwrite_image_reader_writer": "Tiff3DIO",
    }
    write_json_atomic(folder / "raw" / _DATASET / "dataset.json", about)


def _image(volume: TrainingVolume) -> np.ndarray:
    """Return the image (c, z, y, x) as it was taken: nnU-Net normalises by itself."""
    return volume.image.read(Box.whole(volume.shape)).astype(np.float32)


def _spacing(volume: TrainingVolume) -> list[float]:
    size = volume.image.voxel_size_um
    return [1.0, 1.0, 1.0] if size is None else [float(s) for s in size.zyx_um]


# ------------------------------------------------------------------------------------- its program


class _Stopped(Exception):  # noqa: N818  (ends the program, and is turned into StopRequested)
    pass


@contextmanager
def _stoppable(reason: Callable[[], StopRequested]) -> Iterator[Callable[[], None]]:
    """Yield what raises once SIGTERM has come; that leaves here as the reason."""
    with stop_on_signal() as stop:

        def look() -> None:
            if stop.requested:
                raise _Stopped

        try:
            yield look
        except _Stopped:
            raise reason() from None


def _run(
    folder: Path,
    task: Mapping[str, Any],
    device: str,
    on_news: Callable[[Mapping[str, Any]], None],
    look: Callable[[], None],
) -> dict[str, Any]:
    """Run the driver on a task; returns the last of its news.

    Raises
    ------
    WorkerDiedError
        If it fails.
    """
    threads = int(os.environ.get("OMP_NUM_THREADS") or os.cpu_count() or 1)
    file = folder / f"{task['do']}.json"
    whole = {**task, "folder": str(folder.resolve()), "device": device, "threads": threads}
    write_json_atomic(file, {**whole, "parent": os.getpid()})
    log = folder / "log.txt"
    command = [os.environ.get(PYTHON, ""), str(_DRIVER), str(file)]
    last: dict[str, Any] = {}
    with (
        log.open("a", encoding="utf-8") as notes,
        # In a session of its own, so that what it starts ends with it.
        subprocess.Popen(
            command,
            env=_environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
            start_new_session=True,
        ) as process,
    ):
        try:
            for line in _lines(process, look):
                if line.startswith("@"):
                    last = json.loads(line[1:])
                    on_news(last)
                else:
                    notes.write(line)
        except BaseException:
            _end(process)
            raise
    if process.returncode or "done" not in last:
        said = [s for s in log.read_text("utf-8").splitlines() if s.strip()][-_SHOWN_LINES:]
        raise WorkerDiedError(
            f"nnU-Net ended with {process.returncode} ({' / '.join(said)}); all of it is in '{log}'"
        )
    return last


def _lines(process: subprocess.Popen[str], look: Callable[[], None]) -> Iterator[str]:
    """Yield what a program says, looking in between whether to go on."""
    said: queue.Queue[str | None] = queue.Queue()

    def listen() -> None:
        for line in process.stdout or ():
            said.put(line)
        said.put(None)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        look()
        try:
            line = said.get(timeout=_POLL_SECONDS)
        except queue.Empty:
            continue
        if line is None:
            return
        yield line


def _end(process: subprocess.Popen[str]) -> None:
    """Let a program end its step, then end it and all that it started."""
    process.terminate()
    try:
        process.wait(timeout=_STEP_SECONDS)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)


def _environment() -> dict[str, str]:
    """Return our environment without what would lead another Python to our packages."""
    ours = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_PRELOAD")
    return {name: value for name, value in os.environ.items() if name not in ours}
