"""Hand-made features of a tile: colour, stain and texture, within the spot and within the whole tile.

All are computed at a fixed number of um per pixel, so that they mean the same on every slide.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from skimage.color import hed_from_rgb

FINEST_SIGMA_PX = 0.8
OCTAVES = 2  #: beyond the first two bands
RADIAL_BINS = 16
QUANTILES = (0.1, 0.5, 0.9)


def tile_features(tiles: np.ndarray) -> np.ndarray:
    """Features of uint8 tiles (n, s, s, 3): float32 (n, n_features).

    The first three are the tile's mean R, G and B in 0..1. Colours and stains (haematoxylin, eosin and residual by colour deconvolution, Ruifrok and
    Johnston 2001) give mean, SD and quantiles; texture is the energy and skewness of difference-of-Gaussian bands, gradient energy, coherence of the
    structure tensor, and the radial power spectrum.
    """
    with torch.inference_mode():
        rgb = torch.from_numpy(np.ascontiguousarray(tiles)).permute(0, 3, 1, 2).float() / 255
        stains = stain_density(rgb)
        colours = torch.cat([rgb, stains], dim=1)
        inner = _inner(colours)
        grey = -torch.log(rgb.mean(dim=1, keepdim=True).clamp_min(1 / 255))
        channels = torch.cat([stains[:, :2], grey], dim=1)  # haematoxylin, eosin, overall density
        parts = [
            rgb.mean(dim=(2, 3)),
            *_colour_statistics(colours),
            *_colour_statistics(inner),
            *_band_statistics(channels),
            _radial_power(channels),
        ]
        return torch.cat(parts, dim=1).numpy()


def stain_density(rgb: torch.Tensor) -> torch.Tensor:
    """Haematoxylin, eosin and residual density of (n, 3, h, w) RGB in 0..1, by Ruifrok and Johnston's matrix as scikit-image has it."""
    density = -torch.log(rgb.clamp_min(1 / 255))
    matrix = torch.from_numpy(np.asarray(hed_from_rgb, dtype=np.float32))
    return torch.einsum("nchw,cs->nshw", density, matrix)


def _inner(images: torch.Tensor) -> torch.Tensor:
    """The middle of the tile, 40 % of its side: the spot itself at the paper's tile size."""
    side = images.shape[-1]
    margin = round(side * 0.3)
    return images[..., margin : side - margin, margin : side - margin]


def _whole(images: torch.Tensor) -> torch.Tensor:
    return images


def _colour_statistics(images: torch.Tensor) -> list[torch.Tensor]:
    flat = images.flatten(2)
    every_fourth = images[..., ::2, ::2].flatten(2)  # sorting is the dearest step here, and a quantile needs no more
    return [flat.mean(dim=2), flat.std(dim=2), *torch.quantile(every_fourth, torch.tensor(QUANTILES), dim=2)]


def _band_statistics(channels: torch.Tensor) -> list[torch.Tensor]:
    """Energy and skewness of band-pass images, gradient energy and coherence, each for the whole tile and its middle.

    The bands are those of a Gaussian pyramid: blurred to twice the sigma, every second pixel then serves the next octave.
    """
    fine, twice = _blur(channels, FINEST_SIGMA_PX), _blur(channels, 2 * FINEST_SIGMA_PX)
    bands = [(channels - fine, fine), (fine - twice, twice)]
    for _ in range(OCTAVES):
        half = twice[..., ::2, ::2]
        twice = _blur(half, math.sqrt(3) * FINEST_SIGMA_PX)  # from sigma s to 2 s takes sqrt(3) s; both count in pixels of the finer image
        bands.append((half - twice, twice))
    statistics = []
    for band, smooth in bands:
        dy, dx = _gradient(smooth)
        for region in (_whole, _inner):
            b, gy, gx = region(band), region(dy), region(dx)
            energy = (b * b).mean(dim=(2, 3))
            skewness = (b * b * b).mean(dim=(2, 3)) / (energy**1.5 + 1e-6)
            yy, xx, xy = (gy * gy).mean(dim=(2, 3)), (gx * gx).mean(dim=(2, 3)), (gy * gx).mean(dim=(2, 3))
            trace = yy + xx
            coherence = torch.sqrt((yy - xx) ** 2 + 4 * xy * xy) / (trace + 1e-6)
            statistics += [torch.log(energy + 1e-6), skewness, torch.log(trace + 1e-6), coherence]
    return statistics


def _radial_power(channels: torch.Tensor) -> torch.Tensor:
    """Logarithm of the power spectrum averaged over rings of spatial frequency, (n, channels * RADIAL_BINS)."""
    side = channels.shape[-1]
    window = torch.hann_window(side, periodic=False)
    centred = (channels - channels.mean(dim=(2, 3), keepdim=True)) * window[:, None] * window[None, :]
    power = torch.fft.rfft2(centred).abs().square()
    fy, fx = torch.fft.fftfreq(side)[:, None], torch.fft.rfftfreq(side)[None, :]
    radius = torch.sqrt(fy * fy + fx * fx)
    # rings of equal width in log frequency, from two periods a tile to the pixel's own limit
    edges = torch.logspace(math.log10(2 / side), math.log10(0.5), RADIAL_BINS + 1)
    ring = torch.bucketize(radius, edges) - 1
    member = torch.stack([((ring == k).float()) for k in range(RADIAL_BINS)])
    member /= member.sum(dim=(1, 2), keepdim=True).clamp_min(1)
    return torch.log(torch.einsum("nchw,khw->nck", power, member) + 1e-3).flatten(1)


def _blur(images: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur of (n, c, h, w); OpenCV's is several times faster here than a convolution of few channels in torch."""
    blurred = np.empty(images.shape, dtype=np.float32)
    for number, image in enumerate(images.numpy()):
        for channel, plane in enumerate(image):
            cv2.GaussianBlur(np.ascontiguousarray(plane), (0, 0), sigma, dst=blurred[number, channel], borderType=cv2.BORDER_REFLECT_101)
    return torch.from_numpy(blurred)


def _gradient(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return images[:, :, 2:, 1:-1] - images[:, :, :-2, 1:-1], images[:, :, 1:-1, 2:] - images[:, :, 1:-1, :-2]
