"""The sections that were opened in this window: a list, one of which all steps act on; the others may stay in view beside it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from qtpy.QtCore import QObject

from napari_deepspace._napari.canvas import Canvas
from napari_deepspace._napari.section_panel import SectionPanel
from napari_deepspace._napari.session import Session
from napari_deepspace.gene_names import shared_genes
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
        session.events.loaded.connect(self._loaded)
        session.events.side_by_side.connect(self._show_others)
        panel.sections.activated.connect(lambda number: self.choose(list(self.known)[number]))
        panel.others.toggled.connect(self._show_others)

    def choose(self, library_id: str) -> None:
        """Make another section the current one."""
        section = self._session.section
        if section is None or library_id != section.library_id:
            self._open(self.known[library_id].settings)

    def shut(self) -> None:
        """The dock was closed."""
        self._session.events.loaded.disconnect(self._loaded, missing_ok=True)
        self._session.events.side_by_side.disconnect(self._show_others, missing_ok=True)

    def _loaded(self) -> None:
        section, settings = self._session.section, self._opened_as()
        if section is None or settings is None:
            return
        genes = tuple(section.adata.var_names.astype(str))
        self.known[section.library_id] = Known(replace(section, adata=section.adata[:, :0].copy()), settings, genes)
        counted = {name: one.genes for name, one in self.known.items() if one.genes}
        self._panel.show_sections(list(self.known), section.library_id, shared_genes(counted)[1])
        self._show_others()

    def _show_others(self, *_: object) -> None:
        current = self._session.section
        wanted = self._panel.others.isChecked() and not self._session.side_by_side and current is not None
        others = [one.section for name, one in self.known.items() if current is not None and name != current.library_id]
        self._canvas.show_others(others if wanted else [])
