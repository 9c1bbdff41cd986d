"""Every rival net: its size against published figures, both patch shapes, training, its file."""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from vpbsd.compare.deployed.weights import load_rival, save_rival
from vpbsd.compare.nets import ARCHITECTURES, DEPLOYED_BY, NETS, build_net
from vpbsd.config import RunConfig
from vpbsd.errors import ConfigError, MissingExtraError
from vpbsd.models import Student, cost
from vpbsd.models.cost import forward_without_numbers

# Parameters and 1000 multiply-accumulates per voxel on one channel of 48 x 64 x 64 voxels.
COSTS = {
    "student": (238177, 6.824),
    "unet": (4805534, 5.597),
    "basic_unet": (5749377, 142.552),
    "vnet": (45597898, 348.820),
    "attention_unet": (5909113, 46.731),
    "segresnet": (4700897, 69.248),
    "dynunet": (16216131, 226.536),
    "unetr": (92654801, 81.800),
    "swin_unetr": (15702979, 129.279),
    "vessap_fcn": (46021, 45.935),
    "hp_vsp": (152912, 30.278),
}

# The same, to three digits or four, for the sizes that others published: millions and 1000s, on
# 96 voxels an edge (nnU-Net's net as it is for 128, whose count of operations differs).
PUBLISHED = {
    "basic_unet": (96, 5.75, 142.6),
    "vnet": (96, 45.60, 348.8),
    "attention_unet": (96, 5.91, 46.7),
    "segresnet": (96, 4.70, 69.3),
    "unetr": (96, 92.80, 82.6),
    "swin_unetr": (96, 15.70, 93.5),
    "hp_vsp": (96, 0.1529, 30.3),
    "dynunet": (128, 31.19, None),
}

# Over two seconds even on the smallest patch.
BIG = ("vnet", "unetr", "swin_unetr")


def names(architectures: tuple[str, ...] | None = None) -> list[object]:
    return [
        pytest.param(name, marks=pytest.mark.slow if name in BIG else ())
        for name in architectures or ARCHITECTURES
    ]


# --------------------------------------------------------------------------------------------- size


def test_every_net_has_a_written_cost() -> None:
    assert set(COSTS) == set(ARCHITECTURES)


@pytest.mark.parametrize("name", COSTS)
def test_cost_on_light_sheet(name: str, lightsheet: RunConfig) -> None:
    found = cost(build_net(name, lightsheet), (1, 48, 64, 64))
    parameters, kilo_mac = COSTS[name]
    assert found.parameters == parameters
    assert found.mac_per_voxel / 1000 == pytest.approx(kilo_mac, abs=1e-3)


@pytest.mark.parametrize("name", PUBLISHED)
def test_cost_is_the_published_one(name: str, a_run: Callable[..., RunConfig]) -> None:
    edge, mega, kilo_mac = PUBLISHED[name]
    found = cost(build_net(name, a_run((edge,) * 3)), (1, edge, edge, edge))
    assert found.parameters / 1e6 == pytest.approx(mega, rel=1e-3)
    if kilo_mac is not None:
        assert found.mac_per_voxel / 1e3 == pytest.approx(kilo_mac, rel=1e-3)


def test_cross_hair_net_by_hand(lightsheet: RunConfig) -> None:
    # Three planes of k x k weights from a to b features, and one bias.
    layers = [(1, 5, 9), (5, 10, 25), (10, 20, 25), (20, 50, 9)]
    weights = sum(3 * k * a * b for a, b, k in layers) + 50
    assert cost(build_net("vessap_fcn", lightsheet), (1, 16, 16, 16)).parameters == (
        weights + 5 + 10 + 20 + 50 + 1
    )


# ------------------------------------------------------------------------------------------- shapes


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_both_patch_shapes(name: str, a_run: Callable[..., RunConfig]) -> None:
    channels = 2
    for patch, planes in (((48, 64, 64), (2, 2, 2)), ((12, 80, 80), (1, 2, 2))):
        config = a_run(patch, (planes, (2, 2, 2), (2, 2, 2)), channels)
        result = forward_without_numbers(build_net(name, config), (channels, *patch))
        assert result.shape == (1, 1, *patch)


def test_thin_stacks_are_not_padded_by_convolutional_nets(twophoton: RunConfig) -> None:
    windows = {
        name: getattr(build_net(name, twophoton), "window", None)
        for name in ARCHITECTURES
        if name != "unetr"
    }
    assert windows.pop("swin_unetr") == (32, 96, 96)
    assert set(windows.values()) == {None, (12, 80, 80)}


def test_dynunet_of_a_thin_stack_has_flat_kernels_until_planes_match(
    twophoton: RunConfig, lightsheet: RunConfig
) -> None:
    def kernels(config: RunConfig) -> list[tuple[int, ...]]:
        net = build_net("dynunet", config)
        convs = {
            name: tuple(module.kernel_size)
            for name, module in net.named_modules()
            if isinstance(module, torch.nn.Conv3d) and name.endswith("conv1.conv")
        }
        encoder = [
            (name.count("next_layer"), k) for name, k in convs.items() if "upsample" not in name
        ]
        return [k for _, k in sorted(encoder)]

    assert kernels(twophoton) == [(1, 3, 3)] + [(3, 3, 3)] * 4
    assert kernels(lightsheet) == [(3, 3, 3)] * 5


