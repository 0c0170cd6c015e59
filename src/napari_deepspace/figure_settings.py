"""What a figure shows and how large it is: the same for the command line, the dock and Python. Plain values, no matplotlib."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from napari_deepspace.colour_scale import COLOUR_MAPS, ColourMap, ColourScale
from napari_deepspace.errors import SettingsError
from napari_deepspace.settings import NORMALISATIONS, FilterSettings
from napari_deepspace.verdicts import SHOWN_WAYS, WAYS

Kind = Literal["between", "map", "side-by-side", "scatter", "table", "confusion", "denser"]
KINDS: dict[str, str] = {
    "map": "a map of the spots",
    "side-by-side": "measured and predicted side by side",
    "scatter": "measured against predicted",
    "table": "the table of genes",
    "confusion": "measured cluster against the likeliest predicted one",
    "denser": "a denser map",
    "between": "spots, points between them and both, enlarged (figure 3)",
}
"""Each kind of figure in words."""
MAP_SHOWS = ("measured", "predicted", "difference", "interval", *SHOWN_WAYS, "clusters", "class", "removed")
"""What a map of the spots shows: of a gene, or which cluster, likeliest predicted cluster or reason of removal each spot has."""
DENSER_SHOWS = ("predicted", "class", "interval", "disagreement")
SHOWS: dict[str, tuple[str, ...]] = {"map": MAP_SHOWS, "denser": DENSER_SHOWS}
WITHOUT_GENE = ("clusters", "class", "removed")
PLAIN = {way: WAYS[way].replace(" ", "-") for way in SHOWN_WAYS}
"""Names of the simple ways as the command line has them."""
FORMATS = (".png", ".svg", ".pdf")
SIZES_MM: dict[str, tuple[float, float]] = {
    "map": (130, 120),
    "side-by-side": (180, 110),
    "scatter": (130, 105),
    "table": (180, 160),
    "confusion": (130, 120),
    "denser": (130, 120),
    "between": (330, 264),
}
"""Width and height that a figure has when nobody says."""
LEAST_MM, MOST_MM = 40.0, 1200.0
DPI = (30, 1200)


@dataclass(frozen=True)
class FigureSettings:
    """One figure.

    Parameters
    ----------
    kind
        One of :data:`KINDS`.
    gene
        The gene, or another output of the run; a table, a confusion and maps of clusters need none.
    show
        What a map shows (:data:`MAP_SHOWS`), or a denser map (:data:`DENSER_SHOWS`).
    size_mm
        Width and height in mm; None: as :data:`SIZES_MM` says.
    dpi
        Pixels per inch of a PNG, and of the H&E in SVG and PDF.
    limits
        Limits of the colours; None: from the values, by ``percentiles``.
    shared
        Measured and predicted use the same limits.
    colours, percentiles, log
        As of :class:`napari_deepspace.colour_scale.ColourScale`.
    hidden
        Names of clusters that are not drawn.
    region_um
        Row and column of the centre and width, in um; None: the whole section.
    rows
        How many genes of a table at most.
    slide_percent, spot_percent
        Opacity of the H&E (0: none), and diameter of the spots in per cent of the true one.
    show_anyway
        Maps that are not better than every simple way are not greyed.
    normalisation
        Scale of a measured gene that the run does not predict.
    filter
        Which spots stay; None: as the run says, or the usual thresholds.
    denser
        A denser map (.zarr); None: the run's own points between spots.

    Raises
    ------
    SettingsError
        A value is unknown or out of range.
    """

    kind: Kind = "between"
    gene: str = ""
    show: str = ""
    size_mm: tuple[float, float] | None = None
    dpi: int = 300
    limits: tuple[float, float] | None = None
    shared: bool = True
    colours: ColourMap = "viridis"
    percentiles: tuple[float, float] = ColourScale.percentiles
    log: bool = False
    hidden: tuple[str, ...] = ()
    region_um: tuple[float, float, float] | None = None
    rows: int = 40
    slide_percent: int = 100
    spot_percent: int = 100
    show_anyway: bool = False
    normalisation: str = "log"
    filter: FilterSettings | None = None
    denser: Path | None = None

    def __post_init__(self) -> None:
        if self.denser is not None:
            object.__setattr__(self, "denser", Path(self.denser))
        if self.kind not in get_args(Kind):
            raise SettingsError(f"There is no figure of kind {self.kind!r}. Choose {', '.join(KINDS)}.")
        possible = SHOWS.get(self.kind, ())
        show = self.show or (possible[0] if possible else "")
        if possible and show not in possible:
            names = ", ".join(PLAIN.get(name, name) for name in possible)
            raise SettingsError(f"A figure of kind {self.kind} cannot show {self.show!r}. Choose {names}.")
        object.__setattr__(self, "show", show if possible else "")
        if not self.gene and self.kind not in ("table", "confusion") and self.show not in WITHOUT_GENE:
            raise SettingsError(f"A figure of kind {self.kind} shows one gene. Name it (--gene).")
        if self.size_mm is not None and not all(LEAST_MM <= side <= MOST_MM for side in self.size_mm):
            raise SettingsError(f"A figure is {LEAST_MM:g} to {MOST_MM:g} mm a side; found {self.size_mm[0]:g} x {self.size_mm[1]:g} mm.")
        if not DPI[0] <= self.dpi <= DPI[1]:
            raise SettingsError(f"dpi is a number from {DPI[0]} to {DPI[1]}; found {self.dpi}.")
        if self.limits is not None and not self.limits[0] < self.limits[1]:
            raise SettingsError(f"The lower limit has to be less than the upper one; found {self.limits[0]:g} and {self.limits[1]:g}.")
        if self.region_um is not None and not (all(map(math.isfinite, self.region_um)) and self.region_um[2] > 0):
            raise SettingsError("A region is row, column and width in um, and the width is above 0.")
        if self.colours not in COLOUR_MAPS:
            raise SettingsError(f"There is no colour map {self.colours!r}. Choose {', '.join(COLOUR_MAPS)}.")
        if not 0 <= self.percentiles[0] < self.percentiles[1] <= 100:
            raise SettingsError("The percentiles {:g} and {:g} do not rise from 0 to 100. The usual are 1 and 99.".format(*self.percentiles))
        if self.normalisation not in NORMALISATIONS:
            raise SettingsError(f"normalisation {self.normalisation!r} is unknown. Choose {', '.join(NORMALISATIONS)}.")

    @property
    def scale(self) -> ColourScale:
        return ColourScale(self.colours, self.percentiles, self.log)

    @property
    def width_mm(self) -> float:
        return (self.size_mm or SIZES_MM[self.kind])[0]

    @property
    def height_mm(self) -> float:
        return (self.size_mm or SIZES_MM[self.kind])[1]


def require_format(out: Path) -> None:
    """Raise SettingsError unless ``out`` is named as a figure."""
    if out.suffix.casefold() not in FORMATS:
        raise SettingsError(f"--out {out}: a figure is {', '.join(FORMATS)}; give a name that ends so.")


def read_show(text: str) -> str:
    """What ``--show`` names, also in plain words: "colour-alone" is "mean RGB"."""
    plain = {name: way for way, name in PLAIN.items()} | {"likeliest-class": "class"}
    return plain.get(text.strip().replace(" ", "-"), text.strip())


def numbers_of(text: str, option: str, n: int, example: str, between: str = ",") -> tuple[float, ...]:
    """``n`` numbers of an option, "180x120" or "0.5,4"; raises SettingsError with an example where it is something else."""
    try:
        found = tuple(float(part) for part in text.lower().split(between))
    except ValueError:
        found = ()
    if len(found) != n or not all(map(math.isfinite, found)):
        raise SettingsError(f"{option} {text}: {n} numbers are needed, for example {example}.")
    return found
