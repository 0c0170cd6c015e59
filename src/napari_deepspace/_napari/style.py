"""How the dock looks, in napari's dark and light themes: one style sheet from the theme's own colours."""

from __future__ import annotations

from dataclasses import dataclass

from napari.utils.theme import get_theme


@dataclass(frozen=True)
class Palette:
    """The colours the dock needs beyond napari's own style sheet, as ``#rrggbb``."""

    dark: bool
    text: str
    dim: str
    background: str
    raised: str
    line: str
    accent: str
    error: str
    warning: str


def palette(theme_name: str = "dark") -> Palette:
    """The palette of one of napari's themes."""
    theme = get_theme(theme_name)
    dark = theme.type == "dark"
    return Palette(
        dark=dark,
        text=theme.text.as_hex("long"),
        dim="#a9adb5" if dark else "#5c5c60",
        background=theme.background.as_hex("long"),
        raised=theme.foreground.as_hex("long"),
        line=theme.primary.as_hex("long"),
        accent="#6f9bff" if dark else "#2257c4",
        error="#ff8a80" if dark else "#b3151f",
        warning="#f2c14e" if dark else "#8a5a00",
    )


def style_sheet(p: Palette) -> str:
    """Rules for the dock's own widgets; everything else is napari's."""
    return f"""
    QLabel[dim="true"] {{ color: {p.dim}; }}
    QLabel#badge {{ background: {p.warning}; color: {"#1b1b1b" if p.dark else "#ffffff"}; border-radius: 3px; padding: 1px 6px; font-weight: bold; }}
    QLabel#drop {{ border: 1px dashed {p.dim}; border-radius: 5px; padding: 10px; color: {p.dim}; }}
    QLabel#drop[over="true"] {{ border-color: {p.accent}; color: {p.accent}; }}
    QLabel#status[level="error"] {{ color: {p.error}; font-weight: bold; }}
    QLabel#status[level="warning"] {{ color: {p.warning}; }}
    QLabel#doubt {{ color: {p.warning}; }}
    QLabel#result {{ background: {p.raised}; border-left: 3px solid {p.accent}; padding: 5px 7px; }}
    QWidget#offer {{ background: {p.raised}; border-left: 3px solid {p.warning}; }}
    QListView#runs {{ background: {p.raised}; border: 1px solid {p.line}; border-radius: 3px; }}
    QToolButton#stepHeader {{ font-weight: bold; text-align: left; padding: 4px 2px; border: none; border-radius: 3px; background: {p.raised}; }}
    QToolButton#stepHeader:hover {{ background: {p.line}; }}
    QToolButton#advancedHeader {{ border: none; padding: 2px 0; color: {p.dim}; background: transparent; }}
    QToolButton#copy {{ background: transparent; border: 1px solid {p.line}; border-radius: 3px; padding: 2px 14px 2px 5px; color: {p.dim}; }}
    QToolButton#copy:hover {{ color: {p.text}; background: {p.raised}; }}
    QPushButton#main {{ background: {p.accent}; color: {"#10131a" if p.dark else "#ffffff"}; font-weight: bold; padding: 5px 12px; }}
    QPushButton#main:disabled {{ background: {p.line}; color: {p.dim}; }}
    QAbstractSpinBox#threshold {{ min-width: 92px; max-width: 92px; }}
    QToolButton#more {{ padding: 3px 6px; background: {p.raised}; border-radius: 2px; }}
    QToolButton#more::menu-indicator {{ image: none; }}
    QToolButton#star {{ font-size: 16px; padding: 1px 4px; }}
    QToolButton#star:checked {{ color: {p.warning}; background: transparent; }}
    QPushButton#segment {{ padding: 4px 2px; border-radius: 2px; }}
    QPushButton#segment:checked {{ background: {p.accent}; color: {"#10131a" if p.dark else "#ffffff"}; }}
    QPushButton#segment:disabled {{ color: {p.dim}; background: {p.raised}; }}
    QProgressBar {{ background: {p.line}; border: none; border-radius: 4px; }}
    QProgressBar::chunk {{ background: {p.accent}; border-radius: 4px; }}
    QListWidget#chips {{ background: transparent; border: 1px solid {p.line}; border-radius: 3px; }}
    QListWidget#chips::item {{ background: {p.line}; color: {p.text}; border-radius: 7px; padding: 1px 6px; margin: 0px; }}
    QListWidget#chips::item:hover {{ background: {p.accent}; color: {"#10131a" if p.dark else "#ffffff"}; }}
    """
