"""What can go wrong, as one small tree.

::

    DeepSpaceError            the user can mend it: what was found, what is needed, what to do
    ├── DataError             an input file or folder: matrix, positions, image, project
    ├── SettingsError         a value in RUN.yaml, a form or an option; an unknown gene
    ├── TrainingError         training cannot start or go on: no spot left, no weights, no memory
    ├── ModelError            a model or result file that cannot be used
    ├── AlignmentFailed       two slides that could not be laid over one another by themselves
    └── RunPaused             no failure: a run was set aside as somebody asked, and can be resumed

The dock shows the sentence; the command line prints ``error: ...`` and exits with 2.
Any other exception is a bug of this program and keeps its traceback.
"""

import re


class DeepSpaceError(Exception):
    """Base of every error that the user can mend."""


class DataError(DeepSpaceError):
    """An input cannot be read or does not fit."""


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
