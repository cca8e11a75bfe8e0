"""Components of which a factor is given: known spectra, known morphologies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from ..errors import ParameterError, ShapeError
from .constraints import Constraints
from .problem import Problem

__all__ = ["Known"]


@dataclass(frozen=True)
class Known:
    """Templates as given, by component, and the sizes that the solver divides them by.

    Attributes
    ----------
    A, S : dict of int to Tensor, shapes (B,) and (N,)
        float64, on the CPU, in the unit given.
    A_sizes, S_sizes : dict of int to float
    """

    A: dict[int, Tensor]
    S: dict[int, Tensor]
    A_sizes: dict[int, float]
    S_sizes: dict[int, float]

    @classmethod
    def checked(
        cls,
        spectra: Mapping[int, Any] | None,
        morphologies: Mapping[int, Any] | None,
        problem: Problem,
        constraints: Constraints,
        n_components: int,
    ) -> Known:
        """Templates in any unit: the partner of a given factor takes the scale, unless its constraint fixes that.

        Raises
        ------
        ParameterError
            If a component does not exist, a template is zero or not finite, or the constraint ties components together.
        ShapeError
            If a template has the wrong length.
        """
        n_bands, n_pixels = problem.Y.shape
        tied = (constraints.A.couples not in ("element", "component axis"), constraints.S.couples not in ("element", "pixel axis"))
        A = _templates("fixed_spectra", spectra, n_bands, n_components, tied=tied[0])
        S = _templates("fixed_morphologies", morphologies, n_pixels, n_components, tied=tied[1])
        A_sizes = {k: problem.data_scale if constraints.carrier == "A" else float(a.abs().sum()) for k, a in A.items()}
        S_sizes = {}
        for k, s in S.items():
            if k in A:
                S_sizes[k] = problem.data_scale / A_sizes[k]
            elif constraints.A.cone and constraints.carrier == "S":
                S_sizes[k] = float(s.square().mean().sqrt())
            else:
                S_sizes[k] = problem.factor_scale("S")
        return cls(A, S, A_sizes, S_sizes)

    def solved(self, factor: Literal["A", "S"], like: Tensor) -> dict[int, Tensor]:
        """The templates as the solver holds them, with the type and device of `like`."""
        values, sizes = (self.A, self.A_sizes) if factor == "A" else (self.S, self.S_sizes)
        return {k: (v / sizes[k]).to(like) for k, v in values.items()}

    def in_data_unit(self, A: Tensor, S: Tensor, problem: Problem) -> tuple[Tensor, Tensor]:
        """Solved factors in the data's unit, float64 on the CPU, with given ones exactly as given."""
        S = S.detach().double().cpu() * problem.factor_scale("S")
        for k in self.A:
            S[k] *= problem.data_scale / (problem.factor_scale("S") * self.A_sizes[k])
        for k, morphology in self.S.items():
            S[k] = morphology
        return self.spectra_in_data_unit(A, problem), S

    def spectra_in_data_unit(self, A: Tensor, problem: Problem) -> Tensor:
        """Solved spectra in the data's unit, as `in_data_unit` returns them."""
        A = A.detach().double().cpu() * problem.factor_scale("A")
        for k, spectrum in self.A.items():
            A[:, k] = spectrum
        for k in self.S:
            if k not in self.A:
                A[:, k] *= problem.data_scale / (problem.factor_scale("A") * self.S_sizes[k])
        return A

    @property
    def components(self) -> set[int]:
        """Components of which a factor is given."""
        return set(self.A) | set(self.S)


def _templates(name: str, given: Mapping[int, Any] | None, length: int, n_components: int, *, tied: bool) -> dict[int, Tensor]:
    templates = {}
    for k, value in (given or {}).items():
        template = torch.as_tensor(value, dtype=torch.float64).detach().cpu().clone()
        if k not in range(n_components):
            raise ParameterError(f"{name} names component {k!r}: expected 0 to {n_components - 1}.")
        if template.shape != (length,):
            raise ShapeError(f"{name}[{k}] has shape {tuple(template.shape)}: expected ({length},).")
        if not bool(torch.isfinite(template).all()) or not bool(template.any()):
            raise ParameterError(f"{name}[{k}] must be finite and not all zero.")
        templates[int(k)] = template
    if templates and tied:
        raise ParameterError(
            f"{name} cannot be held while the constraint on that factor ties the components together: drop one of the two."
        )
    return templates
