"""``python -m napari_deepspace`` is the command ``napari-deepspace``."""

import sys

from napari_deepspace.cli import main

if __name__ == "__main__":
    sys.exit(main())
