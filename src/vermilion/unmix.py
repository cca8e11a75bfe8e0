"""A hyperspectral image in, endmembers and abundances out: what the command line and a notebook both call."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from os import PathLike, fspath
from typing import Any

import numpy as np
import torch
from astropy import units as u
from numpy.typing import ArrayLike, NDArray

from . import __version__
from .datamodels import Cube, Frame, History, Matrix, Result, Status
from .diagnose.gauge import condition_number
from .diagnose.joint_errors import unmixing_errors
from .diagnose.naming import LIMIT, component_names, name_spectra
from .errors import NoDataError, ParameterError, ShapeError, UnitError
from .factorize import resolve_device
from .initialize.resample import resample_spectra
from .io.spectral_library import LibrarySpectrum, read_library
from .unmixing.blind import Unmixed, unmix_matrix

__all__ = ["CONVENTIONS", "library_on_bands", "name_endmembers", "unmix"]

Library = str | PathLike[str] | Sequence[LibrarySpectrum]

# what the maps are, by the name of the convention; the headers of products show what stands before the comma
CONVENTIONS = {
    "fclsu": "abundances sum to 1 in each pixel (fclsu), fitted to the data as they are",
    "nnls-renormalized": "abundances divided by their sum (nnls-renormalized), of spectra with equal maxima and pixels of free brightness",
    "as-solved": "abundances sum to 1 in each pixel (as-solved), fitted to the pixels as they were divided",
}
_SEARCH = {
    "none": "endmembers were looked for in the pixels as they are (none)",
    "l1": "endmembers were looked for in pixels divided by the sum of their absolute values (l1)",
    "l2": "endmembers were looked for in pixels divided by their norm (l2)",
    "l2-floor": "endmembers were looked for in pixels divided by their norm or half its mean, whichever is larger (l2-floor)",
}
_NO_AREA = "the brightness was taken out of the abundances: they are shares of light of equally bright materials, not area fractions."
_COVERED = 0.7  # part of a band's response that a library spectrum must reach


def unmix(
    image: ArrayLike | Cube,
    n_endmembers: int,
    *,
    method: str = "auto",
    normalize: str = "auto",
    abundances: str = "auto",
    weights: ArrayLike | None = None,
    init: Any = None,
    spatial: float = 0.0,
    library: Library | None = None,
    name_limit: float = LIMIT,
    seed: int = 0,
    device: str = "auto",
    announce: Callable[[str], Any] | None = None,
) -> Result:
    """Endmember spectra and abundance maps of a hyperspectral image.

    The model of a pixel is ``brightness · Σ_k abundance_k · spectrum_k``; see `Result.brightness`.

    Parameters
    ----------
    image : array_like, shape (B, Ny, Nx), or Cube
        Radiances or reflectances in any unit; what is not finite counts as absent.
    n_endmembers : int
        K.
    method : {"auto", "archetypes", "minimum-volume", "nmf", "vertices"}
        As in `unmixing.unmix_matrix`.
    normalize : {"auto", "none", "l1", "l2", "l2-floor"}
        What each pixel is divided by before endmembers are looked for.
    abundances : {"auto", "fclsu", "nnls-renormalized", "as-solved"}
        Convention of the maps, as in `unmixing.convention.abundances_of`. "auto" decides from the data.
    weights : array_like, shape (B, Ny, Nx), optional
        Inverse variances >= 0, 0 where a value is absent; they take the place of those of a Cube.
    init : str or array_like, shape (B, K), optional
        A start by its name, or spectra to start from.
    spatial : float
        Strength of the smoothness of the maps, 0 for none.
    library : path or sequence of LibrarySpectrum, optional
        Known spectra, by which the endmembers are named.
    name_limit : float
        Spectral angle in rad beyond which nothing in the library counts as alike.
    seed : int
        Of everything random.
    device : str
        "auto" (a GPU if there is one), "cpu", "cuda", "cuda:0" …
    announce : callable, optional
        Called with a few words when another stage begins.

    Returns
    -------
    Result
        Spectra in the unit of the image, NaN in bands without weight; maps (K, Ny, Nx) of dimensionless abundances, NaN in pixels without
        weight; endmembers in the order of their share. `normalization` names the convention and the brightness normalization.

    Raises
    ------
    ShapeError, ParameterError, NoDataError, DeviceError
        As `unmixing.unmix_matrix`.
    MissingFileError, NotFITSError, UnitError
        If the library cannot be read.

    Examples
    --------
    >>> from vermilion.simulate import hyperspectral_scene
    >>> scene = hyperspectral_scene(n_endmembers=3, shape=(20, 20), n_bands=40, snr_db=40.0)
    >>> result = unmix(scene.cube, 3)
    >>> result.spectra.shape, result.morphologies.shape, bool(np.allclose(result.morphologies.sum(axis=0), 1))
    ((40, 3), (3, 20, 20), True)
    """
    if abundances not in ("auto", *CONVENTIONS):
        raise ParameterError(f"abundances is {abundances!r}: expected one of {', '.join(map(repr, ('auto', *CONVENTIONS)))}.")
    if isinstance(n_endmembers, bool) or not isinstance(n_endmembers, numbers.Integral) or n_endmembers < 1:
        raise ParameterError(f"n_endmembers is {n_endmembers!r}: expected an integer >= 1.")
    if isinstance(seed, bool) or not isinstance(seed, numbers.Integral) or seed < 0:
        raise ParameterError(f"seed is {seed!r}: expected an integer >= 0.")
    source, known = _library(library)
    cube = _cube(image, weights)
    matrix = cube.to_matrix()
    if matrix.data.size == 0:
        raise NoDataError("no value of the image has a positive weight: nothing to unmix.")
    if spatial:
        matrix = _whole(cube)
    live = np.asarray((matrix.weights > 0).any(axis=1))
    Y, W = _live(matrix, live, given=cube.variance is not None)
    unmixed = unmix_matrix(
        torch.from_numpy(Y),
        None if W is None else torch.from_numpy(W),
        int(n_endmembers),
        method=method,
        normalize=normalize,
        convention=abundances,
        init=_start(init, live, Y.dtype),
        spatial=spatial,
        shape=cube.frame.shape,
        seed=int(seed),
        device=str(resolve_device(device)),
        announce=announce,
    )
    if cube.variance is None and W is not None:  # the noise then comes from the residuals, and what is absent is NaN
        Y, W = np.where(W > 0, Y, np.nan), None
    result = _result(unmixed, Y, W, matrix.frame, live, seed=int(seed))
    return result if library is None else name_endmembers(result, known, limit=name_limit, source=source)


def name_endmembers(result: Result, library: Library, *, limit: float = LIMIT, source: str | None = None) -> Result:
    """The result with names from a library, and what there is to say about them.

    Parameters
    ----------
    result : Result
        Of `unmix` or `separate`; its frame gives the bands.
    library : path or sequence of LibrarySpectrum
    limit : float
        Spectral angle in rad beyond which nothing in the library counts as alike.
    source : str, optional
        Where the library is from, for the provenance.

    Returns
    -------
    Result
        `provenance` gets ``names_from_library``: one table per endmember with nearest, angle, runner-up and margin, as in
        `diagnose.naming.Naming`. What they say in words is added to the notes.
    """
    path, library = _library(library)
    frame = result.frame or Frame(shape=(1, 1), n_bands=len(result.spectra))
    bands = library_on_bands(library, frame)
    namings = name_spectra(result.spectra, bands, [spectrum.name for spectrum in library], spectra_error=result.spectra_error, limit=limit)
    table = [asdict(naming) | {"name": name} for naming, name in zip(namings, component_names(namings), strict=True)]
    return replace(
        result,
        names=component_names(namings),
        notes=(*result.notes, *(naming.sentence for naming in namings)),
        provenance={**result.provenance, "library": source or path, "names_from_library": table},
    )


def _library(library: Library | None) -> tuple[str | None, Sequence[LibrarySpectrum]]:
    """Path and spectra of a library; none of both where there is none."""
    if isinstance(library, str | PathLike):
        return fspath(library), read_library(library)
    return None, () if library is None else library


def library_on_bands(library: Sequence[LibrarySpectrum], frame: Frame) -> NDArray[np.float64]:
    """The spectra of a library as the bands of an image see them, NaN where they do not reach.

    Bands see with a Gaussian of the image's own resolution where it is known, else with a box half way to the nearer neighbor.

    Parameters
    ----------
    library : sequence of LibrarySpectrum
    frame : Frame

    Returns
    -------
    ndarray, shape (B, M)

    Raises
    ------
    ShapeError
        If either has no wavelengths and the numbers of bands differ.
    UnitError
        If wavelengths cannot be compared.
    """
    return np.stack([_on_bands(spectrum, frame) for spectrum in library], axis=1)


def _on_bands(spectrum: LibrarySpectrum, frame: Frame) -> NDArray[np.float64]:
    axis = frame.spectral_axis
    if axis is None or spectrum.wavelength is None:
        if len(spectrum.values) != frame.n_bands:
            raise ShapeError(
                f"the library spectrum {spectrum.name!r} has {len(spectrum.values)} values and the image {frame.n_bands} bands, with no "
                "wavelengths on both sides to compare: give the axis of the image with --wave 'START:STEP UNIT'."
            )
        return spectrum.values
    try:
        at = spectrum.wavelength.to_value(axis.unit, equivalencies=u.spectral())
    except u.UnitConversionError:
        unit = spectrum.wavelength.unit
        raise UnitError(f"the library is in {unit}, the image in {axis.unit}: expected axes that can be compared.") from None
    bands = np.asarray(axis.value, dtype=np.float64)
    if len(at) == len(bands) and np.allclose(at, bands, rtol=1e-6, atol=0):
        return spectrum.values
    known = np.isfinite(spectrum.values)
    half = _half_widths(bands, frame.lsf if frame.lsf is None else frame.lsf.to_value(axis.unit))
    reached = (bands - half >= at[known].min()) & (bands + half <= at[known].max())
    seen = np.full(len(bands), np.nan)
    if reached.any():
        both = np.stack([spectrum.values, known], axis=1)
        centers, half = bands[reached], half[reached]
        width: dict[str, Any] = {"edges": np.stack([centers - half, centers + half], axis=1)} if frame.lsf is None else {"fwhm": 2 * half}
        values, part = resample_spectra(both, at, centers, coverage=0.0, **width).T
        seen[reached] = np.where(part >= _COVERED, values, np.nan)
    return seen


def _half_widths(bands: NDArray[np.float64], fwhm: NDArray[Any] | None) -> NDArray[np.float64]:
    """Half of the full width of every band: of its resolution, or of the way to the nearer neighbor."""
    if fwhm is not None:
        return np.asarray(fwhm, dtype=np.float64) / 2
    if len(bands) < 2:
        return np.full(len(bands), 0.05) * bands
    order = np.argsort(bands)
    gaps = np.diff(bands[order])
    half = np.empty(len(bands))
    half[order] = np.minimum(np.append(gaps, gaps[-1]), np.insert(gaps, 0, gaps[0])) / 2
    return np.maximum(half, 1e-9 * np.abs(bands))


# ---------------------------------------------------------------- the image


def _cube(image: Any, weights: Any) -> Cube:
    """The image as a Cube, with the weights given."""
    cube = image if isinstance(image, Cube) else _cube_of(image)
    if weights is None:
        return cube
    W = np.asarray(weights, dtype=np.float64)
    if W.shape != cube.data.shape:
        raise ShapeError(f"weights has shape {W.shape}, the image {cube.data.shape}: expected equal shapes (bands, y, x).")
    if not (np.isfinite(W).all() and (W >= 0).all()):
        raise ParameterError("weights hold values that are negative or not finite: expected inverse variances >= 0, and 0 for absent.")
    with np.errstate(divide="ignore"):
        return replace(cube, variance=1 / W)


def _cube_of(image: Any) -> Cube:
    values = np.asarray(image)
    if values.ndim != 3 or values.dtype.kind not in "fiub":
        raise ShapeError(f"the image is an array of shape {values.shape} and type {values.dtype}: expected real numbers (bands, y, x).")
    single = values.dtype.itemsize <= 2 or values.dtype == np.float32
    return Cube(np.ascontiguousarray(values, dtype=np.float32 if single else np.float64))


def _whole(cube: Cube) -> Matrix:
    """Every pixel of the image, those without weight as well: neighbors are where they were."""
    weights = cube.weights.reshape(cube.frame.n_bands, -1)
    return Matrix(np.where(weights > 0, cube.data.reshape(weights.shape), 0), weights, replace(cube.frame, pixels=None))


def _live(matrix: Matrix, live: NDArray[np.bool_], *, given: bool) -> tuple[NDArray[Any], NDArray[Any] | None]:
    """Data and weights of the bands with weight; no weights where all are 1."""
    Y, W = np.ascontiguousarray(matrix.data[live]), np.ascontiguousarray(matrix.weights[live])
    return (Y, None) if not given and bool((W > 0).all()) else (Y, W)


def _start(init: Any, live: NDArray[np.bool_], dtype: Any) -> Any:
    """The start by its name, or spectra on the bands with weight."""
    if init is None or isinstance(init, str):
        return init
    spectra = np.asarray(init, dtype=dtype)
    if spectra.ndim != 2 or len(spectra) != len(live):
        raise ShapeError(f"init has shape {spectra.shape}: expected ({len(live)}, endmembers), or the name of a start.")
    return torch.from_numpy(np.ascontiguousarray(spectra[live]))


# ---------------------------------------------------------------- the result


def _result(unmixed: Unmixed, Y: NDArray[Any], W: NDArray[Any] | None, frame: Frame, live: NDArray[np.bool_], *, seed: int) -> Result:
    """What was found, in order, with errors, on the bands and pixels of the image."""
    A, S = (factor.double().cpu().numpy() for factor in (unmixed.spectra, unmixed.abundances))
    divided = None if unmixed.brightness is None else unmixed.brightness.double().cpu().numpy()
    A, brightness = _model_of(unmixed.convention, Y, W, A, S, divided)
    order = np.argsort(-np.nansum(S if brightness is None else S * brightness, axis=1), kind="stable")
    A, S = A[:, order], S[order]
    closed = "fclsu" if unmixed.convention == "as-solved" else unmixed.convention  # it sums to 1, in the divided pixels
    # endmembers are hardly better known than one pixel, however many were mixed
    A_error, S_error = unmixing_errors(
        Y, W, A, S, convention=closed, brightness=brightness if closed == "fclsu" else None, vertex_noise=np.ones(len(S))
    )
    history = History(("A", "S"))
    history.append(objective=unmixed.objective, gradient_evaluations=(unmixed.iterations, unmixed.iterations))
    notes = tuple(unmixed.notes) + (() if brightness is None else (_NO_AREA,))
    condition = condition_number(A)

    def bands(values: NDArray[Any]) -> NDArray[Any]:
        whole = np.full((len(live), values.shape[1]), np.nan)
        whole[live] = values
        return whole

    return Result(
        spectra=bands(A),
        morphologies=frame.to_image(S),
        spectra_error=bands(np.where(np.isfinite(A_error), A_error, np.nan)),
        morphologies_error=frame.to_image(np.where(np.isfinite(S_error), S_error, np.nan)),
        brightness=None if brightness is None else frame.to_image(brightness),
        status=Status.CONVERGED,
        history=history,
        normalization=f"{CONVENTIONS[unmixed.convention]}; {_SEARCH[unmixed.normalize]}; spectra in the unit of the data",
        frame=frame,
        notes=notes,
        provenance={
            **unmixed.provenance,
            "version": __version__,
            "n_components": len(S),
            "method": unmixed.method,
            "normalize": unmixed.normalize,
            "convention": unmixed.convention,
            "seed": seed,
            "iterations": unmixed.iterations,
            "condition_number": condition if math.isfinite(condition) else None,
            "noise": "from the weights" if W is not None else "from the residuals: no weights were given",
            "unique": None,
        },
    )


def _model_of(
    convention: str,
    Y: NDArray[Any],
    W: NDArray[Any] | None,
    A: NDArray[np.float64],
    S: NDArray[np.float64],
    divided: NDArray[np.float64] | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64] | None]:
    """Spectra (B, K) and brightness (N,) or None, so that brightness times A S is the model in which S are the abundances.

    The brightness has a mean of 1: spectra are as bright as in the mean pixel.
    """
    if convention == "nnls-renormalized":
        largest = np.abs(A).max(axis=0)
        A = A / np.where(largest > 0, largest, 1.0)
        brightness = _pixel_scales(Y, W, A @ S)
    elif convention == "as-solved" and divided is not None:
        A = A * _column_scales(Y / divided, W, A, S)
        brightness = divided
    else:
        return A, None
    mean = float(np.nanmean(brightness)) or 1.0
    return A * mean, brightness / mean


def _pixel_scales(Y: NDArray[Any], W: NDArray[Any] | None, model: NDArray[np.float64]) -> NDArray[np.float64]:
    """Factor (N,) of least squares that brings the model of each pixel to the data."""
    weights = np.isfinite(Y).astype(np.float64) if W is None else W
    onto, square = (np.nan_to_num(weights * model * values).sum(axis=0) for values in (Y, model))
    return np.divide(onto, square, out=np.ones(Y.shape[1]), where=(square > 0) & (onto > 0))


def _column_scales(Y: NDArray[Any], W: NDArray[Any] | None, A: NDArray[np.float64], S: NDArray[np.float64]) -> NDArray[np.float64]:
    """Factors (K,) of least squares for the spectra of a model whose abundances are fixed; all data count alike."""
    known = np.isfinite(Y) & np.isfinite(S).all(axis=0) & (True if W is None else W > 0)
    S, Y = np.nan_to_num(S), np.where(known, Y, 0.0)
    if known.all(axis=0).sum() >= len(S):
        whole = known.all(axis=0)
        S, Y = S[:, whole], Y[:, whole]
        gram = (A.T @ A) * (S @ S.T)
    else:
        gram = np.einsum("bk,bl,kn,ln,bn->kl", A, A, S, S, known, optimize=True)
    scales: NDArray[np.float64] = np.linalg.lstsq(gram, ((A.T @ Y) * S).sum(axis=1), rcond=1e-10)[0]
    return np.where(scales > 0, scales, 1.0)
