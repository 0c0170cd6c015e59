"""Backbones of torchvision and timm, their last layer, and the weights they start from."""

import json
import os
import pickle  # noqa: TID251 - to make the file that must be refused
import subprocess
import sys

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from napari_deepspace.errors import TrainingError
from napari_deepspace.learn.backbones import BIOPTIMUS_MEAN, ENCODERS, HEADS, IMAGENET_MEAN, facts_of, pooled
from napari_deepspace.learn.networks import build_network, set_training_mode, starting_network, to_input
from napari_deepspace.learn.weights import load_weights
from napari_deepspace.settings import BACKBONES, NetworkSettings

TIMM_MODELS = ("timm/resnet18", "timm/test_vit", "timm/test_vit2", "timm/test_convnext")


def trained_a_step(network, settings, tiles):
    """The network after one step of SGD towards 1."""
    set_training_mode(network, settings)
    optimiser = torch.optim.SGD([p for p in network.parameters() if p.requires_grad], lr=0.1)
    (network(to_input(tiles, network)) - 1).square().mean().backward()
    optimiser.step()
    return network


@pytest.fixture
def tiles():
    return torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


SLOW = ("resnet50", "efficientnet_b0", "convnext_tiny", "mobilenet_v3_large")


@pytest.mark.parametrize("backbone", [pytest.param(name, marks=[pytest.mark.acceptance] * (name in SLOW)) for name in (*BACKBONES, *TIMM_MODELS)])
def test_every_backbone_trains_from_scratch_and_starts_from_files(backbone, tiles, tmp_path):
    """Each backbone gives one output a target, learns in all of its layers, and takes its weights up again from either kind of file."""
    settings = NetworkSettings(backbone=backbone, weights="scratch", tile_px=32)
    torch.manual_seed(0)
    network = starting_network(settings, 3)
    before = {name: value.clone() for name, value in network.named_parameters()}
    assert trained_a_step(network, settings, tiles).eval()(to_input(tiles, network)).shape == (4, 3)
    changed = [name for name, value in network.named_parameters() if not torch.equal(value, before[name])]
    assert {"head.weight", "head.bias", next(name for name in before if name.endswith(".weight"))} <= set(changed)
    assert all(value.grad is not None for value in network.parameters())
    state = network.trunk.state_dict()
    for name, write in (("w.safetensors", save_file), ("w.pth", torch.save)):
        write(state, tmp_path / name)
        again = starting_network(settings.model_copy(update={"weights": str(tmp_path / name)}), 5)
        assert again.head.out_features == 5
        assert all(torch.equal(value, state[key]) for key, value in again.trunk.state_dict().items())


