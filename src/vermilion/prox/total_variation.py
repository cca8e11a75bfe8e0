"""Total variation of lines and images."""

from __future__ import annotations

import math
import warnings

import torch
from torch import Tensor

from ..errors import ConvergenceWarning, ParameterError
from .base import Prox, check_weight
from .kernels import ascend_dual, compiled, fit_line
from .layout import Layout, nan_where_not_finite
from .smoothness import filtered

__all__ = ["TotalVariation"]

_CHECK_EVERY = 10


class TotalVariation(Prox):
    """Absolute differences of neighbors: ``g(x) = weight sum |grad x|``, which keeps edges and flattens what lies between.

    With forward differences (0 beyond the last pixel) and, pixel by pixel, ``|grad x| = sqrt(dx^2 + dy^2)`` (isotropic)
    or ``|dx| + |dy|``. The mean is kept.

    Lines (`dim`) are solved exactly. For images the operator maximizes over a field p with ``|p| <= c``, c = weight step,
    one vector per pixel, the dual problem ``-|x - grad' p|^2/2``, by projected gradients with momentum, which restarts
    where it points uphill; then ``y = x - grad' p``. It stops when the duality gap, ``sum (c |grad y| - p grad y)``, is
    below `tol` times ``|x - mean(x)|^2 / 2``; then ``|y - y_exact| <= sqrt(tol) |x - mean(x)|``. Each image stops on
    its own.

    Parameters
    ----------
    weight : float or Tensor, >= 0
        In the unit of x; one number, or one per image or line. Steps of single pixels below weight step vanish.
    shape : (int, int), optional
        (Ny, Nx), if the last dimension holds images row by row. By default the last two dimensions are the image.
    dim : int, optional
        Lines along this dimension, as along the bands of spectra (B, K) with 0.
    isotropic : bool
        Edges cost the same in all directions. For lines it makes no difference.
    tol : float, > 0
        Of the relative duality gap; `exact` holds to that.
    max_iter : int, > 0

    Warns
    -----
    ConvergenceWarning
        If the gap is not reached within `max_iter` iterations.

    Raises
    ------
    ParameterError
        If a weight is negative or not finite, or `tol` or `max_iter` is not positive.

    References
    ----------
    Chambolle 2004, J. Math. Imaging Vis. 20, 89 (dual); Beck & Teboulle 2009, IEEE TIP 18, 2419 (momentum);
    O'Donoghue & Candes 2015, Found. Comput. Math. 15, 715 (restart); Johnson 2013, J. Comput. Graph. Stat. 22, 246 (lines).

    Examples
    --------
    >>> TotalVariation(1.0, dim=0)(torch.tensor([0.0, 0.0, 9.0]), 1.0)  # the jump pays 1 on either side
    tensor([0.5000, 0.5000, 8.0000])
    """

    def __init__(
        self,
        weight: float | Tensor,
        shape: tuple[int, int] | None = None,
        dim: int | None = None,
        isotropic: bool = True,
        tol: float = 1e-8,
        max_iter: int = 20_000,
    ) -> None:
        if not (math.isfinite(tol) and tol > 0):
            raise ParameterError(f"tol is {tol}: expected a finite number > 0, the relative duality gap.")
        if max_iter < 1:
            raise ParameterError(f"max_iter is {max_iter}: expected an integer > 0.")
        self.weight = check_weight(weight)
        self.shape = shape
        self.dim = dim
        self.isotropic = isotropic
        self.tol = tol
        self.max_iter = max_iter
        self._layout = Layout(shape, dim)
        self.couples = self._layout.couples

    @torch.no_grad()
    def __call__(self, x: Tensor, step: float | Tensor) -> Tensor:
        """Minimize; NaN in an image where an entry is not finite.

        Raises
        ------
        ShapeError
            If `x` holds no such images, or `step` differs between the pixels of one.
        """
        if x.numel() == 0:
            return x.clone()
        images = self._layout.unfold(x).to(torch.float64)
        strength = self._layout.strength(self.weight, step, x)
        finite = torch.nan_to_num(images, nan=0.0, posinf=0.0, neginf=0.0)
        y = _lines(finite, strength) if self.dim is not None else self._images(finite, strength)
        return self._layout.fold(nan_where_not_finite(y, images), x)

    def penalty(self, x: Tensor) -> Tensor:
        """Weight times the total variation."""
        if x.numel() == 0:
            return torch.zeros((), dtype=torch.float64, device=x.device)
        images = self._layout.unfold(x).to(torch.float64)
        variation = images.diff(dim=1).abs() if self.dim is not None else _length(_gradient(images), self.isotropic)
        return (self._layout.strength(self.weight, 1.0, x).flatten() * variation.flatten(1).sum(1)).sum()

    def _images(self, x: Tensor, strength: Tensor) -> Tensor:
        """Images (M, Ny, Nx), by the dual method, in the unit of their largest deviation from the mean."""
        mean = x.mean((1, 2), keepdim=True)
        unit = (x - mean).abs().amax((1, 2), keepdim=True)
        unit = torch.where(unit > 0, unit, 1)
        deviation = (x - mean) / unit
        y, gap = _solve_dual(deviation, (strength / unit).expand(len(x), 1, 1), self.isotropic, self.tol, self.max_iter)
        if bool((gap > self.tol).any()):
            warnings.warn(
                f"TotalVariation reached a relative duality gap of {float(gap.max()):.1e} within {self.max_iter} iterations, "
                f"expected {self.tol:.1e}: raise max_iter or tol.",
                ConvergenceWarning,
                stacklevel=4,
            )
        return mean + unit * y