# ----------------------------------------------------------------------------------------- training


def batch(config: RunConfig) -> dict[str, torch.Tensor]:
    """Bright tubes in noise, as large as the patches of a run."""
    generator = torch.Generator().manual_seed(0)
    shape = (2, 1, *config.distill.patch_voxels)
    label = torch.zeros(shape)
    label[0, :, :, 4:8, 9:13] = 1
    label[1, :, 6:10, :, 3:7] = 1
    noise = torch.randn(shape, generator=generator)
    return {"image": 2 * label + 0.5 * noise, "label": label}


@pytest.mark.parametrize("name", names())
def test_net_learns_and_survives_its_file(name: str, tiny: RunConfig, tmp_path: Path) -> None:
    torch.manual_seed(0)
    objective = NETS[name].build(tiny, None).train()
    shown = batch(tiny)
    if name in BIG:
        shown = {key: value[:1] for key, value in shown.items()}
    optimiser = torch.optim.AdamW(objective.parameters(), lr=3e-3)
    losses = []
    for _ in range(5):
        parts = objective(shown)
        parts["loss"].backward()
        losses.append(parts["loss"].item())
        unused = [n for n, p in objective.named_parameters() if p.grad is None]
        assert unused == []
        optimiser.step()
        optimiser.zero_grad()
    assert losses[-1] < 0.92 * losses[0]

    net = objective.deployed.eval()
    save_rival(
        tmp_path / "rival.safetensors",
        net,
        method=name,
        architecture=DEPLOYED_BY[name],
        config=tiny,
        threshold=0.4,
        metadata={"step": 5},
    )
    saved = load_rival(tmp_path / "rival.safetensors")
    assert not saved.net.training
    with torch.inference_mode():
        assert torch.equal(saved.net(shown["image"]), net(shown["image"]))


@pytest.mark.parametrize("name", [n for n in NETS if n not in ARCHITECTURES])
def test_variants_learn_with_their_own_loss(name: str, tiny: RunConfig) -> None:
    torch.manual_seed(0)
    objective = NETS[name].build(tiny, None).train()
    optimiser = torch.optim.AdamW(objective.parameters(), lr=3e-3)
    found = []
    for _ in range(6):
        parts = objective(batch(tiny))
        parts["loss"].backward()
        found.append({k: v.item() for k, v in parts.items()})
        optimiser.step()
        optimiser.zero_grad()
    added = "cldice" if name.endswith("cldice") else "skeleton_recall"
    assert set(found[0]) == {"loss", "seg", added}
    for key in found[0]:
        assert found[-1][key] < found[0][key], key


def test_deep_supervision_in_training_alone(a_run: Callable[..., RunConfig]) -> None:
    # 32 -> 16 -> 8 -> 4: four levels, of which the two coarsest are not supervised.
    net = build_net("dynunet", a_run((16, 32, 32)))
    x = torch.randn(1, 1, 16, 32, 32)
    trained = net.train()(x)
    assert trained.shape == (1, 2, 1, 16, 32, 32)
    # What the coarser head says holds for cells of 2 x 2 x 2 voxels.
    coarse = trained[:, 1, :, ::2, ::2, ::2]
    blown_up = coarse.repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4)
    assert torch.equal(trained[:, 1], blown_up)
    assert net.eval()(x).shape == (1, 1, 16, 32, 32)


def test_dynunet_can_be_copied_after_a_step(
    tiny: RunConfig, a_run: Callable[..., RunConfig]
) -> None:
    net = build_net("dynunet", a_run((16, 32, 32)))
    net(torch.randn(1, 1, 16, 32, 32)).sum().backward()
    assert set(copy.deepcopy(net).state_dict()) == set(net.state_dict())


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_weight_has_one_name(name: str, tiny: RunConfig) -> None:
    state = build_net(name, tiny).state_dict()
    storages = {value.untyped_storage().data_ptr() for value in state.values() if value.numel()}
    assert len(storages) == len([v for v in state.values() if v.numel()])


# ------------------------------------------------------------------------------------------ refusal


def test_monai_that_is_missing(tiny: RunConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "monai.networks.nets", None)
    monkeypatch.setitem(sys.modules, "monai", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'vpbsd\[compare\]'"):
        build_net("unet", tiny)
    assert isinstance(build_net("student", tiny), Student)
    build_net("vessap_fcn", tiny)
    build_net("hp_vsp", tiny)


def test_unknown_net(tiny: RunConfig) -> None:
    with pytest.raises(ConfigError, match=r"no rival net 'u-net'.*unet, basic_unet"):
        build_net("u-net", tiny)


def test_vnet_takes_channels_that_divide_sixteen(a_run: Callable[..., RunConfig]) -> None:
    with pytest.raises(ConfigError, match=r"which 3 .* do not divide"):
        build_net("vnet", a_run((16, 16, 16), ((2, 2, 2), (2, 2, 2)), 3))


def test_registry_names_its_methods() -> None:
    assert all(rival.name == name for name, rival in NETS.items())
    assert set(DEPLOYED_BY) == set(NETS)
    assert set(DEPLOYED_BY.values()) == set(ARCHITECTURES)
    assert {"dynunet_cldice", "dynunet_skeleton_recall", "student_cldice"} <= set(NETS)