@pytest.mark.parametrize("backbone", ["vgg16", "densenet121", "resnet50"])
def test_a_network_is_torchvisions(backbone, tiles):
    """With the same weights it computes what torchvision's own network does, and a model saved as that network is still read."""
    plain = torchvision.models.get_model(backbone, weights=None).eval()
    last = plain.get_submodule(HEADS[backbone])
    plain.set_submodule(HEADS[backbone], nn.Linear(last.in_features, 3))
    network = build_network(backbone, 3).eval()
    network.load_state_dict(plain.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(network(to_input(tiles, network)), plain(to_input(tiles)))
    assert set(network.state_dict()) == {"mean", "sd", "head.weight", "head.bias", *(f"trunk.{key}" for key in network.trunk.state_dict())}


def test_weights_of_other_programs_fit(tmp_path):
    """Prefixes of other programs, a checkpoint around the state dict, and a classifier are seen through."""
    plain = torchvision.models.resnet18(weights=None)
    for number, state in enumerate(
        (
            plain.state_dict(),
            {f"module.{key}": value for key, value in plain.state_dict().items()},
            {"epoch": 3, "state_dict": {f"model.{key}": value for key, value in plain.state_dict().items()}, "optimizer": {"lr": 1}},
            {f"visual.trunk.{key}": value for key, value in plain.state_dict().items()} | {"text.conv1.weight": torch.zeros(3)},
        )
    ):
        torch.save(state, tmp_path / f"{number}.pth")
        network = starting_network(NetworkSettings(backbone="resnet18", weights=str(tmp_path / f"{number}.pth")), 4)
        assert torch.equal(network.trunk.layer4[1].conv2.weight, plain.layer4[1].conv2.weight)
        assert torch.equal(network.trunk.bn1.running_mean, plain.bn1.running_mean)


def test_a_transformer_takes_weights_of_another_tile_size(tmp_path):
    """Positions of a transformer that was trained on other tiles are interpolated, as timm does."""
    larger = timm.create_model("test_vit", img_size=256)
    save_file({f"visual.trunk.{key}": value for key, value in larger.state_dict().items()}, tmp_path / "w.safetensors")
    network = starting_network(NetworkSettings(backbone="timm/test_vit", weights=str(tmp_path / "w.safetensors"), tile_px=64), 2)
    assert torch.equal(network.trunk.blocks[0].attn.qkv.weight, larger.blocks[0].attn.qkv.weight)
    assert network.trunk.pos_embed.shape != larger.pos_embed.shape


def test_weights_that_do_not_fit_or_could_run_code_are_refused(tmp_path):
    """Another backbone's weights, a missing file and a pickle that runs code each end in one sentence."""
    save_file(build_network("mobilenet_v3_small", 5).state_dict(), tmp_path / "other.safetensors")

    class Harm:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path / 'harm'}",))

    with open(tmp_path / "harm.pth", "wb") as file:
        pickle.dump(Harm(), file)
    torch.save({"state_dict": {"conv1.weight": torch.zeros(1)}, "harm": Harm()}, tmp_path / "hidden.pth")
    (tmp_path / "text.safetensors").write_text("no weights")
    torch.save([1, 2], tmp_path / "list.pth")
    for name, found in (
        ("other.safetensors", "do not fit"),
        ("none.pth", "No file"),
        ("harm.pth", "could run code|read as weights"),
        ("hidden.pth", "could run code"),
        ("text.safetensors", "read as weights"),
        ("list.pth", "no state dict"),
    ):
        for backbone in ("resnet18", "timm/test_vit"):
            with pytest.raises(TrainingError, match=found):
                starting_network(NetworkSettings(backbone=backbone, weights=str(tmp_path / name)), 4)
    assert not (tmp_path / "harm").exists()


def test_weights_that_cannot_be_downloaded_are_never_replaced_by_chance(monkeypatch, tmp_path):
    """Without ImageNet weights training stops and says the ways out and what each is worth."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # nothing answers there
    with pytest.raises(TrainingError, match=r"Give a file .*from scratch .* 0\.20 where Quick reaches 0\.31"):
        starting_network(NetworkSettings(backbone="resnet18"), 4)


def test_weights_of_torchvisions_cache(monkeypatch, tmp_path):
    """pretrained takes the file in torch's cache; densenet121's has names of layers that torchvision has since changed."""
    plain = torchvision.models.densenet121(weights=None)
    old = {key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): value for key, value in plain.state_dict().items()}
    assert set(old) != set(plain.state_dict())
    enum = torchvision.models.DenseNet121_Weights
    monkeypatch.setattr(enum, "get_state_dict", lambda *_, **__: old)  # the file's checksum is that of weights we cannot have here
    network = starting_network(NetworkSettings(backbone="densenet121"), 4)
    assert torch.equal(network.trunk.features.denseblock1.denselayer1.conv2.weight, plain.features.denseblock1.denselayer1.conv2.weight)


@pytest.mark.parametrize("backbone", [pytest.param("densenet121", marks=pytest.mark.acceptance), "timm/test_vit"])
def test_head_only_leaves_everything_else_as_it_was(backbone, tiles):
    """With train: head only the last layer changes; weights and batch statistics of the rest stay bit-identical, and nothing drops out."""
    settings = NetworkSettings(backbone=backbone, weights="scratch", train="head", tile_px=32)
    network = starting_network(settings, 3)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    trained_a_step(network, settings, tiles)
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"head.weight", "head.bias"}
    everything = settings.model_copy(update={"train": "all"})
    assert all(module.training for module in trained_a_step(starting_network(everything, 3), everything, tiles).modules())


def test_the_last_bias_starts_where_it_is_told():
    """head_bias is the last layer's bias; the rest of the start does not depend on it."""
    networks = []
    for bias in (None, torch.tensor([1.0, -2.0])):
        torch.manual_seed(1)
        networks.append(starting_network(NetworkSettings(backbone="mobilenet_v3_small", weights="scratch"), 2, head_bias=bias))
    assert networks[1].head.bias.tolist() == [1, -2]
    assert torch.equal(networks[0].head.weight, networks[1].head.weight)


