"""Reading a section in a thread, from a path to everything the dock needs to show it. Touches neither viewer nor session."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from napari_deepspace._napari.jobs import tell
from napari_deepspace._napari.session import Loaded
from napari_deepspace.events import Progress
from napari_deepspace.geojson import SlideStamp, stamp_of
from napari_deepspace.layers import LayerTuple, Maps, section_layers
from napari_deepspace.outline_files import read_kept
from napari_deepspace.run_maps import maps_of_run
from napari_deepspace.seal import find_seal, with_seal
from napari_deepspace.settings import SectionSettings


@dataclass(frozen=True)
class Opened:
    """A section that was read: its layers, the settings that read it, and the predictions of a run, where one was asked for."""

    loaded: Loaded
    layers: list[LayerTuple]
    settings: SectionSettings
    maps: Maps | None = None
    drawn_on: SlideStamp | None = None  #: the slide that the outlines are said to be drawn on


def open_section(settings: SectionSettings | None, run_dir: Path | None = None, seals: Sequence[Path] = ()) -> Generator[str, None, Opened]:
    """Read a section (None: the built-in synthetic one) and the predictions of ``run_dir`` for it, saying what is done.

    While a flat image is copied the job tells an :class:`~napari_deepspace.events.Progress` with percent, and can be stopped there.

    Where ``settings`` name no seal, that of the section is looked for in the folders ``seals``.

    Raises
    ------
    DataError
        What the reader found wrong.
    """
    if settings is None:
        from napari_deepspace.phantom import make_phantom

        yield "Making the synthetic section (first time only)…"
        settings = SectionSettings(path=make_phantom() / "outs", library_id="synthetic-section")
    yield f"Reading {settings.path.name}…"
    from napari_deepspace.read import read_settings

    section = read_settings(
        settings.model_copy(update={"outlines": None}), progress=lambda doing, share: tell(Progress(doing, int(100 * share), 100))
    )
    drawn_on = None
    if settings.outlines is not None:  # another slide is no reason not to open a project: it is said
        kept = read_kept(settings.outlines, stamp_of(section.slide) if section.slide is not None else None)
        section.outlines[:], drawn_on = kept.outlines, kept.drawn_on
    found = find_seal(seals, section) if settings.sealed is None else None
    if found is not None:
        settings, section = settings.model_copy(update={"sealed": found[0]}), with_seal(section, found[1])
    yield f"{section.library_id}: summing counts…"
    loaded = Loaded.of(section)
    yield f"{section.library_id}: opening the slide…"
    image = settings.image or (None if settings.reduced else section.image_path)
    settings = settings.model_copy(update={"library_id": section.library_id, "image": image})
    maps = None
    if run_dir is not None:
        yield f"{section.library_id}: reading predictions…"
        maps = maps_of_run(run_dir, section)
    return Opened(loaded, section_layers(section), settings, maps, drawn_on)
