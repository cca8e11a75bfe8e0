"""Convolution with one kernel per band, by Fourier transforms."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.fft import next_fast_len
from torch import Tensor

from ..errors import ParameterError, ShapeError
from .base import Renderer

__all__ = ["Convolution"]


class Convolution(Renderer):
    """Each band convolved with its kernel; light that leaves the frame is lost, none enters.

    ``y[b, p] = sum_q kernels[b, p - q + center] x[b, q]``, by Fourier transforms of an even size without prime factors above 5
    that is larger than the frame by half a kernel, so that nothing wraps around. Dtype and device follow the input;
    gradients flow through.

    Parameters
    ----------
    kernels : array_like, shape (B, kh, kw)
        Odd sizes; the central pixel is the origin.
    shape : (int, int)
        Rows and columns of the frame.

    Raises
    ------
    ShapeError
        If `kernels` is not (B, kh, kw) with odd kh and kw, or `shape` is not two positive integers.
    ParameterError
        If a kernel is not finite.

    Examples
    --------
    >>> import torch
    >>> convolution = Convolution([[[0.0, 0.5, 0.0], [0.0, 0.0, 0.5], [0.0, 0.0, 0.0]]], (3, 3))
    >>> point = torch.zeros(1, 3, 3)
    >>> point[0, 1, 1] = 4.0
    >>> convolution(point).round(decimals=3).abs().tolist()
    [[[0.0, 2.0, 0.0], [0.0, 0.0, 2.0], [0.0, 0.0, 0.0]]]
    """

    def __init__(self, kernels: NDArray[np.floating[Any]] | Tensor, shape: tuple[int, int]) -> None:
        kernels = torch.as_tensor(kernels, dtype=torch.float64).detach().cpu()
        if kernels.ndim != 3 or kernels.shape[-2] % 2 == 0 or kernels.shape[-1] % 2 == 0:
            raise ShapeError(
                f"kernels has shape {tuple(kernels.shape)}: expected (B, kh, kw) with odd kh and kw; psf_images makes stamps odd."
            )
        if len(shape) != 2 or min(shape) < 1:
            raise ShapeError(f"shape is {tuple(shape)}: expected rows and columns of the frame, both at least 1.")
        if not bool(torch.isfinite(kernels).all()):
            raise ParameterError("kernels has non-finite entries: expected finite numbers.")
        self.kernels = kernels
        self.n_bands = len(kernels)
        self.model_shape = self.data_shape = (int(shape[0]), int(shape[1]))
        self.fft_shape = tuple(_fft_length(n, k) for n, k in zip(self.model_shape, kernels.shape[1:], strict=True))
        self._transforms: dict[tuple[bool, torch.dtype, torch.device], Tensor] = {}

    def __call__(self, x: Tensor) -> Tensor:
        """Convolved images (..., B, H, W) of a model (..., B or 1, H, W)."""
        return self._filter(x, self.transform(x.dtype, x.device))

    def adjoint(self, y: Tensor) -> Tensor:
        """Correlation with the kernels: the transpose."""
        return self._filter(y, self.transform(y.dtype, y.device).conj())

    def bound(self, x: Tensor) -> Tensor:
        """Convolution with the absolute values of the kernels."""
        return self._filter(x, self.transform(x.dtype, x.device, absolute=True))

    def bound_adjoint(self, y: Tensor) -> Tensor:
        """Correlation with the absolute values of the kernels."""
        return self._filter(y, self.transform(y.dtype, y.device, absolute=True).conj())

    def transform(self, dtype: torch.dtype, device: torch.device, *, absolute: bool = False) -> Tensor:
        """`rfft2` of the kernels (or of their absolute values) at `fft_shape`, origin at pixel (0, 0); made once per dtype and device."""
        key = (absolute, dtype, device)
        if key not in self._transforms:
            kernels = self.kernels.abs() if absolute else self.kernels
            padded = torch.nn.functional.pad(kernels, (0, self.fft_shape[1] - kernels.shape[2], 0, self.fft_shape[0] - kernels.shape[1]))
            centered = padded.roll((-(kernels.shape[1] // 2), -(kernels.shape[2] // 2)), dims=(-2, -1))
            self._transforms[key] = torch.fft.rfft2(centered).to(device=device, dtype=dtype.to_complex())
        return self._transforms[key]

    def _filter(self, x: Tensor, transform: Tensor) -> Tensor:
        if not x.numel():  # transforms of nothing are refused
            return x.new_zeros(*x.shape[:-3], len(transform), *self.model_shape)
        spectrum = torch.fft.rfft2(x, s=self.fft_shape) * transform
        return torch.fft.irfft2(spectrum, s=self.fft_shape)[..., : self.model_shape[0], : self.model_shape[1]]


def _fft_length(n_pixels: int, n_kernel: int) -> int:
    """Smallest even 5-smooth length at which no pixel of the frame sees another one around the edge, and that holds the kernel."""
    half = -(-max(n_pixels + n_kernel // 2, n_kernel) // 2)
    return 2 * int(next_fast_len(half, real=True))
