"""Names for endmembers: the nearest spectrum of a library, the runner-up, and how far the one is ahead of the other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..errors import ParameterError, ShapeError
from .match import spectral_angle

__all__ = ["AMBIGUOUS", "NAMED", "UNLIKE", "Naming", "component_names", "name_spectra"]

NAMED = "named"
AMBIGUOUS = "ambiguous"
UNLIKE = "unlike anything in the library"

LIMIT = 0.15
COVERED = 0.5
AHEAD = 0.25
SIGMAS = 2.0


@dataclass(frozen=True, kw_only=True)
class Naming:
    """What a library has to say about one spectrum.

    Parameters
    ----------
    component : int
        Index of the spectrum.
    verdict : {"named", "ambiguous", "unlike anything in the library"}
        See `name_spectra`.
    nearest : str or None
        The library's name of the spectrum at the smallest angle; None where nothing in the library shares enough bands.
    angle : float
        Its spectral angle in rad.
    runner_up : str or None
        The next spectrum with another name; None where there is none.
    margin : float
        Angle of the runner-up minus `angle`, in rad; NaN without a runner-up.
    margin_error : float
        1-sigma error of the margin from the errors of the spectrum; NaN where they are not known.
    bands : float
        Fraction of the bands that `angle` was measured on.
    limit : float
        Angle beyond which the nearest is no longer believed.
    """

    component: int
    verdict: str
    nearest: str | None
    angle: float
    runner_up: str | None
    margin: float
    margin_error: float
    bands: float
    limit: float

    @property
    def name(self) -> str:
        """What to call the component: the library's name, with a question mark where another fits nearly as well."""
        if self.verdict == UNLIKE or self.nearest is None:
            return f"unknown {self.component}"
        return self.nearest if self.verdict == NAMED else f"{self.nearest}?"

    @property
    def sentence(self) -> str:
        """The whole finding in one line."""
        if self.nearest is None:
            return f"component {self.component}: no spectrum of the library shares at least {COVERED:.0%} of the bands with it"
        found = f"{self.nearest} at {self.angle:.3f} rad"
        if self.runner_up is None:
            ahead = "the only name in the library"
        else:
            error = "" if math.isnan(self.margin_error) else f" ± {self.margin_error:.3f}"
            ahead = f"ahead of {self.runner_up} by {self.margin:.3f}{error} rad"
        verdict = {
            NAMED: "",
            AMBIGUOUS: "ambiguous: ",
            UNLIKE: f"unlike anything in the library (nothing within {self.limit:g} rad); nearest is ",
        }[self.verdict]
        part = "" if self.bands > 0.995 else f", on {self.bands:.0%} of the bands"
        return f"component {self.component}: {verdict}{found}, {ahead}{part}"


def name_spectra(
    spectra: NDArray[np.floating],
    library: NDArray[np.floating],
    names: Sequence[str],
    *,
    spectra_error: NDArray[np.floating] | None = None,
    limit: float = LIMIT,
) -> tuple[Naming, ...]:
    """The library's name for every spectrum, by the spectral angle.

    A spectrum is "unlike anything in the library" where the smallest angle is larger than `limit`. It is "ambiguous" where the
    spectrum with the next other name is less than 2 σ of noise further away, or less than a quarter of the smallest angle: what separates
    an endmember from its nearest spectrum is no noise, and might as well have pointed to the other. Spectra of the library
    that share a name are variants of one material, of which the nearest counts.

    The error of the margin is that of first order: θ to a library spectrum l changes by ``-u·δ/|a|``, u the unit vector orthogonal to the
    endmember a in the plane of a and l.

    Parameters
    ----------
    spectra : ndarray, shape (B, K)
        Endmembers in any unit; NaN where a band is absent.
    library : ndarray, shape (B, M)
        On the same bands; NaN where a spectrum does not reach.
    names : sequence of str, length M
    spectra_error : ndarray, shape (B, K), optional
        1-sigma errors; bands where they are not finite count as exact.
    limit : float
        Largest angle, in rad, at which the nearest is believed.

    Returns
    -------
    tuple of Naming
        One per endmember.

    Raises
    ------
    ShapeError
        If the bands, or the names, do not agree.
    ParameterError
        If the limit is no angle between 0 and π/2.

    Examples
    --------
    >>> library = np.array([[1.0, 0.0], [1.0, 0.2], [0.1, 1.0]])
    >>> endmember = np.array([[2.0], [2.1], [0.2]])
    >>> print(name_spectra(endmember, library, ("soil", "water"))[0].sentence)
    component 0: soil at 0.024 rad, ahead of water by 1.336 rad
    """
    A, L = np.asarray(spectra, dtype=np.float64), np.asarray(library, dtype=np.float64)
    if A.ndim != 2 or L.ndim != 2 or len(A) != len(L):
        raise ShapeError(f"spectra have shape {A.shape}, the library {L.shape}: expected (bands, ...) with the same bands.")
    if len(names) != L.shape[1] or not len(names):
        raise ShapeError(f"{len(names)} names for {L.shape[1]} spectra of the library: expected one each, and one at least.")
    if spectra_error is not None and np.shape(spectra_error) != A.shape:
        raise ShapeError(f"spectra_error has shape {np.shape(spectra_error)}, spectra {A.shape}: expected equal shapes.")
    if not 0 < limit <= math.pi / 2:
        raise ParameterError(f"limit is {limit!r}: expected an angle in rad, above 0 and at most pi/2.")
    errors = np.zeros_like(A) if spectra_error is None else np.nan_to_num(spectra_error, posinf=0.0)
    known = spectra_error is not None
    return tuple(_named(k, A[:, k], errors[:, k], L, tuple(map(str, names)), limit, known_error=known) for k in range(A.shape[1]))


