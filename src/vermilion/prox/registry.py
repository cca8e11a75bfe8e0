"""Examples of every operator: what the property tests run over. A new operator adds one line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .base import Identity, NonNegative, Prox
from .chain import Chain
from .entropy import MaxEntropy
from .simplex import Simplex, UnitSum
from .soft import Soft
from .stiefel import Stiefel

__all__ = ["EXAMPLES"]

EXAMPLES: Mapping[str, tuple[Prox, ...]] = MappingProxyType(
    {
        "Chain": (Chain(Soft(0.3), NonNegative()), Chain(NonNegative(), UnitSum(0))),
        "Identity": (Identity(),),
        "MaxEntropy": (MaxEntropy(0.7), MaxEntropy(0.7, prior=0.2)),
        "NonNegative": (NonNegative(),),
        "Simplex": (Simplex(0), Simplex(1, total=2.5)),
        "Soft": (Soft(0.3),),
        "Stiefel": (Stiefel(),),
        "UnitSum": (UnitSum(0), UnitSum(1)),
    }
)
