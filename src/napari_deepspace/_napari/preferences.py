"""What the user prefers: keys, colour map, spot size. The fields stand in ``napari.yaml`` for napari's Preferences; a dock reads them as it opens."""

from __future__ import annotations

from typing import Any

from napari.settings import get_plugin_settings
from napari.utils.key_bindings import coerce_keybinding

from napari_deepspace.colour_scale import ColourScale

PLUGIN = "napari-deepspace"


def preferred_look() -> dict[str, Any]:
    """Fields of the session that begin as the user prefers them; none where napari does not know the plugin."""
    settings = _settings()
    return {} if settings is None else {"scale": ColourScale(map=settings.look.colour_map), "spot_percent": settings.look.spot_size}


def preferred_author() -> str:
    """The name that outlines are signed with; "" for the computer's own name of the user."""
    settings = _settings()
    return "" if settings is None else str(settings.outlines.author).strip()


def keep_author(name: str) -> None:
    """Sign with ``name`` from now on, the next time too."""
    settings = _settings()
    if settings is not None:
        settings.outlines.author = name


def preferred_keys(usual: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """The key of each action of ``usual``, without those that shall have none, and one sentence for each wish that cannot be met.

    The usual key takes the place of one that is no key, or that another action has.
    """
    settings = _settings()
    wishes = {name: str(getattr(settings.keys, name, key)).strip() for name, key in usual.items()} if settings is not None else usual
    found: dict[str, str] = {}
    told = []
    for name, wish in wishes.items():
        taken = {key_name(key): other for other, key in found.items()}
        known = key_name(wish)
        if known and known not in taken:
            found[name] = wish
        elif wish:
            why = f"{taken[known]} has it" if known else "it is no key"
            free = key_name(usual[name]) not in taken
            instead = f"{usual[name]} stays" if free else "it has none now"
            told.append(f"The key {wish} cannot be used for {name} ({why}): {instead}. Write it as Shift-C or Control-Alt-G in Preferences.")
            if free:
                found[name] = usual[name]
    return found, told


def key_name(text: str) -> str:
    """The key as napari names it in its keymaps, "" for what is none."""
    try:
        key = coerce_keybinding(text)
    except (ValueError, KeyError, TypeError):
        return ""
    alone = ("unknown", "Shift", "Ctrl", "Alt", "Meta")
    return str(key) if len(key.parts) == 1 and str(key.part0.key) not in alone else ""


def _settings() -> Any:
    try:
        return get_plugin_settings(PLUGIN)
    except KeyError:  # a dock that was made without napari's list of plugins
        return None
