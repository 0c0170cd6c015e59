"""What several tests of the window ask."""

from __future__ import annotations

import numpy as np


def spots(dock):
    """The layer of spots, found by what it is."""
    return dock.canvas.layer("spots")


def painted(dock) -> bool:
    """Whether any spot has a colour."""
    layer = spots(dock)
    return layer is not None and bool(np.any(layer.face_color[:, 3] > 0))
