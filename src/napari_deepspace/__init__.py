"""Predict spatial gene expression from H&E slides: the method of DeepSpaCE, in Python and in napari. Research use only.

``import napari_deepspace`` loads neither torch nor Qt; each public name is imported when it is first used (PEP 562).
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_WHERE = {
    "DeepSpaceError": "errors",
    "FigureSettings": "figure_settings",
    "RunSettings": "settings",
    "SearchSettings": "search_settings",
    "SectionSettings": "settings",
    "Section": "section",
    "Slide": "slide",
    "StudentsSettings": "students_settings",
    "TrainedModel": "learn.model",
    "evaluate": "analyse.evaluate",
    "fit": "blocking",
    "load_model": "learn.model",
    "make_phantom": "phantom",
    "open_slide": "slide",
    "predict": "blocking",
    "predict_denser": "blocking",
    "preprocess_section": "blocking",
    "read_section": "read",
    "run_search": "search",
    "run_students": "students",
    "save_figure": "blocking",
}
__all__ = [  # noqa: PLE0604
    "__version__",
    *sorted(_WHERE),
]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
