"""Data sets × methods × seeds, one row per data set and method."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from ..diagnose.judge import Score, reconstruction_errors, score
from ..errors import InputWarning, VermilionError, VermilionWarning
from ..simulate import hyperspectral_scene
from .datasets import DATASETS, Dataset, Scene, load
from .methods import METHODS, ORACLES, Estimate, Task
from .timing import cpu_seconds, nnls_seconds

__all__ = ["Row", "Trial", "run"]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One method on one scene with one seed. Figures are NaN where there is no truth; see `vermilion.diagnose.judge.Score`.

    Parameters
    ----------
    seed : int
    sad, rmse : tuple of float
        Per true endmember, in rad and per cent.
    sad_mean, rmse_total, sre, rmse_renormalized, correlation_mean, reconstruction_rmse, reconstruction_sre : float
    rmse_over_oracle : float
        `rmse_total` over that of the oracle on the same scene; NaN unless the truth is exact.
    matchings_differ : bool
    cpu_seconds : float
    cost : float
        CPU seconds in units of `scipy.optimize.nnls` over all pixels of the same scene.
    notes : tuple of str
        What the method has to say.
    """

    seed: int
    sad: tuple[float, ...] = ()
    rmse: tuple[float, ...] = ()
    sad_mean: float = math.nan
    rmse_total: float = math.nan
    rmse_over_oracle: float = math.nan
    rmse_renormalized: float = math.nan
    sre: float = math.nan
    correlation_mean: float = math.nan
    reconstruction_rmse: float = math.nan
    reconstruction_sre: float = math.nan
    matchings_differ: bool = False
    cpu_seconds: float
    cost: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Row:
    """All seeds of one method on one data set.

    Parameters
    ----------
    dataset : Dataset
    method : str
    trials : tuple of Trial
        Those that ended well.
    failures : tuple of str
        One sentence per seed that failed.
    sha256 : dict
        Checksums of the files.
    """

    dataset: Dataset
    method: str
    trials: tuple[Trial, ...] = ()
    failures: tuple[str, ...] = ()
    sha256: dict[str, str] = field(default_factory=dict)

    def mean(self, figure: str) -> float:
        """Mean over the seeds; NaN without any."""
        return float(np.mean(self._values(figure))) if self.trials else math.nan

    def deviation(self, figure: str) -> float:
        """Standard deviation over the seeds (n - 1); NaN with fewer than two."""
        values = self._values(figure)
        return float(np.std(values, ddof=1)) if len(values) > 1 and np.isfinite(values).all() else math.nan

    def median(self, figure: str) -> float:
        """Median over the seeds; NaN without any."""
        return median(self._values(figure)) if self.trials else math.nan

    def _values(self, figure: str) -> list[float]:
        return [float(getattr(trial, figure)) for trial in self.trials]


def run(
    datasets: Sequence[str],
    methods: Sequence[str],
    *,
    seeds: int = 10,
    data: Path | None = None,
    any_version: bool = False,
    announce: Callable[[str], None] | None = None,
) -> Iterator[Row]:
    """Rows as they are finished: data set by data set, the oracles first, as every other row is compared with them.

    A method that fails gives a row that says so; so does a data set whose files are not there.

    Parameters
    ----------
    datasets, methods : sequence of str
        Keys of `DATASETS` and `METHODS`; the oracles need not be named.
    seeds : int
        How many, from 0: of noise, of simulated scenes and of the methods' own draws.
    data : Path, optional
        Folder with the files.
    any_version : bool
        Take files of another checksum.
    announce : callable, optional
        Told what begins.

    Yields
    ------
    Row
    """
    everything = [*ORACLES, *(method for method in methods if method not in ORACLES)]
    warm: set[str] = set()
    for name in datasets:
        yield from _dataset_rows(DATASETS[name], everything, seeds, data, any_version, announce, warm)


