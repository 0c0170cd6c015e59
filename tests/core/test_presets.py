"""Presets: settings that belong together, by name."""

import pytest

from napari_deepspace.cli import main
from napari_deepspace.errors import SettingsError
from napari_deepspace.presets import PRESETS, with_preset
from napari_deepspace.runs import SETTINGS
from napari_deepspace.settings import NetworkSettings, load_run_settings, run_settings

OWN = {"name": "mine", "sections": [{"path": "outs"}], "target": {"names": ["ESR1"]}, "filter": {"min_umi": 500}, "split": {"seed": 4}, "seed": 7}


def test_the_papers_settings():
    """DeepSpaCE's VGG16 from ImageNet, SCTransform, Adam at 1e-4, 50 epochs, five random folds; sections, genes, filter and seeds stay the user's."""
    settings = with_preset(run_settings(OWN), "DeepSpaCE (paper)")
    model = settings.model
    assert isinstance(model, NetworkSettings)
    assert (model.backbone, model.weights, model.tile_px, model.epochs, model.patience) == ("vgg16", "pretrained", 224, 50, 5)
    assert (model.optimiser, model.learning_rate, model.weight_decay) == ("adam", 1e-4, 1e-4)
    assert model.augment == ("flip", "crop", "color", "random")
    assert (settings.normalisation, settings.split.kind, settings.split.folds, settings.split.validation) == ("sctransform", "random", 5, 0.2)
    assert (settings.name, settings.target.names, settings.filter.min_umi, settings.split.seed, settings.seed) == ("mine", ("ESR1",), 500, 4, 7)


def test_st_nets_settings():
    """ST-Net's DenseNet121 on the 250 genes of highest mean, its target and its start, SGD at 1e-6, symmetries."""
    settings = with_preset(run_settings(OWN), "ST-Net")
    model = settings.model
    assert (settings.normalisation, settings.target.names, settings.target.top) == ("stnet", (), 250)
    assert (model.backbone, model.optimiser, model.learning_rate, model.epochs) == ("densenet121", "sgd", 1e-6, 50)
    assert model.start_at_mean
    assert model.symmetries
    assert model.augment == ("flip",)


def test_presets_are_valid_and_overrides_come_last():
    """Every preset is a valid run over any other; a beginning of its name is enough; an override wins; an unknown name is answered with all."""
    settings = run_settings(OWN)
    for name in [*PRESETS, *PRESETS]:
        settings = with_preset(settings, name)
    assert with_preset(settings, "quick").model.kind == "quick"
    assert with_preset(settings, "deepspace", ("model.epochs=3", "model.weights=scratch")).model.epochs == 3
    for name in ("", "none"):
        with pytest.raises(SettingsError, match="Quick, DeepSpaCE"):
            with_preset(settings, name)


def test_train_with_a_preset(phantom_dir, tmp_path, capsys):
    """train --preset lays it over RUN.yaml and --set over that; --init --preset writes it down."""
    run = tmp_path / "run.yaml"
    run.write_text(f"sections: [{{path: '{phantom_dir}'}}]\ntarget: {{names: [ESR1]}}\nmodel: {{kind: network, backbone: resnet18}}\n")
    assert main(["train", str(run), "--preset", "quick", "--set", "model.components=20", "--out", str(tmp_path / "out")]) == 0
    used = load_run_settings(tmp_path / "out" / SETTINGS)
    assert (used.model.kind, used.model.components, used.target.names) == ("quick", 20, ("ESR1",))
    assert main(["train", str(run), "--preset", "slow"]) == 2
    assert "no preset 'slow'" in capsys.readouterr().err
    assert main(["train", "--init", str(tmp_path / "new.yaml"), "--preset", "st-net"]) == 0
    assert load_run_settings(tmp_path / "new.yaml").model.backbone == "densenet121"