def test_input_is_normalised_by_the_networks_own_mean_and_sd(tiles):
    """ImageNet's for torchvision, a timm model's own from its configuration, an encoder's from the table; they are stored with the weights."""
    assert facts_of("vgg16").mean == IMAGENET_MEAN
    assert facts_of("timm/vit_small_patch16_224").mean == (0.5, 0.5, 0.5)
    assert facts_of("timm/hf-hub:bioptimus/H-optimus-0").mean == BIOPTIMUS_MEAN
    network = build_network("timm/test_vit", 2)
    expected = (tiles[0, 5, 7].float() / 255 - network.mean) / network.sd
    torch.testing.assert_close(to_input(tiles, network)[0, :, 5, 7], expected)
    network.mean.fill_(0.25)
    again = build_network("timm/test_vit", 2)
    again.load_state_dict(network.state_dict())
    assert again.mean.tolist() == [0.25] * 3


@pytest.mark.parametrize(
    ("name", "features", "millions"),
    [
        ("MahmoodLab/UNI", 1024, 303), ("MahmoodLab/UNI2-h", 1536, 681), ("paige-ai/Virchow2", 2560, 631), ("paige-ai/Virchow", 2560, 631),
        ("bioptimus/H-optimus-0", 1536, 1135), ("bioptimus/H-optimus-1", 1536, 1135), ("prov-gigapath/prov-gigapath", 1536, 1135),
        ("MahmoodLab/conch", 1536, 86),
    ],
)  # fmt: skip
def test_pathology_encoders_are_built_as_published(name, features, millions):
    """Each encoder of the table has the published number of features and of weights; nothing is asked of the hub."""
    from napari_deepspace.learn.backbones import make_trunk

    assert name.lower() in ENCODERS
    assert facts_of(f"timm/hf-hub:{name}").n_features == features
    with torch.device("meta"):
        assert sum(p.numel() for p in make_trunk(f"timm/hf-hub:{name}").parameters()) / 1e6 == pytest.approx(millions, abs=1)


def test_tokens_are_pooled_without_registers():
    """Of tokens the class token and the mean of the patch tokens are taken, register tokens left out, as Virchow2 asks for."""
    trunk = timm.create_model("test_vit2", num_classes=0, reg_tokens=4, global_pool="", class_token=True)
    tokens = torch.randn(2, trunk.num_prefix_tokens + 9, 8)
    assert trunk.num_prefix_tokens == 5
    torch.testing.assert_close(pooled(tokens, trunk), torch.cat([tokens[:, 0], tokens[:, 5:].mean(1)], 1))


def test_tile_sizes_that_a_backbone_cannot_take():
    """A transformer takes tiles of another size where timm can interpolate; else the error names the size to set."""
    assert facts_of("timm/vit_small_patch16_224", 64).own_px == 224
    for backbone in ("timm/beit_base_patch16_224", "timm/hf-hub:bioptimus/H-optimus-0"):
        with pytest.raises(TrainingError, match=r"cannot take tiles of 64 x 64 px .*model\.tile_px to the 224"):
            build_network(NetworkSettings(backbone=backbone, tile_px=64), 2)


