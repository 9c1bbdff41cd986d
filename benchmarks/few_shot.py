"""Few-shot recipes on real volumes: teacher, student, supervised-only student, classical oracles.

    python benchmarks/few_shot.py recipes/lightsheet_few_shot.yaml -o runs/few_shot --seeds 0 1 2

Each seed is an ordinary run: train the three stages, train the supervised-only student (same net,
same labels, real and simulated, same steps and schedule, no teacher), segment the validation
volumes with each and score the masks that were written. The threshold of a net is the one that
its training chose on the validation volumes. Everything resumes; one JSON line per result goes to
``results.jsonl`` in the output folder and the table to standard output.
"""

from __future__ import annotations

import argparse
import json
import logging
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from vpbsd.config import RunConfig, load_config
from vpbsd.machine import describe_machine, prepare_process

SUPERVISED_ONLY = {"distill.semi_weight": 0, "distill.target": "none"}
SCORES = ("dice", "cldice", "surface_dice_1_voxel", "surface_dice_2_voxels", "precision", "recall")


def main() -> None:
    """Train, segment, score, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("recipe", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=Path("runs/few_shot"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table-only", type=Path, metavar="JSONL", help="only print its table")
    parser.add_argument("--per-plane", action="store_true", help="Sato filter plane by plane")
    arguments = parser.parse_args()
    results = arguments.table_only or run_all(arguments)
    print(table([json.loads(line) for line in results.read_text("utf-8").splitlines()]))  # noqa: T201


def run_all(arguments: argparse.Namespace) -> Path:
    """Train and score every seed, and the classical yardsticks; return the file of results."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    prepare_process(arguments.threads)
    folder = arguments.out / arguments.recipe.stem
    folder.mkdir(parents=True, exist_ok=True)
    results: Path = folder / "results.jsonl"
    for seed in arguments.seeds:
        for result in run_seed(arguments.recipe, folder, seed):
            write(results, result)
    for result in classical(load_config(arguments.recipe), arguments.per_plane):
        write(results, result)
    return results


def run_seed(recipe: Path, folder: Path, seed: int) -> Iterator[dict[str, Any]]:
    """Train one seed and yield the scores of its nets."""
    from vpbsd.models import cost, load_model
    from vpbsd.stages import Run, distill, train

    guided = Run(load_config(recipe, {"seed": seed}), folder / f"seed_{seed}")
    alone = Run(
        load_config(recipe, {"seed": seed, **SUPERVISED_ONLY}),
        folder / f"seed_{seed}_supervised_only",
    )
    train(guided)
    distill(alone)
    nets = (
        ("teacher", load_model(guided.folder, "teacher")),
        ("student", load_model(guided.folder)),
        ("supervised_only", load_model(alone.folder)),
    )
    seconds = {
        "teacher": training_seconds(guided.folder, "pretrain", "finetune"),
        "student": training_seconds(guided.folder, "pretrain", "finetune", "distill"),
        "supervised_only": training_seconds(alone.folder, "distill"),
    }
    for name, model in nets:
        run = alone if name == "supervised_only" else guided
        for volume, scores in segmented(run, name, model):
            yield {
                "recipe": recipe.stem,
                "method": name,
                "seed": seed,
                "volume": volume,
                **scores,
                "threshold": model.threshold,
                "mac_per_voxel": cost(model.net).mac_per_voxel,
                "perplexity_share": model.metadata["scores"].get("perplexity_share"),
                "training_seconds": seconds[name],
                "machine": describe_machine(),
            }


def segmented(run: Any, name: str, model: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """Segment every validation volume to disk and score what was written."""
    from vpbsd.geometry import VoxelSize
    from vpbsd.metrics import score
    from vpbsd.segment import SegmentOptions, segment_volume
    from vpbsd.stages.label import TeacherRuntime
    from vpbsd.volumes import open_volume

    data = run.config.data
    for volume in data.validation:
        size = VoxelSize.of(volume.voxel_size_um)
        out = run.folder / f"{volume.name}_{name}.ome.zarr"
        runtime, block = None, None
        if model.kind == "teacher":
            runtime = TeacherRuntime(model.net, run.precision, run.device)
            block = runtime.block
        with open_volume(data.root / volume.image, voxel_size_um=size) as image:
            options = SegmentOptions(overwrite=True, progress=False, block_voxels=block)
            segment_volume(image, model, out, options, runtime=runtime)
        mask, truth = whole(out), whole(data.root / volume.label)
        yield volume.name, score(mask > 0, truth > 0, size).to_dict()


def classical(config: RunConfig, per_plane: bool) -> Iterator[dict[str, Any]]:
    """Yield the best that a single threshold, chosen with the truth in hand, can reach."""
    from vpbsd.compare import classical_oracles

    for volume in config.data.validation:
        image = whole(config.data.root / volume.image)
        truth = whole(config.data.root / volume.label) > 0
        oracles = classical_oracles(image, truth, per_plane=per_plane)
        for name in ("intensity", "sato", "sato_of_log"):
            best = getattr(oracles, name).best_for_dice
            yield {
                "recipe": config.name,
                "method": f"oracle threshold on {name}",
                "seed": None,
                "volume": volume.name,
                "dice": best.dice,
                "cldice": best.cldice,
            }


def whole(path: Path) -> Any:
    """Read the only channel of a volume (z, y, x)."""
    from vpbsd.geometry import Box
    from vpbsd.volumes import open_volume

    with open_volume(path) as volume:
        return volume.read(Box.whole(volume.shape_zyx))[0]


def training_seconds(run: Path, *stages: str) -> float:
    """Wall-clock seconds that the stages of a run took, validation included."""
    from vpbsd.models.weights import read_tensors

    return sum(
        read_tensors(run / stage / "last.safetensors", "training")[1]["progress"]["seconds"]
        for stage in stages
    )


def write(path: Path, result: dict[str, Any]) -> None:
    """Put one result into the file, in place of an older one of the same kind."""
    key = ("recipe", "method", "seed", "volume")
    old = (
        [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []
    )
    kept = [r for r in old if any(r[k] != result[k] for k in key)]
    path.write_text("".join(json.dumps(r) + "\n" for r in [*kept, result]), "utf-8")


def table(results: list[dict[str, Any]]) -> str:
    """Return a Markdown table of mean and standard deviation over seeds."""
    rows = ["| volume | method | " + " | ".join(SCORES) + " | kMAC per voxel |", "|" + "---|" * 9]
    for volume, method in dict.fromkeys((r["volume"], r["method"]) for r in results):
        chosen = [r for r in results if (r["volume"], r["method"]) == (volume, method)]
        cells = [summary([r[s] for r in chosen if s in r]) for s in SCORES]
        macs = chosen[0].get("mac_per_voxel")
        cells.append("" if macs is None else f"{macs / 1000:.1f}")
        rows.append(f"| {volume} | {method} | " + " | ".join(cells) + " |")
    return "\n".join(rows)


def summary(values: list[float]) -> str:
    """Return ``mean ± standard deviation``, or the one value there is."""
    if not values:
        return ""
    spread = f" ± {stdev(values):.3f}" if len(values) > 1 else ""
    return f"{mean(values):.3f}{spread}"


if __name__ == "__main__":
    main()
