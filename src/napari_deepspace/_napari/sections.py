"""The sections that were opened in this window: a list, one of which all steps act on; the others may stay in view beside it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject

from napari_deepspace._napari.canvas import Canvas
from napari_deepspace._napari.jobs import start_job
from napari_deepspace._napari.section_panel import SectionPanel
from napari_deepspace._napari.session import Session
from napari_deepspace.gene_names import shared_genes
from napari_deepspace.read.several import sections_at
from napari_deepspace.section import Section
from napari_deepspace.settings import SectionSettings


@dataclass(frozen=True)
class Known:
    """A section that was opened: slide and spots without counts, how it was read, and the names of its genes."""

    section: Section
    settings: SectionSettings
    genes: tuple[str, ...]


class Sections(QObject):
    """Keeps what was opened. ``open_section(settings)`` reads one again, which makes it the current one."""

    def __init__(
        self,
        session: Session,
        canvas: Canvas,
        panel: SectionPanel,
        opened: Callable[[], SectionSettings | None],
        open_section: Callable[[SectionSettings], None],
    ):
        super().__init__(panel)
        self._session, self._canvas, self._panel = session, canvas, panel
        self._opened_as, self._open = opened, open_section
        self.known: dict[str, Known] = {}  #: by library id, in the order they were opened
        self.in_file: dict[str, Path] = {}  #: of the open file or folder: library ids of several, each with the path to read it from
        self._looking: Any = None
        session.events.loaded.connect(self._loaded)
        session.events.side_by_side.connect(self._show_others)
        panel.sections.activated.connect(lambda number: self.choose(panel.sections.itemData(number)))
        panel.others.toggled.connect(self._show_others)

    def choose(self, library_id: str) -> None:
        """Make another section the current one; of those that the open file holds, read it."""
        section = self._session.section
        if section is not None and library_id == section.library_id:
            return
        known = self.known.get(library_id)
        self._open(known.settings if known else SectionSettings(path=self.in_file[library_id], library_id=library_id))
        self._list()  # the open one stays chosen until the other is read

    def shut(self) -> None:
        """The dock was closed."""
        self._looking = None
        self._session.events.loaded.disconnect(self._loaded, missing_ok=True)
        self._session.events.side_by_side.disconnect(self._show_others, missing_ok=True)

    def _loaded(self) -> None:
        section, settings = self._session.section, self._opened_as()
        if section is None or settings is None:
            return
        genes = tuple(section.adata.var_names.astype(str))
        self.known[section.library_id] = Known(replace(section, adata=section.adata[:, :0].copy()), settings, genes)
        if settings.path not in self.in_file.values():
            self.in_file = {}
            self._looking = worker = start_job(
                partial(_look_in, settings.path), on_return=lambda found: self._found(found) if worker is self._looking else None
            )
        self._list()
        self._show_others()

    def _found(self, found: dict[str, Path]) -> None:
        if len(found) > 1:
            self.in_file = found
            self._list()

    def _list(self) -> None:
        section = self._session.section
        if section is not None:
            counted = {name: one.genes for name, one in self.known.items() if one.genes}
            others = [name for name in self.in_file if name not in self.known]
            self._panel.show_sections(list(self.known), section.library_id, shared_genes(counted)[1], others)

    def _show_others(self, *_: object) -> None:
        current = self._session.section
        wanted = self._panel.others.isChecked() and not self._session.side_by_side and current is not None
        others = [one.section for name, one in self.known.items() if current is not None and name != current.library_id]
        self._canvas.show_others(others if wanted else [])


def _look_in(path: Path) -> Generator[None, None, dict[str, Path]]:
    yield None
    return sections_at(path)
