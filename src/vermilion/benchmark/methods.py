"""What is run on every scene: the methods of vermilion, the usual pair VCA and FCLSU, and the oracles."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import partial
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import ParameterError
from ..initialize import SEARCHES, STARTS, vca
from ..unmixing.blind import unmix_matrix
from ..unmixing.endmembers import METHODS as BLIND_METHODS
from ..unmixing.fclsu import fclsu
from ..unmixing.nnls import nnls

__all__ = ["DEFAULTS", "METHODS", "ORACLES", "STANDARD", "Estimate", "Method", "Task", "check_methods"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Task:
    """What a method is given.

    Parameters
    ----------
    Y : Tensor, shape (B, N)
        Finite: 0 where a value is missing.
    W : Tensor, shape (B, N), optional
        Weights, 0 = missing; None: all alike.
    n_endmembers : int
        K.
    shape : tuple of int
        (Ny, Nx).
    seed : int
    true_spectra : Tensor, shape (B, K), optional
        For oracles only.
    convention : str
        What abundances mean in the truth.
    """

    Y: Tensor
    W: Tensor | None
    n_endmembers: int
    shape: tuple[int, int]
    seed: int
    true_spectra: Tensor | None = None
    convention: str = "fclsu"


@dataclass(frozen=True, eq=False, kw_only=True)
class Estimate:
    """What a method answers.

    Parameters
    ----------
    spectra : ndarray, shape (B, K)
    abundances : ndarray, shape (K, N)
    brightness : ndarray, shape (N,), optional
        What each pixel was divided by.
    notes : tuple of str
    """

    spectra: NDArray[Any]
    abundances: NDArray[Any]
    brightness: NDArray[Any] | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Method:
    """A method and what it is, in one sentence."""

    name: str
    what: str
    run: Callable[[Task], Estimate]


def check_methods(names: list[str]) -> list[str]:
    """The names, each once.

    Raises
    ------
    ParameterError
        If one is not known.
    """
    for name in names:
        if name not in METHODS:
            near = get_close_matches(name, METHODS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(METHODS)}."
            raise ParameterError(f"there is no method {name!r}: {hint}")
    return list(dict.fromkeys(names))


def _blind(task: Task, *, method: str = "auto", told: bool = False) -> Estimate:
    convention = task.convention if told else "auto"
    found = unmix_matrix(task.Y, task.W, task.n_endmembers, method=method, convention=convention, shape=task.shape, seed=task.seed)
    notes = (f"{found.method}, normalize {found.normalize}, abundances {found.convention}", *found.notes)
    if found.convention == "nnls-renormalized":
        return replace(_scale_free(task, found.spectra), notes=notes)
    return _estimate(found.spectra, found.abundances, found.brightness if found.convention == "as-solved" else None, notes)


def _published_vca(task: Task) -> Estimate:
    """One pixel per endmember, no pixel shrunk, as in the paper."""
    A = vca(task.Y, task.W, task.n_endmembers, seed=task.seed, neighbors=1, faint=0.0)
    return _estimate(A, fclsu(task.Y, A, task.W))


def _start(task: Task, *, start: str) -> Estimate:
    A = STARTS[start](task.Y, task.W, task.n_endmembers, seed=task.seed)
    return _estimate(A, fclsu(task.Y, A, task.W))


def _oracle(task: Task) -> Estimate:
    A = _truth(task)
    return _estimate(A, fclsu(task.Y, A, task.W))


def _scale_free_oracle(task: Task) -> Estimate:
    return _scale_free(task, _truth(task))


def _scale_free(task: Task, A: Tensor) -> Estimate:
    """Neither the brightness of a pixel nor the scale of an endmember enters; the scale of the reconstruction is found again."""
    largest = A.abs().amax(dim=0)
    unit = A / torch.where(largest > 0, largest, 1)
    S = nnls(task.Y, unit, task.W)
    brightness = S.sum(dim=0)
    return _estimate(unit, S / torch.where(brightness > 0, brightness, 1.0), brightness)


def _truth(task: Task) -> Tensor:
    if task.true_spectra is None:
        raise ParameterError("the true spectra of this scene are not known: an oracle needs them.")
    return task.true_spectra


def _estimate(A: Tensor, S: Tensor, brightness: Tensor | None = None, notes: tuple[str, ...] = ()) -> Estimate:
    return Estimate(
        spectra=A.detach().cpu().numpy(),
        abundances=S.detach().cpu().numpy(),
        brightness=None if brightness is None else brightness.detach().cpu().numpy(),
        notes=notes,
    )


ORACLES = ("oracle", "oracle-scale-free")  # the first is what the others are compared with
DEFAULTS = ("vermilion-default", "vermilion-in-convention")
STANDARD = (*DEFAULTS, "vca+fclsu")

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("oracle", "FCLSU with the true endmembers: the floor", _oracle),
        Method(
            "oracle-scale-free",
            "NNLS with the true endmembers at a largest value of 1, divided by the sum of the pixel",
            _scale_free_oracle,
        ),
        Method("vermilion-default", "what vermilion does when it is told nothing but K", _blind),
        Method("vermilion-in-convention", "the same endmembers, with abundances as the truth defines them", partial(_blind, told=True)),
        *(Method(f"vermilion-{name}", f"vermilion by {name}", partial(_blind, method=name)) for name in BLIND_METHODS if name != "auto"),
        Method("vca+fclsu", "VCA as published, single pixels, then FCLSU", _published_vca),
        *(Method(f"{name}-start+fclsu", f"the start {name} of vermilion, then FCLSU", partial(_start, start=name)) for name in SEARCHES),
    )
}
