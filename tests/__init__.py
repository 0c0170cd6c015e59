"""A package, so that ``tests.conftest`` is this one: torchstain's wheel brings a package of the same name along."""
