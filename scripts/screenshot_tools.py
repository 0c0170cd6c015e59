"""What the scripts that make screenshots share."""

from __future__ import annotations

import time
from collections.abc import Callable

from qtpy.QtWidgets import QApplication


def wait(condition: Callable[[], bool], seconds: float = 900) -> None:
    """Let the window work until ``condition()`` holds; TimeoutError after ``seconds``."""
    end = time.monotonic() + seconds
    while not condition():
        QApplication.processEvents()
        time.sleep(0.01)
        if time.monotonic() > end:
            raise TimeoutError("waited in vain")
