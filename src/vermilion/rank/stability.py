"""Whether other starts find the same components."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..datamodels import Result, Status
from ..diagnose.match import match_components, spectral_angle, spread_of_spectra
from ..errors import ConvergenceWarning
from ..factorize import factorize

__all__ = ["NOT_UNIQUE_ABOVE", "Stability", "Start", "stability"]

NOT_UNIQUE_ABOVE = 0.03  # rad


@dataclass(frozen=True)
class Start:
    """One fit: where it began, where it ended, how far its spectra are from those of the result in question.

    Attributes
    ----------
    name : str
        "spa", "random 1" …
    objective : float
    gap : float
        ``(f − f_best) / (f_start − f_best)``: 0 for the best of all starts.
    iterations : int
    angle : float
        Largest spectral angle between matched components, rad.
    """

    name: str
    objective: float
    gap: float
    iterations: int
    angle: float


@dataclass(frozen=True)
class Stability:
    """The same problem from several starts.

    Attributes
    ----------
    starts : tuple of Start
        The result in question first.
    spread : ndarray, shape (K,)
        Largest spectral angle between any two solutions per component, rad.
    """

    starts: tuple[Start, ...]
    spread: NDArray[np.float64]

    @property
    def unique(self) -> bool:
        """No component differs by more than 0.03 rad."""
        return bool(np.nanmax(self.spread) <= NOT_UNIQUE_ABOVE)

    def note(self) -> str:
        """The sentence that the user must read."""
        n, worst = len(self.starts) - 1, float(np.nanmax(self.spread))
        if self.unique:
            return f"{n} random starts lead to the same spectra within {worst:.3f} rad"
        which = ", ".join(str(k) for k in np.flatnonzero(self.spread > NOT_UNIQUE_ABOVE))
        return (
            f"not unique: spectra differ by up to {worst:.2f} rad between this start and {n} random ones (components {which}); "
            "other decompositions fit these data about as well"
        )

    def table(self) -> str:
        """The starts as lines of text."""
        lines = [f"{'start':<12}{'objective':>16}{'gap':>12}{'iterations':>12}{'angle [rad]':>13}"]
        lines += [f"{s.name:<12}{s.objective:>16.8g}{s.gap:>12.2e}{s.iterations:>12}{s.angle:>13.4f}" for s in self.starts]
        return "\n".join(lines)

    def rows(self) -> list[dict[str, Any]]:
        """The starts as plain dictionaries."""
        return [asdict(start) for start in self.starts]


def stability(
    Y: Any, W: Any, result: Result, *, seeds: Sequence[int], announce: Callable[[str], Any] | None = None, **options: Any
) -> Stability:
    """Fit again from random starts and compare the spectra.

    Parameters
    ----------
    Y, W : array_like, shape (B, N)
        As given to `factorize`.
    result : Result
        The result in question.
    seeds : sequence of int
        One random start each.
    announce : callable, optional
        Called with a few words before every fit.
    **options
        As given to `factorize`; `init` and `seed` are replaced.

    Returns
    -------
    Stability

    Raises
    ------
    KeyboardInterrupt
        If one of the fits was interrupted.
    """
    options = {name: value for name, value in options.items() if name not in ("init", "seed", "n_components")}
    others = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for n, seed in enumerate(seeds, start=1):
            if announce is not None:
                announce(f"random start {n} of {len(seeds)}")
            others.append(factorize(Y, W, n_components=result.n_components, init="random", seed=seed, **options))
            if others[-1].status is Status.STOPPED:  # without callbacks only an interrupt does that
                raise KeyboardInterrupt
    fits = [result, *others]
    best = min(fit.objective for fit in fits)
    names = [str(result.provenance.get("init", "result")), *(f"random {seed}" for seed in seeds)]
    starts = tuple(
        Start(
            name=name,
            objective=fit.objective,
            gap=(fit.objective - best) / max(float(fit.provenance["objective_start"]) - best, 1e-300),
            iterations=len(fit.history),
            angle=_largest_angle(result.spectra, fit.spectra),
        )
        for name, fit in zip(names, fits, strict=True)
    )
    return Stability(starts, spread_of_spectra([fit.spectra for fit in fits]).components)


def _largest_angle(A: NDArray[Any], other: NDArray[Any]) -> float:
    """Largest spectral angle between the components of `A` and their matches in `other`, rad."""
    return max(spectral_angle(A[:, k], other[:, j]) for k, j in enumerate(match_components(other, A)))
