"""Constraints on the two factors in the form that is solved best, refused where they have no solution."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ..errors import ParameterError
from ..prox.base import Identity, NonNegative, Prox, Wrapped
from ..prox.chain import Chain
from ..prox.simplex import Simplex, UnitSum

__all__ = ["Constraints", "fixes_scale"]


@dataclass(frozen=True)
class Constraints:
    """The operators as asked for, and as solved."""

    A_asked: Prox
    S_asked: Prox
    A: Prox
    S: Prox
    notes: tuple[str, ...] = ()

    @classmethod
    def checked(cls, A: Prox, S: Prox, *, allow_inexact: bool) -> Constraints:
        """The same problem in the form that is solved best; refused where it has no solution."""
        asked = A, S
        notes: tuple[str, ...] = ()
        if isinstance(A, Simplex | UnitSum) and isinstance(S, Simplex | UnitSum) and A.dim % 2 == 0 and S.dim % 2 == 1:
            raise ParameterError(
                "spectra sum to 1 over the bands and morphologies sum to 1 over the pixels: nothing is left to carry the flux. "
                "Drop one of the two; a simplex over the components of each pixel, Simplex(0), is fine."
            )
        if S.cone and (cone := _without_unit_sum(A)) is not None:
            A = cone  # the gauge gives the same answer, and the bands stay independent
        elif A.cone and _is_penalty(S):
            if not isinstance(A, NonNegative):
                raise ParameterError(
                    f"the penalty {S!r} on the morphologies needs spectra of fixed scale, or they grow without bound: "
                    "use spectra=Simplex(0)."
                )
            A = Simplex(0)
            notes = ("spectra are held to unit sum over the bands, so that the penalty on the morphologies has a meaning",)
        elif S.cone and _is_penalty(A):
            raise ParameterError(
                f"the penalty {A!r} on the spectra needs morphologies of fixed scale, or they grow without bound: "
                "use morphologies=Simplex(0) (the components of each pixel sum to 1)."
            )
        for name, prox in (("spectra", A), ("morphologies", S)):
            if not prox.exact and not isinstance(prox, Wrapped) and not allow_inexact:
                raise ParameterError(
                    f"{name}={prox!r} is no exact proximal operator, so the block solver cannot promise a minimum. "
                    "Use an exact one (Simplex instead of UnitSum), solver='pgm', or allow_inexact=True."
                )
        return cls(*asked, A, S, notes)

    @property
    def carrier(self) -> Literal["A", "S"]:
        """The factor that is measured in the unit of the data."""
        return "A" if fixes_scale(self.S) and not fixes_scale(self.A) else "S"

    @property
    def free_scale(self) -> bool:
        """The size of the data can be divided out."""
        return not (fixes_scale(self.A) and fixes_scale(self.S))

    @property
    def gauge(self) -> bool:
        """Both constraints leave the scale between the factors open."""
        return self.A.cone and self.S.cone


def fixes_scale(prox: Prox) -> bool:
    """A set that is no cone; of a callable that is not known better nothing else may be assumed."""
    return not prox.cone and (prox.projection or isinstance(prox, Wrapped))


def _is_penalty(prox: Prox) -> bool:
    return not prox.cone and not fixes_scale(prox)


def _without_unit_sum(A: Prox) -> Prox | None:
    """The cone that a unit sum over the bands leaves behind, or None if there is no such sum in `A`."""
    if isinstance(A, Simplex | UnitSum) and A.dim % 2 == 0:
        return NonNegative() if isinstance(A, Simplex) else Identity()
    if isinstance(A, Chain) and len(A.operators) == 2 and isinstance(A.operators[0], NonNegative) and _without_unit_sum(A.operators[1]):
        return NonNegative()
    return None
