"""Cubes of radio telescopes: ALMA and CASA, AIPS, Miriad, GILDAS, single dishes; three or four axes, STOKES anywhere.

Such files state no errors. The noise of each channel is measured on its blank pixels (`channel_noise`), divided by the gain where the
cube was corrected for the primary beam, and becomes the variance. Noise is correlated over the beam: `Frame.noise_correlation` says by
how much sums over boxes are noisier. The beam, of the header or of a BEAMS table, is the PSF; ``meta["beam"]`` holds its axes
(``major``, ``minor``), its angle (``pa``) and its area in pixels (``area``), one value, or one per band. Spectral axes keep their kind,
unit and direction.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from numpy.typing import NDArray

from ...datamodels import Cube
from ...errors import AmbiguousInputError, MemoryLimitError, ParameterError
from ..beams import beam_area, beam_psf, find_beam, pixel_matrix
from ..fits.assemble import assemble
from ..fits.companions import read_companion
from ..fits.hdus import NONE, Decision
from ..fits.mended import mended
from ..fits.preflight import FITSFile, HDUInfo, card
from ..memory import format_bytes
from ..noise.channel_noise import ChannelNoise, channel_noise, gain_slope
from ..options import ReadOptions
from ..record import add_decisions, drop_decisions, note

__all__ = ["identify", "load", "name"]

logger = logging.getLogger(__name__)

name = "radio"

_SPECTRAL = ("FREQ", "VRAD", "VELO", "FELO", "VOPT")
_OPTICAL = re.compile(r"erg|angstrom|photon|electron|\bct\b|count|\bADU\b|\bDN\b|\bW\b|\bmag", re.IGNORECASE)
_KELVIN = re.compile(r"^(m?K)(elvins?)?\s*[(\[{ ]\s*(T.*)$", re.IGNORECASE)
# FITS standard 4.0, table 29
_STOKES = {1: "I", 2: "Q", 3: "U", 4: "V", -1: "RR", -2: "LL", -3: "RL", -4: "LR", -5: "XX", -6: "YY", -7: "XY", -8: "YX"}
_CORRECTED = -0.5  # slope of log scatter over log gain between 0 (as observed) and -1 (divided by the gain)
_UNEVEN = 1.25
_ALIKE = 0.85  # of the scatter that independent channels would show in their differences
_BEYOND = 100.0  # images that a beam may cover: more, and its unit is wrong; cut-outs may be small
_MOSTLY_ZERO = 0.5


def identify(headers: Sequence[fits.Header]) -> bool:
    """Whether an image states a beam, or a unit per beam or of temperature, or has an axis of frequency or radio velocity."""
    return any(_is_radio(header, headers[0]) for header in headers if _n_axes(header) >= 3)


def _n_axes(header: fits.Header) -> int:
    n = card(header, "ZNAXIS", card(header, "NAXIS", 0))
    return n if isinstance(n, int) else 0


def _is_radio(header: fits.Header, primary: fits.Header) -> bool:
    unit = str(card(header, "BUNIT", "") or card(primary, "BUNIT", "")).strip()
    if "beam" in unit.lower() or unit.upper() in ("K", "MK", "KELVIN") or _KELVIN.match(unit):
        return True
    if _OPTICAL.search(unit):
        return False
    if "BMAJ" in header or card(header, "CASAMBM") is True:
        return True
    return any(str(card(header, f"CTYPE{axis}", "")).strip().upper().startswith(_SPECTRAL) for axis in range(1, _n_axes(header) + 1))


def load(file: FITSFile, options: ReadOptions) -> Cube:
    """The cube, with its beam and with the noise of each channel.

    Raises
    ------
    AmbiguousInputError
        If the file holds several polarizations and none is chosen with `ReadOptions.variable`.
    """
    notes: list[Decision] = []
    file, plane = _choose_polarization(file, options, notes)
    file = _mend_units(file, notes)
    cube = assemble(file, options, reader=name)
    data = file.hdus[next(d["hdu"] for d in cube.meta["decisions"] if d["taken_as"] == "data")]
    cube = _with_beam(cube, file, data, plane, options, notes)
    cube = _without_padding(cube, notes)
    cube = _with_noise(cube, options, notes)
    return add_decisions(cube, notes)


# ---------------------------------------------------------------- polarization and units


def _choose_polarization(file: FITSFile, options: ReadOptions, notes: list[Decision]) -> tuple[FITSFile, int]:
    """The file with one polarization, and its number along the STOKES axis."""
    for hdu in file.hdus:
        axis = _stokes_axis(hdu)
        if axis is None:
            continue
        count, names = hdu.shape[-axis], _stokes_names(hdu, axis)
        wanted = None if options.variable is None else str(options.variable).strip().upper()
        if count == 1:
            if wanted not in (None, names[0]):
                raise ParameterError(f"--variable {options.variable}: HDU {hdu} holds the polarization {names[0]} only.")
            notes.append(note(f"polarization: Stokes {names[0]}, the only one (FITS axis {axis})"))
            return file, 0
        if wanted not in names:
            listing = ", ".join(names)
            if wanted is not None:
                raise ParameterError(f"--variable {options.variable}: no such polarization in HDU {hdu}: expected one of {listing}.")
            raise AmbiguousInputError(f"HDU {hdu} holds {count} polarizations, {listing}: choose one with --variable {names[0]}.")
        plane = names.index(wanted)
        notes.append(note(f"polarization: Stokes {wanted} of {', '.join(names)}, option --variable"))
        return _one_plane(file, hdu, axis, plane), plane
    if options.variable is not None:
        raise ParameterError(f"--variable {options.variable}: {file.path} has no STOKES axis to choose from: leave it out.")
    return file, 0


def _stokes_axis(hdu: HDUInfo) -> int | None:
    if hdu.kind not in ("image", "compressed") or len(hdu.shape) < 4:
        return None
    axes = [axis for axis in range(1, len(hdu.shape) + 1) if str(card(hdu.header, f"CTYPE{axis}", "")).strip().upper() == "STOKES"]
    return axes[0] if len(axes) == 1 else None


def _stokes_scale(hdu: HDUInfo, axis: int) -> tuple[float, float, float] | None:
    """CRVAL, CDELT and CRPIX of the axis; None where they are no numbers."""
    values = [card(hdu.header, f"{key}{axis}", 1.0) for key in ("CRVAL", "CDELT", "CRPIX")]
    if not all(isinstance(value, int | float) and math.isfinite(value) for value in values):
        return None
    return float(values[0]), float(values[1]), float(values[2])


def _stokes_names(hdu: HDUInfo, axis: int) -> list[str]:
    """I, Q …, or the numbers of the planes, from 1, where the header does not say what they are."""
    count, scale = hdu.shape[-axis], _stokes_scale(hdu, axis)
    numbers = [0.0] * count if scale is None else [scale[0] + (i + 1 - scale[2]) * scale[1] for i in range(count)]
    names = [_STOKES.get(round(number), "") for number in numbers]
    return names if all(names) and len(set(names)) == count else [str(i + 1) for i in range(count)]


def _one_plane(file: FITSFile, hdu: HDUInfo, axis: int, plane: int) -> FITSFile:
    shape = list(hdu.shape)
    shape[-axis] = 1
    index = tuple(slice(plane, plane + 1) if i == len(shape) - axis else slice(None) for i in range(len(shape)))

    def image(hdulist: fits.HDUList) -> Any:
        section = hdulist[hdu.index].section
        return np.array(section[index]).reshape(shape)

    scale = _stokes_scale(hdu, axis) or (1.0, 1.0, 1.0)
    cards = {f"CRVAL{axis}": scale[0] + (plane + 1 - scale[2]) * scale[1], f"CDELT{axis}": 1.0, f"CRPIX{axis}": 1.0}
    return mended(file, hdu.index, cards, shape=tuple(shape), image=image)


def _mend_units(file: FITSFile, notes: list[Decision]) -> FITSFile:
    """Temperatures as GILDAS and single dishes spell them, ``K (TMB)``."""
    for hdu in file.hdus:
        text = str(card(hdu.header, "BUNIT", "")).strip()
        match = _KELVIN.match(text) if _n_axes(hdu.header) >= 3 else None
        if match is not None:
            unit = "mK" if match[1].startswith("m") else "K"
            notes.append(note(f"BUNIT {text!r} is read as {unit}; the kind of temperature is {match[3].strip(' )]}')}", loud=True))
            file = mended(file, hdu.index, {"BUNIT": unit})
    return file


# ---------------------------------------------------------------- beam


def _with_beam(cube: Cube, file: FITSFile, data: HDUInfo, plane: int, options: ReadOptions, notes: list[Decision]) -> Cube:
    beam, remarks = find_beam(file, data, len(cube.data), plane=plane)
    notes += [note(text, loud=True) for text in remarks]
    if beam is None:
        if cube.psf is None:
            notes.append(note("no beam in the file: no PSF; give one with --psf-file"))
        return cube
    matrix = pixel_matrix(cube.frame.wcs, cube.frame.shape)
    area = None
    if matrix is not None:
        area = beam_area(beam, matrix)
        if float(np.median(area)) > _BEYOND * cube.data[0].size:
            notes.append(
                note(f"the beam ({beam.source}) of {beam} is far larger than the image, is it in degrees? It is not used", loud=True)
            )
            return cube
    psf = beam_psf(beam, matrix, cube.frame.shape, options.limit)
    notes += [note(text, loud=True) for text in beam.notes]
    size = "" if area is None else f", {_span(area)} pixels"
    what = "without an image: " + (
        "no celestial coordinates" if matrix is None else "no position angle" if beam.angle is None else "no memory"
    )
    notes.append(note(f"PSF: {beam.source}: Gaussian of {beam}{size}{'' if psf.image is not None else ', ' + what}"))
    one = 0 if beam.same and (area is None or bool(np.ptp(area) == 0)) else slice(None)
    values = {"major": beam.major, "minor": beam.minor, "pa": beam.angle, "area": area}
    record = {**{key: None if value is None else value[one] for key, value in values.items()}, "source": beam.source}
    return replace(cube, psf=psf, meta={**cube.meta, "beam": record})


def _span(values: NDArray[np.floating[Any]]) -> str:
    low, high = float(values.min()), float(values.max())
    return f"{low:.4g}" if math.isclose(low, high, rel_tol=1e-9) else f"{low:.4g} to {high:.4g}"


# ---------------------------------------------------------------- noise


def _without_padding(cube: Cube, notes: list[Decision]) -> Cube:
    """Mask pixels that are 0 in every channel, and channels that are 0 in every pixel: outside the primary beam, or flagged."""
    zero = cube.data == 0
    if not zero.any() or (zero | ~np.isfinite(cube.data)).all():
        return cube
    empty = zero | ~np.isfinite(cube.data)
    pixels, channels = empty.all(axis=0), empty.all(axis=(1, 2))
    rest = zero[~channels][:, ~pixels]
    if rest.size == 0 or rest.mean() > 0.01:  # zeros elsewhere too: a model, or a cube that was blanked; they are values
        return cube
    padding = (pixels[None] | channels[:, None, None]) & zero
    if not padding.any():
        return cube
    notes.append(
        note(
            f"{np.count_nonzero(pixels)} pixels are 0 in all channels, {np.count_nonzero(channels)} channels in all pixels: masked",
            loud=True,
        )
    )
    return replace(cube, mask=padding if cube.mask is None else cube.mask | padding)


def _with_noise(cube: Cube, options: ReadOptions, notes: list[Decision]) -> Cube:
    """The cube with variances: those of the file, or the measured noise of each channel."""
    gain = None
    if options.gain_file is not None:
        gain = read_companion(options.gain_file, cube.data.shape, options, "--gain-file").values
        with np.errstate(invalid="ignore"):
            gain = np.where(np.isfinite(gain) & (gain > 0), gain, np.nan)
    refused = options.err_ext is not None and str(options.err_ext).strip().upper() == NONE
    if cube.variance is not None or refused:
        reason = "the file has errors" if cube.variance is not None else "option --err-ext none"
        notes.append(
            note(f"{reason}: the noise is not measured" + ("" if gain is None else ", the gain map is not used"), loud=gain is not None)
        )
        return cube
    _check_memory(cube, options)
    good = np.isfinite(cube.data) if cube.mask is None else np.isfinite(cube.data) & ~cube.mask
    blanked = float(np.mean(cube.data[good] == 0)) if good.any() else 1.0
    if blanked > _MOSTLY_ZERO:
        notes.append(note(f"{blanked:.0%} of the values are exactly 0: there is no noise to measure, weights are 1", loud=True))
        return cube
    flat, corrected = cube.data, False
    if gain is not None:
        flat, corrected = _flatten(cube.data, good, gain, notes)
    noise = channel_noise(flat, good & np.isfinite(flat))
    if noise is None:
        notes.append(note("too few independent blank values to measure the noise: weights are 1; give errors with --err-file", loud=True))
        return cube
    variance = _variances(cube, noise, gain if corrected else None)
    notes += _describe(noise, cube, corrected, gain is not None)
    cube = drop_decisions(cube, "no errors in the file")
    return replace(cube, variance=variance, frame=replace(cube.frame, noise_correlation=noise.correlation))


def _check_memory(cube: Cube, options: ReadOptions) -> None:
    needed = 4 * cube.data.nbytes
    if needed > options.limit:
        raise MemoryLimitError(
            f"measuring the noise of {cube.data.shape} values needs {format_bytes(needed)}, {format_bytes(options.limit)} are allowed: "
            "give more with --memory, or leave the noise out with --err-ext none."
        )


def _flatten(data: NDArray[Any], good: NDArray[np.bool_], gain: NDArray[Any], notes: list[Decision]) -> tuple[NDArray[Any], bool]:
    """The data with even noise, and whether they had been divided by the gain."""
    product = data * gain.astype(data.dtype)
    noise = channel_noise(product, good & np.isfinite(product))
    slope = None
    if noise is not None:
        bands = np.flatnonzero(noise.empty)
        bands = bands[:: max(1, len(bands) // 24)]
        slope = gain_slope(data[bands], good[bands], noise.sigma[bands], np.broadcast_to(gain, data.shape)[bands])
    if slope is None:
        notes.append(
            note("gain map: too even, or too little blank sky, to tell whether the cube was divided by it: taken as divided", loud=True)
        )
        return product, True
    corrected = slope < _CORRECTED
    what = (
        "is corrected for the primary beam: noise goes as 1/gain" if corrected else "is not corrected for it: noise does not depend on it"
    )
    notes.append(note(f"gain map: the scatter goes as gain^{slope:.2f} (-1 corrected, 0 not): the cube {what}", loud=True))
    return (product if corrected else data), corrected


def _variances(cube: Cube, noise: ChannelNoise, gain: NDArray[Any] | None) -> NDArray[np.floating[Any]]:
    sigma = noise.sigma[:, None, None] if gain is None else noise.sigma[:, None, None] / gain
    variance = np.broadcast_to(sigma**2, cube.data.shape)
    finite = sigma[np.isfinite(sigma)] ** 2
    limits = np.finfo(np.float32)
    small = finite.size == 0 or bool(finite.max() < limits.max and finite.min() > limits.tiny)
    return np.ascontiguousarray(variance, dtype=cube.data.dtype if small else np.float64)


def _describe(noise: ChannelNoise, cube: Cube, corrected: bool, has_gain: bool) -> list[Decision]:
    """What was measured, for the record."""
    unit = cube.frame.unit
    unit_text = "" if unit == u.dimensionless_unscaled else f" {unit}"
    sigma = noise.sigma[np.isfinite(noise.sigma)]
    how = f"{np.count_nonzero(noise.empty)} of {len(noise.sigma)} channels without emission"
    level = "each channel has its own level" if noise.varies > 0 else "the channels follow one smooth level"
    place = ", at gain 1, elsewhere divided by the gain" if corrected else ""
    text = (
        f"no errors in the file: noise measured per channel, robustly, on {how}, about {noise.samples:.0f} independent pixels each: "
        f"sigma {_span(sigma)}{unit_text}{place}; {level}" + ("; a continuum was subtracted for it" if noise.continuum else "")
    )
    decisions: list[Decision] = [{"hdu": None, "name": "", "taken_as": "variance", "why": text}]
    sums = ", ".join(f"{box}: {factor:g}" for box, factor in noise.correlation.items())
    if sums:
        decisions.append(note(f"the noise is correlated: sums over boxes (bands x y x x) are noisier than the variances say, by {sums}"))
    if noise.adjacent < _ALIKE:
        text = (
            f"differences of neighboring channels scatter by only {noise.adjacent:.2f} of that: noise is correlated along the spectrum, "
            "or faint emission remains where it counts as empty; --noise empirical measures it about the continuum of each spectrum"
        )
        decisions.append(note(text, loud=True))
    if not has_gain and noise.edge > _UNEVEN:
        text = (
            f"the noise in the outer parts is {noise.edge:.2f} times that in the middle, but one level per channel is taken: "
            "if the cube is corrected for the primary beam, add --gain-file"
        )
        decisions.append(note(text, loud=True))
    return decisions
