"""A form from a settings model: one row a field, its description as tooltip; ``value()`` gives a validated model back."""

from __future__ import annotations

import types
from collections.abc import Iterable
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QAbstractSpinBox, QCheckBox, QComboBox, QDoubleSpinBox, QFormLayout, QLabel, QLineEdit, QSpinBox, QWidget

from napari_deepspace.settings import settings_error

_LARGE = 1_000_000_000


class Form(QWidget):
    """Editable fields of a frozen pydantic model.

    ``exclude`` names fields that are edited elsewhere: they keep the value last set.
    """

    valueChanged = Signal()  # noqa: N815 - named as in Qt

    def __init__(self, value: BaseModel, exclude: Iterable[str] = ()):
        super().__init__()
        self._value = value
        self.fields: dict[str, QWidget] = {}
        layout = QFormLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        for name, info in type(value).model_fields.items():
            if name in exclude or _is_constant(info):
                continue
            widget = _widget(info)
            widget.setToolTip(info.description or "")
            caption = QLabel(name.replace("_", " "))
            caption.setToolTip(info.description or "")
            layout.addRow(caption, widget)
            self.fields[name] = widget
            _changed(widget).connect(lambda *_: self.valueChanged.emit())
        self.setValue(value)

    def value(self) -> Any:
        """The model as edited.

        Raises
        ------
        SettingsError
            A field holds something that the model refuses.
        """
        values = self._value.model_dump() | {name: _get(widget) for name, widget in self.fields.items()}
        try:
            return type(self._value).model_validate(values)
        except ValidationError as error:
            raise settings_error(error, "Advanced settings") from error

    def setValue(self, value: BaseModel) -> None:
        """Show ``value``; emits ``valueChanged`` once."""
        self._value = value
        blocked = self.blockSignals(True)
        for name, widget in self.fields.items():
            _set(widget, getattr(value, name))
        self.blockSignals(blocked)
        self.valueChanged.emit()


def _is_constant(info: FieldInfo) -> bool:
    return get_origin(info.annotation) is Literal and len(get_args(info.annotation)) == 1


def _optional(annotation: Any) -> Any:
    """The type inside ``X | None``, else None."""
    if get_origin(annotation) in (Union, types.UnionType) and type(None) in get_args(annotation):
        return next(kind for kind in get_args(annotation) if kind is not type(None))
    return None


def _widget(info: FieldInfo) -> QWidget:
    kind = info.annotation
    if get_origin(kind) is Literal:
        box = QComboBox()
        box.addItems([str(option) for option in get_args(kind)])
        return box
    if kind is bool:
        return QCheckBox()
    if kind is int or kind is float:
        return _spin_box(info, integer=kind is int)
    field = QLineEdit()
    if _optional(kind) is not None:
        field.setPlaceholderText("automatic")
    field.setProperty("list", get_origin(kind) is tuple)
    return field


def _spin_box(info: FieldInfo, *, integer: bool) -> QSpinBox | QDoubleSpinBox:
    low, high = 0.0, float(_LARGE)
    for limit in info.metadata:
        low = float(getattr(limit, "ge", getattr(limit, "gt", low)))
        high = float(getattr(limit, "le", getattr(limit, "lt", high)))
    box: QSpinBox | QDoubleSpinBox
    if integer:
        box = QSpinBox()
        box.setRange(int(low), int(high))
    else:
        box = QDoubleSpinBox()
        box.setDecimals(6 if isinstance(info.default, float) and 0 < info.default < 0.01 else 2)
        box.setRange(low, high)
    box.setStepType(QAbstractSpinBox.StepType.AdaptiveDecimalStepType)
    box.setMinimumWidth(90)
    return box


def _changed(widget: QWidget) -> Any:
    if isinstance(widget, QComboBox):
        return widget.currentTextChanged
    if isinstance(widget, QCheckBox):
        return widget.toggled
    return widget.editingFinished if isinstance(widget, QLineEdit) else widget.valueChanged  # type: ignore[attr-defined]


def _get(widget: QWidget) -> Any:
    if isinstance(widget, QComboBox):
        return widget.currentText()
    if isinstance(widget, QCheckBox):
        return widget.isChecked()
    if isinstance(widget, QLineEdit):
        text = widget.text().strip()
        if widget.property("list"):
            return tuple(part.strip() for part in text.split(",") if part.strip())
        return text or None
    return widget.value()  # type: ignore[attr-defined]


def _set(widget: QWidget, value: Any) -> None:
    if isinstance(widget, QComboBox):
        widget.setCurrentText(str(value))
    elif isinstance(widget, QCheckBox):
        widget.setChecked(bool(value))
    elif isinstance(widget, QLineEdit):
        if isinstance(value, tuple):
            widget.setText(", ".join(f"{item:g}" if isinstance(item, float) else str(item) for item in value))
        else:
            widget.setText("" if value is None else str(value))
    else:
        widget.setValue(value)  # type: ignore[attr-defined]