def test_unknown_timm_names_and_a_missing_timm(monkeypatch):
    """An unknown name is answered with near ones; without timm the error says how to install it."""
    for name, found in (("timm/resnet1888", "no model 'resnet1888'. Near it: .*resnet18"), ("timm/resnet18.nowhere", "tag")):
        with pytest.raises(TrainingError, match=found):
            build_network(name, 2)
    facts_of.cache_clear()
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(TrainingError, match=r"pip install 'napari-deepspace\[timm\]'"):
        build_network("timm/resnet18", 2)


def put_into_cache(cache, repository, **files):
    """Files as the hub's own cache keeps them."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / "0123456789abcdef0123456789abcdef01234567"
    snapshot.mkdir(parents=True)
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(snapshot.name)
    for name, write in files.items():
        write(snapshot / name.replace("__", "."))


@pytest.mark.acceptance
def test_the_hubs_cache_works_without_a_connection(tmp_path):
    """With HF_HUB_CACHE and HF_HUB_OFFLINE timm's own models and any model of the hub start from what lies in the cache, and from nothing else."""
    own, foreign = timm.create_model("test_vit"), timm.create_model("test_resnet", num_classes=7)
    put_into_cache(tmp_path, "timm/test_vit.r160_in1k", model__safetensors=lambda path: save_file(own.state_dict(), path))
    config = {
        "architecture": "test_resnet",
        "num_classes": 7,
        "pretrained_cfg": {"input_size": [3, 96, 96], "num_classes": 7, "mean": [0.1, 0.2, 0.3]},
    }
    put_into_cache(
        tmp_path, "lab/tiny",
        config__json=lambda path: path.write_text(json.dumps(config)), pytorch_model__bin=lambda path: torch.save(foreign.state_dict(), path),
    )  # fmt: skip
    code = """
    from napari_deepspace.errors import TrainingError
    from napari_deepspace.learn.networks import starting_network
    from napari_deepspace.settings import NetworkSettings
    for name in ("test_vit", "hf-hub:lab/tiny", "test_vit2", "hf-hub:MahmoodLab/uni"):
        try:
            network = starting_network(NetworkSettings(backbone=f"timm/{name}", tile_px=96), 2)
            print(sum(p.double().sum().item() for p in network.trunk.parameters()), network.mean.tolist()[0])
        except TrainingError as error:
            print(error)
    """
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    code = "\n".join(line[4:] for line in code.splitlines())
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    first, second, third, fourth = done.stdout.strip().splitlines()
    for line, model in ((first, own), (second, foreign)):
        model.reset_classifier(0)
        assert float(line.split()[0]) == pytest.approx(sum(p.detach().double().sum().item() for p in model.parameters()), abs=1e-6)
    assert float(second.split()[1]) == pytest.approx(0.1)
    for line in (third, fourth):
        assert "could not be downloaded" in line
        assert "HF_HOME" in line


def test_an_encoders_file_fits_its_table(tmp_path):
    """A file of an encoder's weights fills the network that the table builds: here CONCH's, with its text tower beside it, which is left out."""
    trunk = build_network("timm/hf-hub:MahmoodLab/conch", 1).trunk
    state = {f"visual.trunk.{key}": torch.full_like(value, 0.5) for key, value in trunk.state_dict().items()} | {"text.cls_emb": torch.zeros(3)}
    torch.save({key: value.half() for key, value in state.items()}, tmp_path / "pytorch_model.bin")
    load_weights(trunk, "timm/hf-hub:MahmoodLab/conch", str(tmp_path / "pytorch_model.bin"))
    assert all((value == 0.5).all() for value in trunk.state_dict().values())
