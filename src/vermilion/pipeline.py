"""A cube in, components out: what the command line and a notebook both call."""

from __future__ import annotations

import logging
import numbers
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from .datamodels import Cube, Frame, Matrix, Result, Status
from .diagnose.correlated_sums import CorrelationKernel
from .diagnose.expected_counts import expected_counts
from .diagnose.uncertainty import morphology_noise_factors, spectra_noise_factors
from .errors import NoDataError, ParameterError, ShapeError
from .factorize import factorize
from .initialize import weighted_subspace
from .io.writers import OutputFolder, write_products
from .io.writers.hyperspectral import hyperspectral_products
from .plot import save_figures
from .prox import Chain, MaxEntropy, NonNegative, Prox, Soft
from .rank import stability

__all__ = ["separate", "write"]

log = logging.getLogger(__name__)

AUTO_STARTS = 5
AUTO_STARTS_UP_TO = 5_000_000  # voxels times components: beyond, other starts would take minutes that nobody asked for


def separate(
    cube: Cube,
    *,
    n_components: int,
    spectra: Prox | Callable[..., Any] | None = NonNegative(),  # noqa: B008 (operators are immutable)
    morphologies: Prox | Callable[..., Any] | None = NonNegative(),  # noqa: B008
    entropy: float | None = None,
    sparsity: float | None = None,
    fixed_spectra: Mapping[int, ArrayLike] | None = None,
    fixed_morphologies: Mapping[int, ArrayLike] | None = None,
    starts: int | Literal["auto"] = "auto",
    announce: Callable[[str], Any] | None = None,
    **options: Any,
) -> Result:
    """Spectra and maps of the components of a cube.

    Parameters
    ----------
    cube : Cube
        Its weights, mask and coordinates are honored.
    n_components : int
        K.
    spectra, morphologies : Prox, callable or None
        Constraints on A (B, K) and S (K, N), as in `factorize`.
    entropy : float, optional
        Strength α of the relative entropy ``α Σ [s/m ln(s/m) − s/m + 1]`` of the maps; m is the mean flux of a pixel per component.
        Both α and the result do not depend on the unit of the data. Replaces `morphologies`.
    sparsity : float, optional
        Strength λ of ``λ Σ s/m`` on non-negative maps. Replaces `morphologies`.
    fixed_spectra : mapping of int to array_like (B,), optional
        Known spectra by component. Values in bands without data are not used and may be NaN.
    fixed_morphologies : mapping of int to array_like (Ny, Nx), optional
        Known maps by component.
    starts : int or "auto"
        Number of random starts whose spectra are compared with the result; where they differ by more than 0.03 rad the result says
        "not unique". "auto": 5 for cubes where this takes seconds, else 0.
    announce : callable, optional
        Called with a few words when another stage begins, for those who show progress.
    **options
        As in `factorize`: init, solver, max_iter, tol, seed, dtype, device, callbacks, allow_inexact.

    Returns
    -------
    Result
        Spectra are NaN in bands without weight, maps (K, Ny, Nx) NaN in pixels without weight.

    Raises
    ------
    ParameterError, ShapeError, NoDataError, DeviceError
        As `factorize`.
    """
    cube = _weighed_counts(cube)
    matrix = cube.to_matrix()
    if matrix.data.size == 0:
        raise NoDataError("no value of the cube has a positive weight: nothing to separate.")
    # without variances the noise comes from the residuals, and what is absent is NaN
    data, weights = (
        (matrix.data, matrix.weights) if cube.variance is not None else (np.where(matrix.weights > 0, matrix.data, np.nan), None)
    )
    dead = np.asarray(~(matrix.weights > 0).any(axis=1))
    options |= {
        "n_components": n_components,
        "spectra": spectra,
        "morphologies": _morphologies(matrix, morphologies, entropy, sparsity, n_components, known_noise=cube.variance is not None),
        "fixed_spectra": {k: _live(dead, v) for k, v in (fixed_spectra or {}).items()},
        "fixed_morphologies": {k: _kept(matrix.frame, np.asarray(v)) for k, v in (fixed_morphologies or {}).items()},
    }
    result = factorize(data, weights, **options)
    result = _uniqueness(result, data, weights, starts, options, announce)
    result = _correlated_errors(result, matrix)
    return _on_the_sky(result, matrix.frame, dead)


