"""The trial that tells what the present choices would cost, in a child process."""

from __future__ import annotations

import logging
import math
import shutil
import tempfile
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from qtpy.QtCore import QObject

from napari_deepspace._napari.jobs import Child, answer, start_job
from napari_deepspace._napari.session import Session
from napari_deepspace._napari.train_panel import TrainPanel
from napari_deepspace._napari.widgets import one_shot
from napari_deepspace.errors import DeepSpaceError
from napari_deepspace.runs import SETTINGS, write_atomic
from napari_deepspace.settings import SectionSettings, dump_yaml

logger = logging.getLogger(__name__)


class Estimates(QObject):
    """Asks for the cost of the present choices, a moment after the last change, and never while something else works."""

    WAIT_MS = 1200

    def __init__(self, session: Session, panel: TrainPanel, opened: Callable[[], SectionSettings | None]):
        super().__init__(panel)
        self._session, self._panel, self._opened = session, panel, opened
        self.child: Child | None = None
        self._known: dict[str, dict[str, Any]] = {}  #: answers by the settings they are for
        self._folder = Path(tempfile.mkdtemp(prefix="deepspace-"))
        weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._timer = one_shot(self, self.WAIT_MS)
        self._timer.timeout.connect(self._ask)
        panel.changed.connect(self.later)
        for signal in (session.events.busy, session.events.running):
            signal.connect(self.later)

    def later(self) -> None:
        """The choices changed: stop a trial that goes on, and ask again soon."""
        self.cancel()
        if self._session.section is not None and not self._session.busy and self._session.running is None:
            self._timer.start()

    def cancel(self) -> None:
        """Stop a trial that goes on; what it would have said is asked again later."""
        self._timer.stop()
        if self.child is not None:
            self.child.stop()
            self.child = None
            self._panel.say_cost("")

    def seconds(self) -> float:
        """What the run would take as it is set; NaN while that is not known."""
        opened = self._opened()
        try:
            costs = self._known.get(dump_yaml(self._panel.settings(opened))) if opened is not None else None
        except DeepSpaceError:
            costs = None
        if costs is None:
            return math.nan
        seconds = costs["choices"][0 if self._panel.quick.isChecked() else 1]["seconds"]  # Quick, then the network as set
        return math.nan if seconds is None else float(seconds)

    def shut(self) -> None:
        """Leave no process behind."""
        if self.child is not None:
            self.child.stop_and_wait()

    def _ask(self) -> None:
        opened, section = self._opened(), self._session.section
        if opened is None or section is None or section.slide is None or not section.adata.n_vars:
            return
        try:
            text = dump_yaml(self._panel.settings(opened))
        except DeepSpaceError:
            return  # the same is said when Start is pressed
        if text in self._known:
            self._panel.show_costs(self._known[text])
            return
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        write_atomic(folder / SETTINGS, text)
        self._panel.say_cost("Cost: trying each choice for a moment…")
        out, errors = folder / "out.json", folder / "errors.txt"
        self.child = child = Child(["estimate", str(folder / SETTINGS), "--json", "--background"], out, errors)
        start_job(partial(answer, child, out, errors), on_return=partial(self._tell, child, text), on_error=self._unknown)

    def _tell(self, child: Child, text: str, costs: dict[str, Any] | None) -> None:
        if costs is None or child is not self.child:
            return
        self.child = None
        self._known[text] = costs
        self._panel.show_costs(costs)

    def _unknown(self, error: Exception) -> None:
        logger.info("no estimate", exc_info=error)
        self.child = None
        self._panel.say_cost(f"Cost unknown: {error}")
