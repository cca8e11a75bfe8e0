"""Examples of every likelihood: what the property tests run over. A new likelihood adds one line here."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from .base import Likelihood
from .gaussian import Gaussian
from .poisson import Poisson
from .student import StudentT

__all__ = ["EXAMPLES"]

EXAMPLES: Mapping[str, tuple[Likelihood, ...]] = MappingProxyType(
    {
        "Gaussian": (Gaussian(),),
        "Poisson": (Poisson(), Poisson(background=0.5, exposure=3.0)),
        "StudentT": (StudentT(), StudentT(nu=1.0, scale=2.5)),
    }
)