def _weighed_counts(cube: Cube) -> Cube:
    """A cube of counts with the variances that are to be expected of them; any other as it is."""
    if cube.meta.get("likelihood") != "poisson" or cube.variance is not None:
        return cube
    variance = expected_counts(cube.data, cube.meta.get("exposure"), cube.weights > 0)
    log.info("counts: weights are the inverse of the counts expected from the pixels around each")
    return replace(cube, variance=variance)


def _morphologies(matrix: Matrix, prox: Any, entropy: float | None, sparsity: float | None, n_components: int, *, known_noise: bool) -> Any:
    """The constraint on the maps, with dimensionless strengths turned into the unit of the data."""
    if entropy is None and sparsity is None:
        return prox
    if entropy is not None and sparsity is not None:
        raise ParameterError("entropy and sparsity pull in opposite directions: give one of them.")
    name, strength = ("entropy", entropy) if entropy is not None else ("sparsity", sparsity)
    if not isinstance(n_components, numbers.Integral) or n_components < 1:
        return prox  # factorize says what is wrong with it
    if strength is None or not (np.isfinite(strength) and strength > 0):
        raise ParameterError(f"{name} is {strength!r}: expected a finite number > 0.")
    level = float(np.abs(matrix.data.sum(axis=0, dtype=np.float64)).mean()) / n_components
    if level == 0:
        raise NoDataError("the data sum to zero in every pixel: no flux to measure the maps against.")
    if not known_noise:  # the loss is in the square of the data's unit: bring the penalty to the same footing
        rank = min(n_components, *matrix.data.shape)
        weights = None if (matrix.weights > 0).all() else torch.from_numpy(matrix.weights.astype(np.float64))
        strength *= weighted_subspace(torch.from_numpy(matrix.data.astype(np.float64)), weights, rank).noise ** 2
    if entropy is not None:
        return MaxEntropy(strength / level, prior=level)
    return Chain(Soft(strength / level), NonNegative())


def _live(dead: NDArray[np.bool_], spectrum: ArrayLike) -> NDArray[np.float64]:
    """A known spectrum with 0 in bands without data; `factorize` judges its shape."""
    spectrum = np.asarray(spectrum, dtype=np.float64)
    return np.where(dead, 0.0, spectrum) if spectrum.shape == dead.shape else spectrum


def _kept(frame: Frame, image: NDArray[Any]) -> NDArray[np.float64]:
    """The kept pixels of a known map; what is not finite counts as zero."""
    if image.shape != frame.shape:
        raise ShapeError(f"a fixed morphology has shape {image.shape}: expected the image plane {frame.shape}.")
    return np.nan_to_num(frame.to_pixels(image.astype(np.float64)))


def _uniqueness(
    result: Result,
    Y: NDArray[Any],
    W: NDArray[Any] | None,
    starts: int | str,
    options: dict[str, Any],
    announce: Callable[[str], Any] | None,
) -> Result:
    """The result with what other starts have to say about it."""
    if starts == "auto":
        n_starts = AUTO_STARTS if Y.size * result.n_components <= AUTO_STARTS_UP_TO else 0
    elif isinstance(starts, int) and not isinstance(starts, bool) and starts >= 0:
        n_starts = starts
    else:
        raise ParameterError(f"starts is {starts!r}: expected 'auto' or an integer >= 0.")
    if options.get("solver") == "proxmin" or result.status is Status.STOPPED:
        n_starts = 0
    if n_starts == 0:
        return replace(result, provenance={**result.provenance, "unique": None})
    others = {name: value for name, value in options.items() if name not in ("callbacks", "init")}
    log.info("fitting again from %d random starts, to see whether the answer is unique", n_starts)
    try:
        found = stability(Y, W, result, seeds=range(1, n_starts + 1), announce=announce, **others)
    except KeyboardInterrupt:
        log.warning("interrupted while other starts were tried: uniqueness is not tested")
        return replace(result, provenance={**result.provenance, "unique": None})
    log.info("random starts:\n%s", found.table())
    (log.info if found.unique else log.warning)("%s", found.note())
    notes = result.notes if found.unique else (*result.notes, found.note())
    provenance = {**result.provenance, "unique": found.unique, "starts": found.rows(), "spread_rad": found.spread.tolist()}
    return replace(result, notes=notes, provenance=provenance)


