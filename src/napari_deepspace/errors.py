"""What can go wrong, as one small tree.

::

    DeepSpaceError            the user can mend it: what was found, what is needed, what to do
    ├── DataError             an input file or folder: matrix, positions, image, project
    │   └── TableUnclear      a plain table of which somebody has to say what its columns are
    ├── SettingsError         a value in RUN.yaml, a form or an option; an unknown gene
    ├── TrainingError         training cannot start or go on: no spot left, no weights, no memory
    ├── ModelError            a model or result file that cannot be used
    ├── AlignmentFailed       two slides that could not be laid over one another by themselves
    └── RunPaused             no failure: a run was set aside as somebody asked, and can be resumed

The dock shows the sentence; the command line prints ``error: ...`` and exits with 2.
Any other exception is a bug of this program and keeps its traceback.
"""

from __future__ import annotations

import re
from pathlib import Path


class DeepSpaceError(Exception):
    """Base of every error that the user can mend."""


class DataError(DeepSpaceError):
    """An input cannot be read or does not fit."""


class TableUnclear(DataError):  # noqa: N818 - it is a question
    """A plain table that opens once somebody says which column is what (``read_section(columns=...)``), or how many um a px is (``mpp``).

    ``path`` is the table or its folder; ``needs_scale`` says that um per px is missing, not the columns.
    """

    def __init__(self, words: str, path: Path, needs_scale: bool = False):
        super().__init__(words)
        self.path, self.needs_scale = path, needs_scale


class SettingsError(DeepSpaceError):
    """A setting is unknown, of the wrong kind or out of range."""


class TrainingError(DeepSpaceError):
    """Training cannot start or cannot go on."""


class ModelError(DeepSpaceError):
    """A model folder or a result file cannot be used."""


class AlignmentFailed(DeepSpaceError):  # noqa: N818 - the word that users read
    """Two slides could not be laid over one another, or not so that it could be relied on."""


class RunPaused(DeepSpaceError):  # noqa: N818 - no error
    """A run was set aside at its checkpoint."""


def in_window(error: Exception) -> str:
    """What an error says, without the options of commands that it names in brackets: "Name one (--gene)." is "Name one." where there is a window."""
    return re.sub(r" \([^()]*--[a-z][^()]*\)", "", str(error))