def _lines(x: Tensor, strength: Tensor) -> Tensor:
    """Lines (M, N), exactly, one after the other on the CPU."""
    y = x.detach().cpu().clone(memory_format=torch.contiguous_format)
    strengths = strength.expand(len(x), 1).flatten().tolist()
    n = x.shape[1]
    fast = compiled(fit_line)
    for m, c in enumerate(strengths):
        scratch = [torch.empty(size, dtype=torch.float64) for size in ((3, 2 * n), (n,), (n,))]
        if fast is not None:
            fast(y[m].numpy(), c, *[array.numpy() for array in scratch])
        else:
            # lists: an interpreted loop over the entries of a tensor is a hundred times slower
            line = y[m].tolist()
            fit_line(line, c, *[array.tolist() for array in scratch])
            y[m] = torch.tensor(line, dtype=torch.float64)
    return y.to(x.device)


def _gradient(y: Tensor) -> Tensor:
    """Forward differences (M, 2, Ny, Nx) of images (M, Ny, Nx); 0 beyond the last pixel."""
    gradient = y.new_zeros(len(y), 2, *y.shape[1:])
    torch.sub(y[:, 1:], y[:, :-1], out=gradient[:, 0, :-1])
    torch.sub(y[:, :, 1:], y[:, :, :-1], out=gradient[:, 1, :, :-1])
    return gradient


def _adjoint(p: Tensor) -> Tensor:
    """grad' p, for a field that is 0 where the gradient is."""
    y = -(p[:, 0] + p[:, 1])
    y[:, 1:] += p[:, 0, :-1]
    y[:, :, 1:] += p[:, 1, :, :-1]
    return y


def _length(field: Tensor, isotropic: bool) -> Tensor:
    return field.square().sum(1).sqrt() if isotropic else field.abs().sum(1)


def _bounded(p: Tensor, c: Tensor, isotropic: bool) -> Tensor:
    """The nearest field of length (or of components) at most c."""
    if not isotropic:
        return torch.minimum(torch.maximum(p, -c), c)
    length = p.square().sum(1, keepdim=True).sqrt()
    return torch.where(length > c, p * (c / length), p)


def _solve_dual(x: Tensor, c: Tensor, isotropic: bool, tol: float, max_iter: int) -> tuple[Tensor, Tensor]:
    """Minimizers of images (M, Ny, Nx) of mean 0 for strengths c (M, 1, 1), and their relative duality gaps (M,)."""
    c = c.unsqueeze(1)
    # the field of the constant image: where it obeys the bound, that image is the solution
    field = _gradient(filtered(x, lambda eigenvalue: torch.where(eigenvalue > 0, 1 / eigenvalue, 0)))
    largest = (_length(field, True) if isotropic else field.abs().amax(1)).amax((1, 2))
    active = torch.nonzero(largest > c.flatten()).flatten()
    result, gaps = torch.zeros_like(x), x.new_zeros(len(x))
    x, c = x[active], c[active]
    p = _bounded(field[active], c, isotropic)
    ascend = _ascend if x.device.type == "cpu" and compiled(ascend_dual) is not None else _ascend_together
    result[active], gaps[active] = ascend(x, c, p, isotropic, tol, max_iter)
    return result, gaps


def _ascend(x: Tensor, c: Tensor, p: Tensor, isotropic: bool, tol: float, max_iter: int) -> tuple[Tensor, Tensor]:
    """Minimizers and relative gaps from a first dual field p (M, 2, Ny, Nx), by a compiled loop over each image."""
    kernel = compiled(ascend_dual)
    assert kernel is not None
    x, y, gaps = x.contiguous(), torch.empty_like(x, memory_format=torch.contiguous_format), x.new_empty(len(x))
    for m in range(len(x)):
        scale = float(x[m].square().sum()) / 2
        fields = torch.stack([p[m]] * 3)
        gap, _ = kernel(x[m].numpy(), y[m].numpy(), fields.numpy(), float(c[m]), isotropic, tol * scale, max_iter, _CHECK_EVERY)
        gaps[m] = gap / scale
    return y, gaps


def _ascend_together(x: Tensor, c: Tensor, p: Tensor, isotropic: bool, tol: float, max_iter: int) -> tuple[Tensor, Tensor]:
    """The same for all images at once; those that are done leave."""
    result, gaps = torch.empty_like(x), x.new_empty(len(x))
    active = torch.arange(len(x), device=x.device)
    ahead = p
    scale = x.square().sum((1, 2)) / 2
    age = torch.ones_like(c)
    for iteration in range(max_iter):
        if iteration % _CHECK_EVERY == 0 or iteration == max_iter - 1:
            y = x - _adjoint(p)
            slope = _gradient(y)
            # term by term not negative, so that a gap far below the rounding of the objectives is seen
            gap = (c[:, 0] * _length(slope, isotropic) - (p * slope).sum(1)).sum((1, 2)) / scale
            result[active], gaps[active] = y, gap
            rest = gap > tol
            if not bool(rest.any()):
                break
            if not bool(rest.all()):
                x, c, scale, p, ahead, age, active = (a[rest] for a in (x, c, scale, p, ahead, age, active))
        # 1/8: the largest eigenvalue of grad' grad is below 8
        new = _bounded(ahead + _gradient(x - _adjoint(ahead)) / 8, c, isotropic)
        uphill = ((ahead - new) * (new - p)).sum((1, 2, 3), keepdim=True) > 0
        age = torch.where(uphill, 1.0, age + 1)
        p, ahead = new, new + (age - 1) / (age + 2) * (new - p)
    return result, gaps
