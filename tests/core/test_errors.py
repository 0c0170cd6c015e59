"""What an error says in the window and on the command line."""

import pytest

from napari_deepspace.errors import DataError, in_window


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("A figure shows one gene. Name it (--gene).", "A figure shows one gene. Name it."),
        ("Describe them by class (--by class), or give fewer (12).", "Describe them by class, or give fewer (12)."),
        ("No scale. Give um per px (--moving-mpp).", "No scale. Give um per px."),
        ("It has 3 outlines (2 of one class).", "It has 3 outlines (2 of one class)."),
    ],
)
def test_the_window_names_no_option_of_a_command(said, shown):
    """Options stand in brackets, and go with them; other brackets stay."""
    assert in_window(DataError(said)) == shown