def _dataset_rows(
    dataset: Dataset,
    methods: Sequence[str],
    seeds: int,
    data: Path | None,
    any_version: bool,
    announce: Callable[[str], None] | None,
    warm: set[str],
) -> Iterator[Row]:
    try:
        first = load(dataset.name, data=data, seed=0, any_version=any_version)
    except VermilionError as error:
        for method in methods:
            yield Row(dataset=dataset, method=method, failures=(str(error),))
        return
    references: dict[int, float] = {}  # RMSE of the oracle by seed
    units: dict[int, float] = {}  # CPU seconds of nnls by seed; where nothing changes with the seed those of the first
    for method in methods:
        if method in ORACLES and first.spectra is None:
            continue
        if method not in warm:
            _warm_up(method)
            warm.add(method)
        trials, failures = [], []
        for seed in range(seeds):
            if announce is not None:
                announce(f"{dataset.name}, {method}, seed {seed}")
            scene = first if seed == 0 or not dataset.random else _again(dataset.name, data, seed, any_version)
            kind = seed if dataset.random else 0
            if kind not in units:
                units[kind] = _unit(scene)
            try:
                trial = _trial(method, scene, seed, units[kind], references.get(seed, math.nan))
            except Exception as error:  # whatever it is, the other rows are wanted
                failures.append(f"seed {seed}: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
                continue
            if method == ORACLES[0] and dataset.is_exact:  # elsewhere the oracle is no floor: see the truth
                references[seed] = trial.rmse_total
            trials.append(trial)
        yield Row(dataset=dataset, method=method, trials=tuple(trials), failures=tuple(failures), sha256=dict(first.sha256))


def _warm_up(method: str) -> None:
    """Run a method on a tiny scene, so that imports and compilation are not timed; what fails here fails again where it is told."""
    tiny = hyperspectral_scene(n_endmembers=3, shape=(16, 16), n_bands=30)
    scene = Scene(data=tiny.cube.data.astype(np.float64), spectra=tiny.spectra, n_endmembers=3)
    with suppress(Exception), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        METHODS[method].run(_task(scene, 0))


def _again(name: str, data: Path | None, seed: int, any_version: bool) -> Scene:
    """The scene of another seed; what its files are was said with the first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        return load(name, data=data, seed=seed, any_version=any_version)


def _unit(scene: Scene) -> float:
    """Without a truth the brightest pixels stand for the spectra."""
    Y = scene.data.reshape(len(scene.data), -1)
    A = scene.spectra if scene.spectra is not None else Y[:, np.argsort(np.nansum(Y, axis=0))[-scene.n_endmembers :]]
    return nnls_seconds(Y, A)


def _trial(method: str, scene: Scene, seed: int, unit: float, reference: float) -> Trial:
    task = _task(scene, seed)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        estimate, seconds = cpu_seconds(lambda: METHODS[method].run(task))
    said = tuple(dict.fromkeys(str(one.message) for one in caught if issubclass(one.category, VermilionWarning)))
    figures = _figures(scene, estimate)
    return Trial(
        seed=seed,
        cpu_seconds=seconds,
        cost=seconds / unit,
        notes=(*estimate.notes, *said),
        rmse_over_oracle=_ratio(figures.get("rmse_total", math.nan), reference),
        **figures,
    )


def _task(scene: Scene, seed: int) -> Task:
    """The scene as tensors: missing values are 0 with weight 0."""
    n_bands, n_y, n_x = scene.data.shape
    Y = torch.from_numpy(np.nan_to_num(scene.data.reshape(n_bands, -1), nan=0.0))
    W = None if scene.weights is None else torch.from_numpy(scene.weights.reshape(n_bands, -1))
    A = None if scene.spectra is None else torch.from_numpy(scene.spectra)
    return Task(Y=Y, W=W, n_endmembers=scene.n_endmembers, shape=(n_y, n_x), seed=seed, true_spectra=A, convention=scene.convention)


def _figures(scene: Scene, estimate: Estimate) -> dict[str, Any]:
    A, S, brightness = estimate.spectra, estimate.abundances, estimate.brightness
    if scene.spectra is None or scene.abundances is None:
        rmse, sre = reconstruction_errors(scene.data, A, S, weights=scene.weights, brightness=brightness)
        return {"reconstruction_rmse": rmse, "reconstruction_sre": sre}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)  # a column says it
        found: Score = score(A, S, scene.spectra, scene.abundances, data=scene.data, weights=scene.weights, brightness=brightness)
    return {
        "sad": tuple(map(float, found.sad)),
        "rmse": tuple(map(float, found.rmse)),
        "sad_mean": found.sad_mean,
        "rmse_total": found.rmse_total,
        "rmse_renormalized": found.rmse_renormalized,
        "sre": found.sre,
        "correlation_mean": float(np.mean(found.correlation)),
        "reconstruction_rmse": found.reconstruction_rmse,
        "reconstruction_sre": found.reconstruction_sre,
        "matchings_differ": found.matchings_differ,
    }


def _ratio(value: float, reference: float) -> float:
    return value / reference if reference > 0 else math.nan
