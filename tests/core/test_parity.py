"""The training loop against a plain PyTorch loop, and its own promises: micro-batches, schedules, memory."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from tests.conftest import part_of
from torch import nn

from napari_deepspace.errors import TrainingError
from napari_deepspace.events import BatchEnded, EpochEnded, result_of
from napari_deepspace.learn import cost, training
from napari_deepspace.learn.checkpoint import Position
from napari_deepspace.learn.data import gather, section_looks, values_fitted_on
from napari_deepspace.learn.networks import starting_network, to_input
from napari_deepspace.learn.optimise import make_optimiser, mix, set_learning_rate, training_step
from napari_deepspace.learn.splits import TRAINING, VALIDATION
from napari_deepspace.learn.targets import fit_target
from napari_deepspace.settings import NetworkSettings, run_settings

CPU = torch.device("cpu")


@pytest.mark.parametrize("backbone", [pytest.param("vgg16", marks=pytest.mark.acceptance), "densenet121"])  # VGG16 writes 1.6 GB
def test_one_epoch_gives_the_losses_of_a_plain_loop(small, tmp_path, backbone):
    """Equal tiles, split, initial weights, order and Adam: the losses of the first epoch and of its validation equal those of twenty plain lines."""
    section = part_of(small, np.arange(small.adata.n_obs) < 45)
    network = {
        "kind": "network",
        "backbone": backbone,
        "weights": "scratch",
        "tile_px": 32,
        "epochs": 1,
        "batch_size": 8,
        "micro_batch": 8,
        "augment": (),
    }
    asked = run_settings(
        {
            "sections": [{"path": str(small.path)}],
            "target": {"names": ["ESR1", "COL5A2", "SPARC"]},
            "split": {"kind": "whole"},
            "model": {**network, "augment": ()},
            "threads": 2,
        }
    )
    told = list(training.fit([section], asked, tmp_path))
    losses = [event.loss for event in told if isinstance(event, BatchEnded)]
    (epoch,) = [event for event in told if isinstance(event, EpochEnded)]

    data = result_of(gather([section], asked))
    learned = np.isin(data.split.parts[:, 0], (TRAINING, VALIDATION))
    values = result_of(values_fitted_on(data, learned, float(np.median(data.totals[learned]))))
    low, high = values[learned].min(axis=0), values[learned].max(axis=0)
    wanted = torch.from_numpy((values - low) / (high - low)).float()
    rows = np.flatnonzero(data.predictable)
    tiles = np.zeros((len(learned), 32, 32, 3), dtype=np.uint8)
    tiles[rows] = result_of(section_looks(section, section.centres_yx[rows], data.tile_um, 32, asked.model))
    mean, sd = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    images = ((torch.from_numpy(tiles).float() / 255 - mean) / sd).permute(0, 3, 1, 2)

    torch.manual_seed(mix(0, 0))
    plain = starting_network(asked.model, 3)
    adam = torch.optim.Adam(plain.parameters(), lr=1e-4, weight_decay=1e-4)
    trained, held = (np.flatnonzero(data.split.parts[:, 0] == part) for part in (TRAINING, VALIDATION))
    expected = []
    plain.train()
    for step, batch in enumerate(np.array_split(np.random.default_rng((0, 0, 1)).permutation(trained), -(-len(trained) // 8)), start=1):
        torch.manual_seed(mix(0, 0, 1, step))  # dropout
        loss = F.smooth_l1_loss(plain(images[batch]), wanted[batch], reduction="none").sum(dim=1).mean()
        adam.zero_grad()
        loss.backward()
        adam.step()
        expected.append(loss.item())
    plain.eval()
    with torch.no_grad():
        validation = F.smooth_l1_loss(plain(images[held]), wanted[held], reduction="none").sum(dim=1).mean().item()
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    assert epoch.validation_loss == pytest.approx(validation, rel=1e-5)


class Plain(nn.Module):
    """A network without dropout and batch normalisation."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 2))

    def forward(self, images):
        return self.layers(images)


def test_micro_batches_add_up_to_the_batch():
    """However few tiles are computed at once, loss and weights after a step are those of the whole batch."""
    rng = np.random.default_rng(0)
    tiles, values = rng.integers(0, 255, (10, 16, 16, 3), dtype=np.uint8), rng.random((10, 2)).astype(np.float32)
    asked = NetworkSettings(learning_rate=1e-2)
    after, losses = [], []
    for micro_batch in (10, 4, 1):
        network = Plain()
        optimiser = make_optimiser(network, asked)
        loss_of = fit_target_of(values).loss(CPU)
        losses += [training_step(network, optimiser, tiles, values, asked, loss_of, micro_batch, seed=5) for _ in range(2)][-1:]
        after.append(torch.cat([p.detach().ravel() for p in network.parameters()]))
    np.testing.assert_allclose(losses, losses[0], rtol=1e-5)
    for weights in after[1:]:
        torch.testing.assert_close(weights, after[0], rtol=1e-4, atol=1e-6)


