"""What the controls of the panels do. The panels know nothing of it."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from napari_deepspace._napari.annotate_panel import connect_drawing

if TYPE_CHECKING:
    from napari_deepspace._napari.dock import DeepSpaceDock


def connect_panels(dock: DeepSpaceDock) -> None:
    """Connect the signals of the panels with what the dock can do."""
    section = dock.section_panel
    section.folder_chosen.connect(dock.open_section)
    section.sample_chosen.connect(dock.open_sample)
    section.project_opened.connect(dock.open_project)
    section.project_saved.connect(dock.save_project)
    section.section_chosen.connect(dock.projects.switch)
    section.image_chosen.connect(partial(_take_image, dock))
    section.mpp_chosen.connect(lambda mpp: dock.reopen(mpp=mpp or None))
    section.reduced_chosen.connect(lambda: dock.reopen(reduced=True, image=None, mpp=None))
    section.platform_chosen.connect(lambda key: dock.reopen(platform=key))
    dock.training.started.connect(lambda: dock.show_part(dock.train_panel.run))
    dock.searches.done.connect(dock.training.start_next)
    dock.students.done.connect(dock.training.start_next)
    dock.denser.making.done.connect(dock.training.start_next)
    dock.train_panel.start_requested.connect(dock.start_training)
    dock.train_panel.pause_requested.connect(dock.training.pause)
    dock.train_panel.stop_requested.connect(dock.stop_training)
    dock.train_panel.search_requested.connect(dock.searches.open)
    dock.train_panel.students_requested.connect(dock.students.open)
    for panel in (dock.train_panel, dock.look_panel):
        panel.message.connect(lambda text: dock.say(text, "warning"))
    quality = dock.quality_panel
    quality.outlines.drawing.connect(dock.drawing.draw_exclude)
    quality.outlines.imported.connect(dock.import_outlines)
    quality.regions.accepted.connect(dock.drawing.accept)
    quality.regions.rejected.connect(dock.drawing.reject)
    quality.regions.shown.connect(dock.outline_layers.go_to)
    connect_drawing(dock.annotate_panel, dock.drawing, dock.outline_layers)
    dock.annotate_panel.regions.clicked.connect(dock.regions.open)
    dock.look_panel.tour.clicked.connect(lambda: dock.inspector.go(1))
    dock.look_panel.against.clicked.connect(dock.compare.open)


def _take_image(dock: DeepSpaceDock, image: Path) -> None:
    """Lay ``image`` under the spots; um per px that was given for a reduced image is not that of a slide."""
    reduced = dock.opened is not None and dock.opened.reduced
    dock.reopen(image=image, orientation="as it is", reduced=False, **({"mpp": None} if reduced else {}))
