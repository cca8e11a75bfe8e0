"""Examples of every operator: what the property tests run over. A new operator adds one line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .affine import AffineSum
from .balls import L1Ball, L2Ball
from .base import Identity, NonNegative, Prox
from .box import Box
from .chain import Chain
from .component import PerComponent
from .compose import Orthogonal, Scaled, Translated, dct_matrix
from .dykstra import Dykstra
from .entropy import MaxEntropy
from .group import GroupL21
from .hard import Hard, L0Ball
from .monotone import MonotoneCone, MonotoneGreedy
from .ridge import ElasticNet, SquaredL2
from .simplex import Simplex, UnitSum
from .smoothness import Smoothness
from .soft import Soft
from .starlet import Starlet
from .stiefel import Stiefel
from .symmetry import Symmetric
from .total_variation import TotalVariation

__all__ = ["EXAMPLES"]

EXAMPLES: Mapping[str, tuple[Prox, ...]] = MappingProxyType(
    {
        "AffineSum": (AffineSum(0), AffineSum(1, total=0.0)),
        "Box": (Box(-0.5, 1.5), Box(low=0.0)),
        "Chain": (
            Chain(Soft(0.3), NonNegative()),
            Chain(SquaredL2(0.7), Box(-0.5, 1.5)),
            Chain(NonNegative(), GroupL21(0.7)),
            Chain(NonNegative(), UnitSum(0)),
        ),
        "Dykstra": (Dykstra(Symmetric(shape=(2, 2)), NonNegative()), Dykstra(Soft(0.3), L2Ball(1.0, dim=0))),
        "ElasticNet": (ElasticNet(0.3, 0.5),),
        "GroupL21": (GroupL21(0.7, dim=0), GroupL21(0.7, dim=1)),
        "Hard": (Hard(0.3),),
        "Identity": (Identity(),),
        "L0Ball": (L0Ball(3), L0Ball(2, dim=0)),
        "L1Ball": (L1Ball(2.0), L1Ball(1.0, dim=1)),
        "L2Ball": (L2Ball(2.0), L2Ball(1.0, dim=0)),
        "MaxEntropy": (MaxEntropy(0.7), MaxEntropy(0.7, prior=0.2)),
        "MonotoneCone": (MonotoneCone(), MonotoneCone(center=(0, 0))),
        "MonotoneGreedy": (MonotoneGreedy(), MonotoneGreedy(neighbors="nearest")),
        "NonNegative": (NonNegative(),),
        "Orthogonal": (Orthogonal(Soft(0.3), dct_matrix(4)), Orthogonal(NonNegative(), dct_matrix(4)[1:3])),
        "PerComponent": (
            PerComponent([NonNegative(), Soft(0.3), Box(0.0, 1.0), None], dim=1),
            PerComponent([Simplex(1), *[NonNegative()] * 5], dim=0),
        ),
        "Scaled": (Scaled(Soft(0.3), -2.0), Scaled(Simplex(0), 0.5)),
        "Simplex": (Simplex(0), Simplex(1, total=2.5)),
        "Smoothness": (Smoothness(0.7), Smoothness(0.7, boundary="periodic"), Smoothness(0.7, dim=0)),
        "Soft": (Soft(0.3),),
        "SquaredL2": (SquaredL2(0.7),),
        "Starlet": (Starlet(0.3, shape=(2, 2), scales=2), Starlet(0.3)),
        "Stiefel": (Stiefel(),),
        "Symmetric": (Symmetric(), Symmetric(center=(0.5, 1.0), shape=(2, 2))),
        "TotalVariation": (
            TotalVariation(0.3, tol=1e-14),
            TotalVariation(0.3, isotropic=False, tol=1e-14),
            TotalVariation(0.3, dim=0),
            TotalVariation(0.3, dim=1),
        ),
        "Translated": (Translated(Soft(0.3), 0.5), Translated(Simplex(0), 0.25)),
        "UnitSum": (UnitSum(0), UnitSum(1)),
    }
)
