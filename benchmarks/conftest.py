"""Benchmarks share the tests' fixtures."""

from tests.conftest import phantom, phantom_dir  # noqa: F401
