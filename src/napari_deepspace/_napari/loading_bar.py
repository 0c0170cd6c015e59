"""What is read while a section opens, how far it is, and Stop: a line above the dock's messages, there only while it lasts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtWidgets import QProgressBar, QPushButton, QWidget

from napari_deepspace._napari.session import Session
from napari_deepspace._napari.widgets import one_shot, row
from napari_deepspace.events import Progress

WAIT_MS = 700  #: what opens sooner shows no bar


class LoadingBar(QWidget):
    """Follows one opening after the other; :meth:`tell` takes what it yields, words or how far it is."""

    def __init__(self, session: Session, say: Callable[..., None]):
        super().__init__()
        self._session, self._say = session, say
        self._worker: Any = None
        self._stage = ""
        self.bar, self.stop = QProgressBar(), QPushButton("Stop")
        self.bar.setFormat("%p %")
        self.stop.setToolTip("Do not open it. What is open stays as it is.")
        line = row(self.bar, self.stop)
        line.setContentsMargins(4, 0, 4, 0)
        self.setLayout(line)
        self.setVisible(False)
        self._soon = one_shot(self, WAIT_MS)
        self._soon.timeout.connect(lambda: self.setVisible(session.busy == "loading"))
        self.stop.clicked.connect(self._stop)
        session.events.busy.connect(self._busy)

    def follow(self, worker: Any) -> None:
        """Let Stop end this job."""
        self._worker = worker

    def tell(self, told: str | Progress) -> None:
        """Say what is done, once, and show how much of it is."""
        words = told.stage if isinstance(told, Progress) else told
        if words != self._stage and self.stop.isEnabled():
            self._stage = words
            self._say(words)
        if isinstance(told, Progress):
            self.bar.setRange(0, told.total)
            self.bar.setValue(told.done)
            self.setVisible(self._session.busy == "loading")
        else:
            self.bar.setRange(0, 0)

    def stopped(self) -> None:
        """The job has ended as it was asked to."""
        self._say("Stopped: nothing was opened, and what was open stays as it was.")

    def shut(self) -> None:
        """The dock is closed: nothing that is still read is shown."""
        if self._worker is not None:
            self._worker.quit()

    def _stop(self) -> None:
        self.stop.setEnabled(False)
        self._say("Stopping…")
        self.shut()

    def _busy(self, busy: str) -> None:
        self._stage, self._worker = "", None
        self.bar.setRange(0, 0)
        self.stop.setEnabled(True)
        if busy == "loading":
            self._soon.start()
        else:
            self._soon.stop()
            self.setVisible(False)
