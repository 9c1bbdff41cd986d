"""What every test stands on: one thread a process, repeatable hypothesis, where real data lies."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Before torch or numpy is imported, since both read these once: with more threads than free cores
# the small arrays of tests spend their time waiting for each other.
for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_variable, "1")
# Figures are drawn into files; no test may depend on a display.
os.environ.setdefault("MPLBACKEND", "agg")

# No deadline, because a busy machine is not a wrong result; under CI the same examples every time.
settings.register_profile("vpbsd", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("vpbsd")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    """Root of the source tree, where pyproject.toml lies."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real volumes; a test that asks for it is skipped where there is none."""
    named = os.environ.get("VPBSD_DATA")
    folder = Path(named) if named else REPOSITORY.parent / "shared" / "data"
    if named and not folder.is_dir():
        pytest.fail(f"VPBSD_DATA names {folder}, which is not a folder; mend or unset it")
    if not folder.is_dir():
        pytest.skip("no real volumes: put them in ../shared/data or set VPBSD_DATA")
    return folder


@pytest.fixture(scope="session")
def student_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small student (stride 4, halo 16) that has seen enough to find simulated vessels."""
    import torch

    from vpbsd.config import SimulateConfig, StudentConfig
    from vpbsd.data.simulate import simulate_volume
    from vpbsd.models import Student, save_model
    from vpbsd.volumes import ArrayVolume, estimate_intensity

    seen = simulate_volume(SimulateConfig(shape_voxels=(48, 64, 64)), 0)
    scale = estimate_intensity(ArrayVolume(seen.image))
    image = torch.from_numpy(scale.apply(seen.image[None]))[None]
    truth = torch.from_numpy(seen.mask > 0)[None, None].float()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = StudentConfig(preset="fast", widths=(16, 16), downsampling=((2, 2, 2),) * 2)
        net = Student(config).train()
        optimiser = torch.optim.Adam(net.parameters(), 3e-3)
        for _ in range(60):
            start = [int(torch.randint(0, n - 31, ())) // 4 * 4 for n in seen.image.shape]
            patch = (..., *(slice(a, a + 32) for a in start))
            loss = torch.nn.functional.binary_cross_entropy_with_logits(
                net(image[patch]), truth[patch]
            )
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    file = tmp_path_factory.mktemp("student") / "student.safetensors"
    save_model(file, net.eval(), threshold=0.3, metadata={})
    return file
