"""What several ways of counting components say, side by side, and what follows from it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .cross_validation import CrossValidation
from .eigenvalues import Edge
from .noise_checks import Whiteness
from .stability import NOT_UNIQUE_ABOVE

__all__ = ["Estimate", "RankReport", "Spread"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Estimate:
    """What one way of counting says.

    Attributes
    ----------
    name : str
        "cross-validation", "eigengap", "noise edge, measured noise", "noise edge, claimed noise", "sign flips" or "HySime".
    n_components : int or None
        None where it does not apply.
    note : str
        On what, or why not.
    """

    name: str
    n_components: int | None
    note: str


@dataclass(frozen=True)
class Spread:
    """Largest spectral angle between fits from several starts, rad, for one number of components."""

    n_components: int
    angle: float

    @property
    def unique(self) -> bool:
        """All starts lead to the same spectra within 0.03 rad."""
        return self.angle <= NOT_UNIQUE_ABOVE


@dataclass(frozen=True, eq=False, kw_only=True)
class RankReport:
    """How many components there are, as far as the data tell.

    Attributes
    ----------
    n_components : int or None
        The best guess; 0 where nothing stands above the noise, None where the data give no number worth naming.
    confident : bool
        All that was tried agrees, and nothing speaks against the noise model.
    sentence : str
        The conclusion in words.
    reasons : tuple of str
        What speaks against confidence, a clause each; empty if nothing does.
    low, high : int
        The range of the estimates; `high` is not limited by `max_components`.
    estimates : tuple of Estimate
        Side by side.
    eigenvalues : ndarray, shape (M,)
        Of the whitened second-moment matrix, descending.
    edge : Edge
        Of measured white noise.
    claimed : Edge or None
        Of noise as the variances say; None without variances.
    cross_validation : CrossValidation or None
    spreads : tuple of Spread
        Stability over starts by number of components.
    whiteness : Whiteness
        Of what `n_components` leave.
    detection_floor : float
        (B N)^¼: what is fainter cannot be seen.
    component_snr : ndarray, shape (K,)
        ``‖a s‖ / σ`` of the components of a fit with `n_components`, descending.
    max_components : int
    shape : tuple of int
        Bands and pixels with enough data.
    """

    n_components: int | None
    confident: bool
    sentence: str
    reasons: tuple[str, ...]
    low: int
    high: int
    estimates: tuple[Estimate, ...]
    eigenvalues: Array
    edge: Edge
    claimed: Edge | None
    cross_validation: CrossValidation | None
    spreads: tuple[Spread, ...]
    whiteness: Whiteness
    detection_floor: float
    component_snr: Array = field(default_factory=lambda: np.zeros(0))
    max_components: int
    shape: tuple[int, int]

    def table(self) -> str:
        """The estimates as lines of text."""
        width = max(len(estimate.name) for estimate in self.estimates)
        lines = [f"{'estimate':<{width}} {'K':>4}  what it rests on"]
        for estimate in self.estimates:
            count = "-" if estimate.n_components is None else str(estimate.n_components)
            lines.append(f"{estimate.name:<{width}} {count:>4}  {estimate.note}")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain numbers, strings and lists; None where a number is not finite."""
        validation = self.cross_validation
        return {
            "n_components": self.n_components,
            "confident": self.confident,
            "sentence": self.sentence,
            "reasons": list(self.reasons),
            "range": [self.low, self.high],
            "estimates": [asdict(estimate) for estimate in self.estimates],
            "eigenvalues": self.eigenvalues.tolist(),
            "noise_edge": {"measured": asdict(self.edge), "claimed": None if self.claimed is None else asdict(self.claimed)},
            "cross_validation": None
            if validation is None
            else {
                "n_components": validation.n_components.tolist(),
                "error": validation.error.tolist(),
                "standard_error": validation.standard_error.tolist(),
                "folds": validation.folds,
                "blocks": None if validation.blocks is None else list(validation.blocks),
                "n_pixels": validation.n_pixels,
            },
            "stability": [{**asdict(spread), "unique": spread.unique} for spread in self.spreads],
            "whiteness": {
                **{name: value if math.isfinite(value) else None for name, value in asdict(self.whiteness).items()},
                "white": self.whiteness.white,
            },
            "detection_floor": self.detection_floor,
            "component_snr": self.component_snr.tolist(),
            "max_components": self.max_components,
            "shape": list(self.shape),
        }
