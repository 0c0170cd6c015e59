"""What a parameter search tries: SEARCH.yaml, its check before anything is trained, and the settings of the next trial.

Which settings come next depends on the space, the seed, the trial's number and the results so far, and on nothing else: a search that was killed
goes on with the same trials as one that never was.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from napari_deepspace.errors import SettingsError
from napari_deepspace.settings import RunSettings, load_run_settings, place_sections, put_value, run_settings, set_value

NOT_SEARCHED = ("name", "sections", "split", "seed", "target", "threads", "checkpoint_minutes", "tensorboard")
"""They say what the score means or how luck falls; settings chosen by them would be no better ones. Of the target only its weighting is searched."""
SEARCHED_ALL_THE_SAME = ("target.weighted",)

EXAMPLE = """\
# A parameter search of napari-deepspace. Start it with: napari-deepspace search THIS_FILE
# Research use only.
run: RUN.yaml  # what every trial has in common: the path of a RUN.yaml (napari-deepspace train --init RUN.yaml), or its settings here
method: optuna  # optuna: each trial where the ones before it point to (extra [search]); grid: every combination
trials: 40  # how many trials; empty with grid: all combinations
seed: 0  # seed of the choice of trials
keep_models: best  # best: only the best trial keeps its weights (VGG16: half a gigabyte a fold); all; predictions and scores always stay
space:  # the paper's search; keys as in --set, values as a list, or as low and high
  tile.extra_percent: [0, 50, 100, 150, 200]  # size of the tile beyond the spot
  filter.white_percentile: [50, 60, 70, 80, 90, 100]  # changes which spots train and are scored: compare n too
  model.augment: [[], [flip], [flip, crop], [flip, crop, color, random]]
  model.learning_rate: {low: 1.0e-5, high: 1.0e-3, log: true}  # steps: 5 makes a range a list, which grid needs
  model.weight_decay: {low: 1.0e-6, high: 1.0e-2, log: true}
  model.backbone: [vgg16, densenet121, resnet18]
"""


class Range(BaseModel):
    """Numbers from ``low`` to ``high``, both included; whole numbers if both are."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    low: int | float = Field(description="least value")
    high: int | float = Field(description="largest value")
    log: bool = Field(False, description="try orders of magnitude equally often; low must be above 0")
    steps: int | None = Field(None, ge=2, description="so many evenly spaced values, as a list would give them; needed by grid")

    @model_validator(mode="after")
    def _ordered(self) -> Range:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise ValueError("low must be less than high" + (", and above 0 with log" if self.log else ""))
        return self

    def values(self) -> list[int | float]:
        """The ``steps`` values."""
        spaced = (np.geomspace if self.log else np.linspace)(self.low, self.high, self.steps or 2)
        whole = isinstance(self.low, int) and isinstance(self.high, int)
        return list(dict.fromkeys(round(value) if whole else float(f"{value:.6g}") for value in spaced.tolist()))