def fit_target_of(values):
    from napari_deepspace.target import Target

    return fit_target(Target("obs", tuple(f"column{i}" for i in range(values.shape[1])), ""), values, 1.0)


def test_learning_rates_follow_their_schedule():
    """Constant; half a cosine that starts at the rate set; a tenth for each time it was lowered."""
    for schedule, rates in (("constant", [1, 1, 1]), ("cosine", [1, (1 + np.cos(np.pi / 4)) / 2, 0.5]), ("plateau", [1, 0.1, 0.01])):
        asked = NetworkSettings(schedule=schedule, learning_rate=1.0, epochs=4)
        optimiser = make_optimiser(Plain(), asked)
        for number, rate in enumerate(rates):
            set_learning_rate(optimiser, asked, Position(0, epoch=number + 1, lowered=number))
            assert optimiser.param_groups[0]["lr"] == pytest.approx(rate)


def test_memory_is_asked_before_training_starts(monkeypatch):
    """On a CPU a run that would swap is refused in one sentence; a batch is computed in parts where that helps."""
    asked = NetworkSettings(weights="scratch")
    needed = cost.network_gb(asked, 24, 224, 1)
    assert 3.3 < needed < 3.7, "VGG16: 2.2 GB of weights, gradients and moments, 1.2 GB of copies; a step of 2 tiles was measured at 3.5"
    assert cost.choose_micro_batch(asked, 24, 100, 224, CPU) == cost.CPU_TILES
    assert cost.choose_micro_batch(NetworkSettings(backbone="resnet18", weights="scratch"), 24, 100, 64, CPU) == 32, "it looks at the batch"
    assert cost.choose_micro_batch(asked.model_copy(update={"micro_batch": 2}), 24, 100, 224, CPU) == 2
    with pytest.raises(TrainingError, match=r"needs about .* GB of memory, and .* GB are free"):
        cost.choose_micro_batch(asked, 24, 10_000_000, 224, CPU)


@pytest.mark.acceptance  # half a minute and more
def test_a_choice_that_does_not_fit_leaves_the_others_their_cost(small):
    """Where the paper's settings do not fit, the cost of Quick is told all the same, and why the other has none."""
    asked = {"sections": [{"path": str(small.path)}], "target": {"names": ["ESR1"]}, "split": {"kind": "random", "folds": 2}}
    hungry = {"kind": "network", "backbone": "resnet18", "weights": "scratch", "tile_px": 512, "batch_size": 100_000, "micro_batch": 100_000}
    costs = cost.estimate([small], run_settings({**asked, "model": hungry}))["choices"]
    assert costs[0]["seconds"] > 0
    assert np.isnan(costs[1]["seconds"])
    assert "GB are free" in costs[1]["words"]


def test_memory_that_ends_in_a_step_halves_the_micro_batch(small, tmp_path):
    """The run goes on with fewer tiles at a time and says so; with one tile only it stops in one sentence."""
    from napari_deepspace.events import Noted
    from napari_deepspace.learn.optimise import FoldData, _step

    class Hungry(Plain):
        limit = 3

        def forward(self, images):
            if len(images) > self.limit:
                raise torch.OutOfMemoryError("out of memory")
            return super().forward(images)

    rng = np.random.default_rng(0)
    tiles, values = rng.integers(0, 255, (8, 16, 16, 3), dtype=np.uint8), rng.random((8, 2)).astype(np.float32)
    fitted, asked, network, at = fit_target_of(values), NetworkSettings(), Hungry(), Position(0, micro_batch=8)
    data = FoldData(0, tiles, values, np.ones(8, bool), np.zeros(8, bool), fitted)
    job = _step(network, make_optimiser(network, asked), data, np.arange(8), asked, fitted.loss(CPU), at, 1)
    notes = [event.message for event in job if isinstance(event, Noted)]
    assert at.micro_batch == 2
    assert "from now on 4 tiles" in notes[0]
    assert "from now on 2 tiles" in notes[1]
    Hungry.limit = 0
    with pytest.raises(TrainingError, match="does not hold a single tile"):
        result_of(_step(network, make_optimiser(network, asked), data, np.arange(8), asked, fitted.loss(CPU), at, 1))


def test_input_is_normalised_as_imagenet_networks_expect():
    """Channels first, in the mean and SD of ImageNet."""
    white = to_input(torch.full((1, 2, 2, 3), 255, dtype=torch.uint8))
    np.testing.assert_allclose(white[0, :, 0, 0], [(1 - m) / s for m, s in zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)], rtol=1e-6)
