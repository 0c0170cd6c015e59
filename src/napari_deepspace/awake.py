"""While a run works, the computer does not go to sleep by itself: on mains only, and never as a reason to fail. No torch here."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator

import psutil

logger = logging.getLogger(__name__)

LOOK_S = 60.0
"""Seconds between two looks at whether the computer is on mains."""


def on_mains() -> bool:
    """Whether the computer draws its power from a socket; one without a battery does."""
    try:
        battery = psutil.sensors_battery()
    except (AttributeError, OSError, psutil.Error):  # no such sensor on this system
        return True
    return battery is None or battery.power_plugged is not False


@contextlib.contextmanager
def kept_awake() -> Iterator[None]:
    """Keep the computer from going to sleep while the body runs and it is on mains; the screen may go dark.

    A thread asks the system (through wakepy), and lets go when the plug is pulled. Where the system cannot be asked, nothing happens.
    """
    done = threading.Event()
    thread = threading.Thread(target=_keep, args=(done,), name="kept awake", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join(timeout=5)


def _keep(done: threading.Event) -> None:
    try:
        from wakepy import keep

        while not done.is_set():
            if on_mains():
                with keep.running(on_fail="pass") as mode:
                    if not mode.active:
                        logger.debug("this system cannot be kept awake")
                        return
                    while on_mains() and not done.wait(LOOK_S):
                        pass
            else:
                done.wait(LOOK_S)
    except Exception:  # a run must not fail for the want of this
        logger.info("the computer is not kept awake", exc_info=True)