def _correlated_errors(result: Result, matrix: Matrix) -> Result:
    """The result with errors that hold for noise that neighboring voxels share, where the frame says that they do."""
    frame = matrix.frame
    kernel = CorrelationKernel.of(frame.noise_correlation)
    if kernel == CorrelationKernel():
        return result
    live = np.asarray((matrix.weights > 0).any(axis=1))
    spectra = np.where(live[:, None], np.nan_to_num(result.spectra), 0.0)
    of_maps = morphology_noise_factors(spectra, matrix.weights, kernel) if kernel.spectral > 0 else 1.0
    pixels = np.arange(frame.n_pixels) if frame.pixels is None else frame.pixels
    of_spectra = spectra_noise_factors(result.morphologies, matrix.weights, kernel, pixels, frame.shape) if kernel.spatial > 0 else 1.0

    def times(errors: NDArray[Any] | None, factors: Any) -> Any:
        return None if errors is None else errors * factors

    log.info(
        "errors are larger as noise is correlated: %.3f times in spectra, %.3f in maps (medians)", np.median(of_spectra), np.median(of_maps)
    )
    return replace(
        result,
        spectra_error=times(result.spectra_error, of_spectra),
        morphologies_error=times(result.morphologies_error, of_maps),
        signed_error=times(result.signed_error, of_maps),
        provenance={**result.provenance, "noise_correlation": dict(frame.noise_correlation or {})},
    )


def _on_the_sky(result: Result, frame: Frame, dead: NDArray[np.bool_]) -> Result:
    """The result with maps for pixels, and NaN where there were no data."""

    def bands(values: NDArray[Any] | None) -> Any:
        return None if values is None else np.where(dead[:, None], np.nan, values)

    def image(values: NDArray[Any] | None) -> Any:
        return None if values is None else frame.to_image(values)

    return replace(
        result,
        spectra=bands(result.spectra),
        spectra_error=bands(result.spectra_error),
        morphologies=image(result.morphologies),
        morphologies_error=image(result.morphologies_error),
        signed_morphologies=image(result.signed_morphologies),
        signed_error=image(result.signed_error),
        frame=frame,
    )


def write(
    result: Result,
    cube: Cube,
    out: str | PathLike[str] | OutputFolder,
    *,
    overwrite: bool = False,
    cubes: bool = False,
    figures: bool = True,
    layout: str = "flux",
    also: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
    argv: Sequence[str] | None = None,
) -> list[Path]:
    """Write components, spectra, model, residual and pictures of a result.

    Parameters
    ----------
    result : Result
        Of `separate`.
    cube : Cube
        What was separated.
    out : path or OutputFolder
        Created if it does not exist. An OutputFolder is left open and unfinished: its owner writes the log and `DONE`.
    overwrite : bool
        Replace products of an earlier run.
    cubes : bool
        Also write one cube per component.
    figures : bool
        Draw the pictures.
    layout : {"flux", "muse", "primary"}
        How the HDUs of cubes are named: for Cubeviz, mpdaf or spectral-cube.
    also : sequence of {"envi", "mat", "tiff"}
        Maps and spectra in these formats as well.
    options : mapping, optional
        Resolved options, for `run.toml`.
    argv : sequence of str, optional
        The command, for the headers; by default that of the process.

    Returns
    -------
    list of Path
        The products, in the order in which they were written.

    Raises
    ------
    OutputError
        If the folder cannot be written; what is there under a final name is whole.
    """
    if not isinstance(out, OutputFolder):
        with OutputFolder(out, overwrite=overwrite) as folder:
            paths = write(result, cube, folder, cubes=cubes, figures=figures, layout=layout, also=also, options=options, argv=argv)
            folder.finish(result.status.value)
            return paths
    options = dict(result.provenance) if options is None else options
    paths = write_products(out, result, cube, options=options, argv=sys.argv if argv is None else argv, cubes=cubes, layout=layout)
    paths += [out.write(name, producer) for name, producer in hyperspectral_products(also, result, result.frame or cube.frame, cube.meta)]
    if figures:
        paths += [out.path / name for name in save_figures(result, cube, out.write)]
    return paths
