"""What follows from several counts of components: a number, a range, and what speaks against believing it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .cross_validation import CrossValidation
from .eigenvalues import Edge
from .noise_checks import Whiteness
from .report import Estimate

__all__ = ["Conclusion", "Evidence", "conclude"]

_VARIANCE = 0.1  # by which claimed variances may be wrong
_FACTOR = 1.05  # by which sums may be noisier than claimed
_MARGIN = 1.1  # an eigenvalue closer to the edge than this may fall on either side of it
_FAINT = 5.0  # times the floor: others like the faintest found may be below it
_OFF = 2  # HySime counts a direction or two too many or too few now and then
_MANY = 20  # pixels per band below which it counts noise


@dataclass(frozen=True, eq=False, kw_only=True)
class Evidence:
    """All that was counted and measured."""

    guess: int
    most: int
    measured: Edge
    claimed: Edge | None
    flips: Edge
    gap: int
    hysime: int | None
    binned: dict[tuple[int, int], int]
    validation: CrossValidation
    whiteness: Whiteness
    margin: float
    faintest: float
    correlated: float
    component_snr: NDArray[np.float64]
    floor: float
    shape: tuple[int, int]

    def estimates(self) -> tuple[Estimate, ...]:
        """The counts side by side."""
        validation = self.validation
        blocks = "values" if validation.blocks is None else f"blocks of {validation.blocks[0]} bands x {validation.blocks[1]} pixels"
        scale = math.sqrt(self.measured.variance)
        rows = [
            Estimate("cross-validation", validation.count, f"{validation.folds} x 10 % {blocks} held out, {validation.n_pixels} pixels"),
            Estimate("eigengap", self.gap, "last gap wider than those of noise, which may be correlated"),
            Estimate("noise edge, measured noise", self.measured.count, "white noise as strong as the smallest eigenvalues say"),
            Estimate("noise edge, sign flips", self.flips.count, "white noise, not equally strong everywhere"),
        ]
        if self.claimed is not None:
            note = f"white noise as the variances say; measured: {scale:.3g} times their sigma"
            rows.insert(2, Estimate("noise edge, claimed noise", self.claimed.count, note))
        if self.binned:
            most = max(self.binned, key=lambda bins: self.binned[bins])
            rows.append(
                Estimate("noise edge, binned", self.binned[most], f"most of any binning: {most[0]} bands x {most[1]} x {most[1]} pixels")
            )
        bands, pixels = self.shape
        few = f"; with only {pixels / bands:.0f} pixels per band it counts noise" if pixels < _MANY * bands else ""
        note = f"signal power above noise power{few}" if self.hysime is not None else "needs twice as many pixels as bands"
        rows.append(Estimate("HySime", self.hysime, note))
        if len(self.component_snr):
            note = f"components of a fit with S/N above (bands x pixels)^(1/4) = {self.floor:.3g}"
            rows.append(Estimate("detection floor", int(np.count_nonzero(self.component_snr > self.floor)), note))
        return tuple(rows)


@dataclass(frozen=True)
class Conclusion:
    """A number of components, or none, in words, with the range and what speaks against confidence."""

    n_components: int | None
    sentence: str
    reasons: tuple[str, ...]
    low: int
    high: int


def conclude(evidence: Evidence) -> Conclusion:
    """The conclusion that all the evidence together permits."""
    counts = {row.name: row.n_components for row in evidence.estimates() if row.n_components is not None and row.name != "detection floor"}
    low, high = min(counts.values()), max(counts.values())
    reasons = (*_against_noise(evidence), *_against_count(evidence, counts))
    number = evidence.guess
    if not reasons:
        return Conclusion(number, _confident(evidence), (), number, number)
    shown = None if number >= evidence.most else number
    span = f"between {low} and {high}" if low < high else f"{low}"
    if shown is None:
        best = f"no number up to {evidence.most} can be named"
    elif shown == 0:
        best = "nothing stands clearly above the noise"
    else:
        best = f"the best guess is {shown}"
    return Conclusion(
        shown, f"The number of components is not certain: {best}, estimates lie {span}; {'; '.join(reasons)}.", reasons, low, high
    )


def _confident(evidence: Evidence) -> str:
    reach = f"what is fainter than a signal-to-noise of {evidence.floor:.3g} in all bands and pixels together cannot be seen"
    if evidence.guess == 0:
        return f"Nothing stands above the noise: all estimates agree on 0 components; {reach}."
    noun = "component stands" if evidence.guess == 1 else "components stand"
    return f"{evidence.guess} {noun} above the noise: all estimates agree, and what they leave is white noise; {reach}."


def _against_noise(evidence: Evidence) -> list[str]:
    """What is wrong with the noise model."""
    found = []
    left = evidence.whiteness
    if evidence.claimed is not None and abs(evidence.measured.variance - 1) > _VARIANCE:
        found.append(f"the noise is {math.sqrt(evidence.measured.variance):.3g} times what the variances say")
    if not left.white:
        spatial = "" if math.isnan(left.spatial) else f", {left.spatial:.2f} of neighboring pixels"
        found.append(
            f"what is left is no white noise (correlation {left.spectral:.2f} of neighboring bands{spatial}): the noise is correlated, "
            "or the mixing is not linear and the number grows with the quality of the data"
        )
    elif evidence.correlated > _FACTOR:
        found.append(f"sums over neighbors are {evidence.correlated:.3g} times noisier than the variances say")
    return found


def _hysime_objects(evidence: Evidence) -> bool:
    """Where it can count at all, it counts something else."""
    bands, pixels = evidence.shape
    return evidence.hysime is not None and pixels >= _MANY * bands and abs(evidence.hysime - evidence.guess) > _OFF


def _against_count(evidence: Evidence, counts: dict[str, int]) -> list[str]:
    """Who disagrees, and what is too close to call."""
    number = evidence.guess
    found = []
    if number >= evidence.most:
        found.append(f"no more than {evidence.most} components were tried")
    off = [name for name, count in counts.items() if count != number]
    if [name for name in off if name != "HySime"] or _hysime_objects(evidence):
        found.append(", ".join(f"{name} says {counts[name]}" for name in off))
    if number and evidence.margin < _MARGIN:
        found.append(f"the last eigenvalue counted is only {evidence.margin:.2f} times the largest one of noise")
    if number and evidence.faintest < _FAINT:
        found.append(
            f"the faintest dimension is only {evidence.faintest:.2g} times the faintest that could be seen: others may be hidden below"
        )
    above = int(np.count_nonzero(evidence.component_snr > evidence.floor))
    if above < number:
        found.append(f"only {above} of {number} fitted components stand above the floor")
    return found
