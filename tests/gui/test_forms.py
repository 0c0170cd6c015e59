"""Forms made from settings models."""

from __future__ import annotations

import pytest

from napari_deepspace.errors import SettingsError
from napari_deepspace.settings import BACKBONES, GeneSettings, NetworkSettings, QuickSettings, SplitSettings, TileSettings


@pytest.mark.parametrize(
    "value",
    [
        QuickSettings(),
        NetworkSettings(),
        TileSettings(),
        SplitSettings(guard_um=120),
        NetworkSettings(learning_rate=2e-5, augment=("flip", "blur"), context=3.0),
    ],
)
def test_a_form_gives_back_what_it_was_given(qtbot, value):
    """Every kind of field survives the way into the form and out again, and carries its description."""
    from napari_deepspace._napari.forms import Form

    form = Form(type(value)())
    qtbot.addWidget(form)
    form.setValue(value)
    assert form.value() == value
    for name, field in form.fields.items():
        assert field.toolTip() == type(value).model_fields[name].description


def test_an_edit_changes_the_value_and_is_told(qtbot):
    """Editing one field gives a new value and one signal; fields edited elsewhere keep theirs."""
    from napari_deepspace._napari.forms import Form

    form = Form(GeneSettings(names=("ESR1",)), exclude=("names",))
    qtbot.addWidget(form)
    with qtbot.waitSignal(form.valueChanged):
        form.fields["min_detected"].setValue(0.2)
    assert form.value() == GeneSettings(names=("ESR1",), min_detected=0.2)


def test_a_wrong_entry_is_refused_in_words(qtbot):
    """What the model refuses becomes one sentence that names the field."""
    from napari_deepspace._napari.forms import Form

    form = Form(SplitSettings())
    qtbot.addWidget(form)
    form.fields["guard_um"].setText("wide")
    with pytest.raises(SettingsError, match="guard_um"):
        form.value()


def test_a_field_with_known_names_takes_others_too(qtbot):
    """The backbone is chosen from a list or typed; a name that nothing knows is refused in words."""
    from napari_deepspace._napari.forms import Form

    form = Form(NetworkSettings())
    qtbot.addWidget(form)
    box = form.fields["backbone"]
    assert [box.itemText(number) for number in range(box.count())] == list(BACKBONES)
    box.setEditText("timm/resnet10t")
    assert form.value().backbone == "timm/resnet10t"
    assert box.count() == len(BACKBONES)
    box.setEditText("vgg17")
    with pytest.raises(SettingsError, match="unknown backbone"):
        form.value()


def test_augmentation_is_ticked(qtbot):
    """Some of a few names are boxes to tick; the value keeps the order in which they are applied."""
    from napari_deepspace._napari.forms import Form

    form = Form(NetworkSettings(augment=("flip",)))
    qtbot.addWidget(form)
    with qtbot.waitSignal(form.valueChanged):
        form.fields["augment"].boxes["noise"].click()
    form.fields["augment"].boxes["crop"].click()
    assert form.value().augment == ("flip", "crop", "noise")


def test_an_empty_field_says_what_it_stands_for(qtbot):
    """What is found out when a field is left empty stands there in grey."""
    from napari_deepspace._napari.forms import Form

    form = Form(SplitSettings())
    qtbot.addWidget(form)
    assert form.fields["guard_um"].placeholderText() == "one tile width"
    assert form.value().guard_um is None
