"""Whether a blob is two points closer than the PSF is wide, or one galaxy."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from .detection_templates import Templates, psf_width

__all__ = ["split_pair"]

Array = NDArray[np.float64]

_LEAST_GAIN = 12.0  # in chi^2 over the galaxy, which has one parameter more
_LEAST_EXPLAINED = 0.7  # of what a single point leaves above the noise
_LEAST_SNR = 5.0  # of each of the two
_LEAST_RATIO = 0.05  # of their fluxes
_FARTHEST = 6.0  # separation, in standard deviations of the PSF
_MOST_STEPS = 12
_MOST_HALVINGS = 3
_MOST_CALLS = 90
_FWHM = math.sqrt(8 * math.log(2))


def split_pair(image: Array, weights: Array, psf: Array, center: Array) -> Array | None:
    """Centers (2, 2) of the two points that explain a blob better than one elliptical galaxy does; None where they do not.

    The galaxy is a Gaussian plus an exponential disk of one elliptical shape, its two fluxes free.

    Parameters
    ----------
    image, weights : ndarray, shape (h, w)
        The blob alone; weight 0 where other sources are.
    psf : ndarray, shape (ph, pw)
        Of sum 1.
    center : ndarray, shape (2,)
        Pixel (y, x) of the peak.
    """
    fit = _Fit(image, weights, psf)
    width = psf_width(psf[None])
    single, at, flux = fit.points(center[None])
    excess = single - fit.degrees
    if excess <= _LEAST_GAIN:
        return None
    starts = [np.stack([at[0], fit.left_over(at, flux)])]
    shape = _intrinsic_shape(fit, center)
    if shape is not None:
        offset = min(max(shape[0], 0.3 * width), 1.5 * width) * shape[1]
        starts.append(np.stack([center + offset, center - offset]))
    pair, two, fluxes = min((fit.points(start) for start in starts), key=lambda found: found[0])
    if single - pair < max(_LEAST_GAIN, _LEAST_EXPLAINED * excess) or not _is_pair(two, fluxes, fit, width):
        return None
    galaxy = fit.galaxy(np.array([*center, width, 0.0, width]))
    return two if galaxy - pair > _LEAST_GAIN else None


def _is_pair(centers: Array, fluxes: Array, fit: _Fit, width: float) -> bool:
    """Whether both points are there, inside, and neither on top of each other nor two separate blobs."""
    apart = math.hypot(*(centers[0] - centers[1]))
    inside = (centers > -0.5).all() and (centers < np.array(fit.shape) - 0.5).all()
    bright = fluxes.min() > max(_LEAST_RATIO * fluxes.max(), _LEAST_SNR / fit.root_information)
    return bool(inside and bright and 0.3 * width * _FWHM < apart < _FARTHEST * width)


class _Fit:
    """Least squares of points, or of a galaxy, in a stamp."""

    def __init__(self, image: Array, weights: Array, psf: Array) -> None:
        self.shape = image.shape
        self._templates = Templates(psf[None], image.shape, 0.0)
        self._root = np.sqrt(weights).ravel()
        self._data = image.ravel() * self._root
        self.degrees = int((self._root > 0).sum())
        self.root_information = math.sqrt(float(np.median(weights[weights > 0])) * float((psf**2).sum()))

    def points(self, centers: Array) -> tuple[float, Array, Array]:
        """chi^2, centers (n, 2) and fluxes (n,) >= 0 of points, by Gauss-Newton steps from `centers`."""
        chi2, fluxes, images = self._points_at(centers)
        for _ in range(_MOST_STEPS):
            slopes = images[1:] * fluxes[:, None, None]
            solution = self.linear(np.concatenate([images[0], *slopes]))[len(centers) :]
            step = np.clip(solution.reshape(2, -1).T, -1.0, 1.0)
            for _ in range(_MOST_HALVINGS):
                trial = self._points_at(centers + step)
                if trial[0] < chi2:
                    break
                step = step / 2
            gain = chi2 - trial[0]
            if gain <= 0:
                break
            centers = centers + step
            chi2, fluxes, images = trial
            if gain < 1e-2:
                break
        return chi2, centers, fluxes

    def left_over(self, centers: Array, fluxes: Array) -> Array:
        """Pixel (y, x) at which the matched filter answers most to what points leave."""
        templates = self._templates
        residual = self._data - self._root * (fluxes @ self._points_at(centers)[2][0].reshape(len(fluxes), -1))
        answer = templates.inverse(templates.forward((residual * self._root).reshape(self.shape)) * np.conj(templates.psfs[0]))
        return np.array(np.unravel_index(int(np.argmax(answer)), self.shape), dtype=np.float64)

    def galaxy(self, start: Array) -> float:
        """chi^2 of the best galaxy; parameters are y, x and the three entries of a triangular shape matrix."""

        def residual(parameters: Array) -> Array:
            columns, fluxes = self._solve(self._galaxy_at(parameters))
            return columns @ fluxes - self._data

        return 2 * float(optimize.least_squares(residual, start, method="lm", diff_step=1e-3, max_nfev=_MOST_CALLS).cost)

    def _points_at(self, centers: Array) -> tuple[float, Array, Array]:
        """chi^2, fluxes and the images (3, n, h, w) of points: themselves and their derivatives with respect to y and x."""
        templates = self._templates
        transforms = templates.at(centers) * templates.psfs
        images = templates.inverse(np.stack([transforms, -1j * templates.y * transforms, -1j * templates.x * transforms]))
        columns, fluxes = self._solve(images[0])
        return float(((columns @ fluxes - self._data) ** 2).sum()), fluxes, images

    def _galaxy_at(self, parameters: Array) -> Array:
        """A Gaussian and an exponential disk of one shape."""
        templates = self._templates
        y, x, a, b, c = parameters
        squared = (a * templates.y) ** 2 + (b * templates.y + c * templates.x) ** 2
        profiles = np.stack([np.exp(-0.5 * squared), (1 + squared) ** -1.5])
        return templates.inverse(templates.at(np.array([[y, x]])) * templates.psfs * profiles)

    def derivatives(self, center: Array) -> Array:
        """The PSF, its first and its second derivatives at `center`."""
        templates = self._templates
        y, x = 1j * templates.y, 1j * templates.x
        one = np.ones_like(y * x)
        return templates.inverse(
            templates.at(center[None]) * templates.psfs * np.stack([one, y * one, x * one, y * y * one, y * x, x * x * one])
        )

    def linear(self, images: Array) -> Array:
        """Coefficients of the weighted least squares."""
        columns = (images.reshape(len(images), -1) * self._root).T
        return np.asarray(np.linalg.lstsq(columns, self._data, rcond=None)[0], dtype=np.float64)

    def _solve(self, images: Array) -> tuple[Array, Array]:
        """Columns of the weighted problem and their fluxes >= 0, one or two."""
        columns = (images.reshape(len(images), -1) * self._root).T
        gram, right = columns.T @ columns, columns.T @ self._data
        alone = np.maximum(right / np.maximum(np.diag(gram), 1e-300), 0.0)
        if len(images) == 1:
            return columns, alone
        determinant = gram[0, 0] * gram[1, 1] - gram[0, 1] ** 2
        if determinant > 1e-10 * gram[0, 0] * gram[1, 1]:
            both = np.array([gram[1, 1] * right[0] - gram[0, 1] * right[1], gram[0, 0] * right[1] - gram[0, 1] * right[0]]) / determinant
            if both.min() >= 0:
                return columns, both
        alone[int(np.argmin(alone * right))] = 0.0
        return columns, alone


def _intrinsic_shape(fit: _Fit, center: Array) -> tuple[float, Array] | None:
    """Half length and direction of a blob that is extended along one direction only; None for any other.

    ``image = f (P - c . grad P + C : grad grad P / 2)`` to second order, C the covariance of the light about the center.
    """
    f, _, _, yy, yx, xx = fit.linear(fit.derivatives(center))
    if not f > 0:
        return None
    values, vectors = np.linalg.eigh(np.array([[2 * yy, yx], [yx, 2 * xx]]) / f)
    if values[1] <= 0 or values[0] > 0.5 * values[1]:
        return None
    return math.sqrt(values[1]), vectors[:, 1]