class SearchSettings(BaseModel):
    """What a search tries, and how many trials it may take."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    space: dict[str, list[Any] | Range] = Field(min_length=1, description="values to try by setting, keys in the notation of --set")
    method: Literal["grid", "optuna"] = Field("grid", description="grid: every combination; optuna: each trial where those before it point to")
    trials: int | None = Field(None, ge=1, description="how many trials; empty with grid: every combination; else that many, drawn by the seed")
    seed: int = Field(0, ge=0, description="seed of the choice of trials")
    keep_models: Literal["best", "all"] = Field("best", description="which trials keep their weights; predictions and scores always stay")

    @model_validator(mode="after")
    def _complete(self) -> SearchSettings:
        for key, values in self.space.items():
            if values == []:
                raise ValueError(f"{key} has no value to try")
            if self.method == "grid" and isinstance(values, Range) and values.steps is None:
                raise ValueError(f"{key}: a grid needs a list of values, or a range with steps")
        if self.method == "optuna" and self.trials is None:
            raise ValueError("optuna needs a number of trials (trials)")
        return self


def load_search(path: Path, overrides: Sequence[str] = ()) -> tuple[RunSettings, SearchSettings]:
    """Read SEARCH.yaml: what all trials have in common, and what is searched. ``overrides`` (``key.sub=value``) change the former.

    Raises
    ------
    SettingsError
        The file, the RUN.yaml it names, or a setting in one of them cannot be used.
    """
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise SettingsError(f"{path} cannot be read ({error}). Write one with `napari-deepspace search --init SEARCH.yaml`.") from error
    settings = run_within(values.pop("run", None) if isinstance(values, dict) else None, path, overrides)
    return settings, search_settings(values, settings, str(path))


def run_within(run: Any, path: Path, overrides: Sequence[str]) -> RunSettings:
    """The run that a file of another kind at ``path`` names or holds; raises SettingsError where it does neither."""
    if isinstance(run, str):
        return load_run_settings(Path(path).resolve().parent / run, tuple(overrides))
    if not isinstance(run, dict):
        raise SettingsError(f"{path} names no run. Give `run:` the path of a RUN.yaml, or the settings themselves.")
    for override in overrides:
        set_value(run, override)
    place_sections(run, Path(path).resolve().parent)
    return run_settings(run, str(path))


def search_settings(values: dict[str, Any], run: RunSettings, where: str = "search") -> SearchSettings:
    """Validate plain ``values``, and every value of the space within ``run``; raises SettingsError with one sentence."""
    try:
        search = SearchSettings.model_validate(values)
    except ValidationError as error:
        problem = error.errors()[-1]  # of a value that is neither list nor range, the word on the range
        found = f"{'.'.join(str(part) for part in problem['loc']) or 'value'}: {problem['msg']}"
        raise SettingsError(f"{where}: {found}. Compare it with the one that `napari-deepspace search --init SEARCH.yaml` writes.") from error
    space = {key: _checked(run, key, values) for key, values in search.space.items()}
    return search.model_copy(update={"space": space})


def _checked(run: RunSettings, key: str, values: list[Any] | Range) -> list[Any] | Range:
    """``values`` as the settings have them; a list without what is the same twice."""
    if key.split(".", maxsplit=1)[0] in NOT_SEARCHED and key not in SEARCHED_ALL_THE_SAME:
        raise SettingsError(f"{key} cannot be searched: it says what the score means, or is a matter of luck or of this computer. Leave it out.")
    if isinstance(values, Range):
        for value in (values.low, values.high, *(values.values() if values.steps else ())):
            with_overrides(run, {key: value})
        return values
    plain = [value_at(with_overrides(run, {key: value}), key) for value in values]
    return [value for number, value in enumerate(plain) if value not in plain[:number]]


def with_overrides(run: RunSettings, overrides: dict[str, Any]) -> RunSettings:
    """``run`` with some settings changed; raises SettingsError where there is no such setting or it cannot have that value."""
    values = run.model_dump(mode="json")
    for key, value in overrides.items():
        try:
            put_value(values, key, value)
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise SettingsError(f"{key} is no setting of this run. `napari-deepspace train --init RUN.yaml` lists them all.") from error
    return run_settings(values, "; ".join(f"{key} = {json.dumps(value)}" for key, value in overrides.items()))


def value_at(run: RunSettings, key: str) -> Any:
    """The setting ``key`` (``model.learning_rate``) of ``run``, as JSON has it; raises KeyError where the run has no such setting."""
    at: Any = run.model_dump(mode="json")
    for part in key.split("."):
        at = at[int(part)] if isinstance(at, list) else at[part]
    return at


def search_values(run: RunSettings, search: SearchSettings) -> dict[str, Any]:
    """Both as plain values, of which SEARCH.yaml is made; :func:`load_search` reads them."""
    return {"run": run.model_dump(mode="json"), **search.model_dump(mode="json")}


def tried_values(values: list[Any] | Range) -> list[Any] | None:
    """The values of one parameter where they can be counted; None for a range without steps."""
    if isinstance(values, Range):
        return list(values.values()) if values.steps else None
    return values


def number_of_trials(search: SearchSettings) -> int:
    """How many trials the search takes at most."""
    if search.method == "optuna":
        return search.trials or 0
    combinations = math.prod(len(tried_values(values) or ()) for values in search.space.values())
    return min(search.trials or combinations, combinations)


def propose(search: SearchSettings, number: int, results: Sequence[tuple[dict[str, Any], float]]) -> dict[str, Any]:
    """What trial ``number`` (from 1) changes; ``results`` are (changes, score) of the trials before it, those that failed left out.

    Raises
    ------
    SettingsError
        optuna is asked for and not installed.
    """
    if search.method == "optuna":
        return _optuna(search, number, results)
    lists = {key: tried_values(values) or [] for key, values in search.space.items()}
    at = number - 1
    if search.trials is not None:  # a part of the combinations, the first of a fixed shuffled order, so that a search can be made longer
        at = int(np.random.default_rng(search.seed).permutation(math.prod(map(len, lists.values())))[at])
    return dict(zip(lists, next(itertools.islice(itertools.product(*lists.values()), at, None)), strict=True))


def _optuna(search: SearchSettings, number: int, results: Sequence[tuple[dict[str, Any], float]]) -> dict[str, Any]:
    """One suggestion of Optuna's TPE sampler (Bergstra and others 2011) by a study made anew, so that nothing but ``results`` is remembered."""
    try:
        import optuna
    except ImportError as error:
        raise SettingsError('optuna is not installed. Install it with pip install "napari-deepspace[search]", or set method: grid.') from error
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    space: dict[str, BaseDistribution] = {}
    for key, values in search.space.items():
        listed = tried_values(values)
        if listed is not None:
            space[key] = CategoricalDistribution([json.dumps(value) for value in listed])  # Optuna's choices are no lists
        elif isinstance(values, Range):
            whole = isinstance(values.low, int) and isinstance(values.high, int)
            kind = IntDistribution if whole else FloatDistribution
            space[key] = kind(values.low, values.high, log=values.log)  # type: ignore[arg-type]
    seed = int(np.random.SeedSequence((search.seed, number)).generate_state(1)[0])
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed))
    for changes, score in results:
        params = {key: json.dumps(changes[key]) if isinstance(space[key], CategoricalDistribution) else changes[key] for key in space}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=space, value=score))
    asked = study.ask(space).params
    return {key: json.loads(value) if isinstance(space[key], CategoricalDistribution) else value for key, value in asked.items()}