def component_names(namings: Sequence[Naming]) -> tuple[str, ...]:
    """Names of the components, those that come again with a number behind them.

    Examples
    --------
    >>> soil = Naming(component=0, verdict="named", nearest="soil", angle=0.01, runner_up=None, margin=np.nan, margin_error=np.nan,
    ...               bands=1.0, limit=0.15)
    >>> component_names([soil, soil])
    ('soil', 'soil (2)')
    """
    seen: dict[str, int] = {}
    names = []
    for naming in namings:
        seen[naming.name] = count = seen.get(naming.name, 0) + 1
        names.append(naming.name if count == 1 else f"{naming.name} ({count})")
    return tuple(names)


def _named(
    k: int,
    spectrum: NDArray[np.float64],
    error: NDArray[np.float64],
    library: NDArray[np.float64],
    names: tuple[str, ...],
    limit: float,
    *,
    known_error: bool,
) -> Naming:
    live = np.isfinite(spectrum)
    shared = (np.isfinite(library) & live[:, None]).sum(axis=0) / max(int(live.sum()), 1)
    reach = [m for m in range(library.shape[1]) if shared[m] >= COVERED and live.any()]
    angles = {m: spectral_angle(spectrum, library[:, m]) for m in reach}
    order = sorted(angles, key=angles.__getitem__)
    if not order:
        nothing = math.nan
        return Naming(
            component=k,
            verdict=UNLIKE,
            nearest=None,
            angle=nothing,
            runner_up=None,
            margin=nothing,
            margin_error=nothing,
            bands=0.0,
            limit=limit,
        )
    best = order[0]
    second = next((m for m in order if names[m] != names[best]), None)
    margin = math.nan if second is None else angles[second] - angles[best]
    noise = math.nan
    if known_error and second is not None:
        change = _gradient(spectrum, library[:, second]) - _gradient(spectrum, library[:, best])
        noise = float(np.sqrt(np.sum((change * error) ** 2)))
    if angles[best] > limit:
        verdict = UNLIKE
    elif second is not None and margin < max(AHEAD * angles[best], 0.0 if math.isnan(noise) else SIGMAS * noise):
        verdict = AMBIGUOUS
    else:
        verdict = NAMED
    return Naming(
        component=k,
        verdict=verdict,
        nearest=names[best],
        angle=angles[best],
        runner_up=None if second is None else names[second],
        margin=margin,
        margin_error=noise,
        bands=float(shared[best]),
        limit=limit,
    )


def _gradient(spectrum: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Derivative of the angle between two spectra by the first; 0 where they are parallel and in bands that are not shared."""
    shared = np.isfinite(spectrum) & np.isfinite(other)
    a, b = np.where(shared, spectrum, 0.0), np.where(shared, other, 0.0)
    size = float(np.linalg.norm(a))
    if size == 0:
        return np.zeros_like(a)
    aside = b - a * (a @ b) / size**2
    length = float(np.linalg.norm(aside))
    return np.zeros_like(a) if length <= 1e-12 * np.linalg.norm(b) else -aside / (length * size)
