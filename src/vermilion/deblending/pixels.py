"""Every pixel of resolved sources free, held to their profiles by relative entropy."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ..prox import MaxEntropy
from ..renderers import Renderer
from .views import View, non_negative_spectra, normal_equations, residuals, whitened

__all__ = ["STEPS", "PixelFit", "fit_pixels"]

STEPS = 5  # on the images, in each round
_LEAST = 1e-6  # of the brightest pixel: the profile, where it is fainter
_FAINTEST = 1e-15  # of the profile: an image, where it is fainter
_OUTSIDE = 1e-12  # of a component inside the frame: its pixels tell nothing
_RECENT = 2  # rounds, over which the decrease is measured
_HALVINGS = 5
_NEARLY = 0.99  # of the way to where a pixel would be 0
_LONGEST = 100.0


@dataclass(frozen=True, eq=False)
class PixelFit:
    """Images (C, H, W), spectra (B, C), and how the fit ended; `objective` is half of chi2 plus the entropy."""

    images: Tensor
    spectra: Tensor
    columns: list[Tensor]
    chi2: float
    objective: float
    iterations: int
    converged: bool


def fit_pixels(
    views: Sequence[View],
    images: Tensor,
    free: Tensor,
    *,
    strength: float,
    signed: int = 0,
    max_iter: int,
    tol: float,
    watch: Callable[[Tensor, Tensor, float], bool | None] | None = None,
) -> PixelFit:
    """Images that fit the data better than their profiles, by preconditioned conjugate gradients.

    Minimizes ``chi2 / 2 + Σ_k strength / m̄_k Σ_p s ln(s / m)`` over spectra and images s >= 0 with the sum of their profile m;
    m̄ = Σ m² / Σ m is its typical brightness. A pixel as bright as m̄ may thus leave the profile by about ``1 / sqrt(strength)`` of its
    value before the data are asked what for, a fainter one by more, in proportion to ``1 / sqrt(m)``. The sum is held because spectra
    carry the flux: an image near 0 with a spectrum to match could otherwise take any shape at the bounded price of leaving the profile.

    Steps see the data through the spectra that suit each image best (variable projection): where two sources of one color overlap, they
    exchange flux as fast as shapes change. The preconditioner is the diagonal of the second derivatives, and the length of a step is
    found along its line, so that there is no step size.

    Parameters
    ----------
    images : Tensor, shape (C, H, W)
        Profiles m; the last `signed` ones are images with spectra of any sign.
    free : Tensor of bool, shape (C,)
        Components whose pixels are fitted; those outside the frame are left alone.
    strength : float, >= 0
        0 leaves s >= 0 as the only constraint.
    max_iter : int
        Rounds of 5 steps on the images and one exact solution for the spectra.
    tol : float
        Relative decrease of the objective per 10 rounds, measured over 2, that ends the fit.
    watch : callable, optional
        Called with images, spectra and objective after each round; True ends the fit.

    References
    ----------
    Golub & Pereyra 2003, Inverse Problems 19, R1 (variable projection; the approximation of Kaufman is used within a round); Hager & Zhang
    2006, Pacific Journal of Optimization 2, 35 (conjugate gradients and their restart).
    """
    problem = _Problem(views, images, free, strength, signed)
    now = problem.solve(problem.profile)
    if not len(problem.profile) or max_iter < 1:
        return PixelFit(images, now.spectra, now.columns, now.chi2, now.chi2 / 2, 0, True)
    search = _Search(problem)
    objectives, converged = [now.objective], False
    while len(objectives) <= max_iter and not converged:
        following = problem.solve(search.advance(now))
        for _ in range(_HALVINGS):
            if following.objective <= now.objective:
                break
            # the change of the spectra with the images was underestimated
            search.forget()
            following = problem.solve(0.5 * (now.images + following.images))
        if following.objective > now.objective:
            following = now
        objectives.append(following.objective)
        now = following
        if watch is not None and watch(problem.whole(now.images), now.spectra, now.objective):
            break
        if len(objectives) > _RECENT:
            converged = objectives[-1 - _RECENT] - objectives[-1] <= 0.1 * _RECENT * tol * objectives[-1]
    return PixelFit(problem.whole(now.images), now.spectra, now.columns, now.chi2, now.objective, len(objectives) - 1, converged)


@dataclass(frozen=True, eq=False)
class _Point:
    """Images (K, P) of sum 1 of the free components, and the best spectra for them."""

    images: Tensor
    spectra: Tensor
    columns: list[Tensor]
    left: list[Tensor]
    gram: Tensor
    chi2: float
    objective: float


class _Problem:
    def __init__(self, views: Sequence[View], images: Tensor, free: Tensor, strength: float, signed: int) -> None:
        self.views, self.images, self.signed = views, images, signed
        self.total = images.sum(dim=(1, 2))
        self.free = free & (self.total > _OUTSIDE)
        self.total = self.total[self.free][:, None]
        profile = images[self.free].flatten(1) / self.total
        profile = profile.clamp_min(_LEAST * profile.amax(dim=1, keepdim=True))
        self.profile = profile / profile.sum(dim=1, keepdim=True)
        self.weight = strength * self.profile.sum(dim=1, keepdim=True) / self.profile.square().sum(dim=1, keepdim=True)
        self.entropy = MaxEntropy(self.weight, prior=self.profile)
        self.sensitivities = [_diagonal(view) for view in views]
        even = [0] * (len(images) - signed) + [1] * signed
        self.columns = [
            None if fitted else whitened(views, image[None], flat)
            for image, fitted, flat in zip(images, self.free.tolist(), even, strict=True)
        ]

    def whole(self, current: Tensor) -> Tensor:
        """Images of all components."""
        images = self.images.clone()
        images[self.free] = (current * self.total).unflatten(1, images.shape[1:])
        return images

    def solve(self, current: Tensor) -> _Point:
        """The best spectra for these images, once they are scaled to sum 1."""
        current = current / current.sum(dim=1, keepdim=True)
        fitted = iter((current * self.total).unflatten(1, self.images.shape[1:]))
        # one by one: the memory of a few planes is at hand, that of many is asked for anew each time
        rendered = [whitened(self.views, next(fitted)[None]) if M is None else M for M in self.columns]
        columns = [torch.cat(parts, dim=1) for parts in zip(*rendered, strict=True)]
        equations = normal_equations(self.views, columns)
        spectra = non_negative_spectra(equations, self.signed)
        left, chi2 = residuals(self.views, columns, spectra)
        return _Point(current, spectra, columns, left, equations.gram, chi2, 0.5 * chi2 + float(self.entropy.penalty(current)))


def _diagonal(view: View) -> Tensor:
    """Second derivatives (B, H, W) of chi2 / 2 by each pixel of the model of each band: exact where the weights vary little over a PSF."""
    renderer: Renderer = view.renderer
    ones = torch.ones(view.n_bands, *renderer.model_shape, dtype=view.data.dtype, device=view.data.device)
    smooth = renderer.bound_adjoint(renderer.bound(ones) * view.root.square()).clamp_min(0).flatten(1)
    # smooth models lie on all pixels of a PSF at once; how much less one pixel says is seen at the best-measured one
    probe = torch.zeros_like(smooth).scatter_(1, smooth.argmax(dim=1, keepdim=True), 1).view_as(ones)
    seen = renderer(probe).flatten(1)
    share = seen.square().sum(dim=1, keepdim=True) / seen.abs().sum(dim=1, keepdim=True).square()
    return (smooth * torch.nan_to_num(share, nan=1.0)).view_as(ones)


class _Search:
    """Conjugate directions, kept from round to round."""

    def __init__(self, problem: _Problem) -> None:
        self.problem = problem
        self.forget()

    def forget(self) -> None:
        """Begin again with steepest descent."""
        self.direction: Tensor | None = None
        self.slope: Tensor | None = None
        self.descent, self.length = 0.0, 1.0

    def advance(self, point: _Point) -> Tensor:
        """Images after a round of steps from a point."""
        problem = self.problem
        seen = _Linear(problem, point)
        images = point.images
        for _ in range(STEPS):
            slope = torch.log(images / problem.profile).mul_(problem.weight).add_(seen.slope())
            slope -= (slope * images).sum(dim=1, keepdim=True)  # images have sum 1, and keep it
            step = self._direction(images, slope, seen.curvature)
            change = seen.render(step)
            length = self._length(images, step, slope, *seen.along(change))
            images = torch.maximum(images + length * step, _FAINTEST * problem.profile)
            seen.move(length, change)
        return images

    def _direction(self, images: Tensor, slope: Tensor, curvature: Tensor) -> Tensor:
        """Conjugate to those before, bent so that no pixel is 0 before the usual length of a step, and without a change of the sum."""
        weight = self.problem.weight
        # pixels that want to be 0 are asked to halve
        steepest = -(images * slope) / (images * curvature + weight + slope.clamp_min(0) + torch.finfo(images.dtype).tiny)
        descent = float(torch.vdot(steepest.flatten(), slope.flatten()))
        direction = steepest
        if self.direction is not None and self.slope is not None and self.descent < 0:
            along = descent - float(torch.vdot(steepest.flatten(), self.slope.flatten()))
            direction = steepest + max(0.0, along / self.descent) * self.direction
            if float(torch.vdot(direction.flatten(), slope.flatten())) >= 0:
                direction = steepest
        self.direction, self.slope, self.descent = direction, slope, descent
        bent = direction / (1 - self.length * (direction / images).clamp_max(0))
        return bent - images * bent.sum(dim=1, keepdim=True)

    def _length(self, images: Tensor, step: Tensor, slope: Tensor, data_slope: float, data_curvature: float) -> float:
        """Where the objective is least along a step, by two steps of Newton's method; no pixel becomes 0."""
        weight, profile = self.problem.weight, self.problem.profile
        relative = step / images
        limit = _NEARLY / max(-float(relative.amin()), 1e-30)
        first = float(torch.vdot(step.flatten(), slope.flatten()))
        second = data_curvature + float((weight * step * relative).sum())
        length = min(-first / second, limit) if first < 0 < second else 0.0
        there = images + length * step
        first = data_slope + length * data_curvature + float((weight * step * torch.log(there / profile)).sum())
        second = data_curvature + float((weight * step.square() / there).sum())
        length = min(max(length - first / second, 0.0), limit) if second > 0 else length
        if length > 0.9 * self.length:
            self.length = min(2 * self.length, _LONGEST)
        elif length < 0.5 * self.length:
            self.length = max(0.5 * self.length, 1.0)
        return length


class _Linear:
    """Whitened residuals near a point, spectra following the images, as a linear function of the images."""

    def __init__(self, problem: _Problem, point: _Point) -> None:
        self.problem = problem
        self.left = [-left for left in point.left]
        bands = [view.n_bands for view in problem.views]
        self.spectra = [A[:, problem.free].to(point.images) * problem.total[:, 0] for A in point.spectra.split(bands)]
        curvature = sum(torch.einsum("bc,byx->cyx", A.square(), d) for A, d in zip(self.spectra, problem.sensitivities, strict=True))
        self.curvature = torch.as_tensor(curvature).flatten(1)
        self.curvature = self.curvature + 1e-6 * self.curvature.amax(dim=1, keepdim=True)
        self.bases = _bases(point, problem.signed, bands)

    def slope(self) -> Tensor:
        """Gradient (K, P) of chi2 / 2."""
        total = torch.zeros_like(self.curvature)
        for view, A, left in zip(self.problem.views, self.spectra, self.left, strict=True):
            total += A.mT @ view.renderer.adjoint(left.view_as(view.root) * view.root).flatten(1)
        return total

    def render(self, step: Tensor) -> list[Tensor]:
        """Change of the residuals with the images."""
        changes = []
        for view, A, Q in zip(self.problem.views, self.spectra, self.bases, strict=True):
            change = (view.renderer((A @ step).unflatten(1, view.renderer.model_shape)) * view.root).flatten(1)[:, None]
            # rows times matrices: batches of matrices times columns are ten times slower
            changes.append((change - (change @ Q.mT) @ Q)[:, 0])
        return changes

    def along(self, change: list[Tensor]) -> tuple[float, float]:
        """First and second derivative of chi2 / 2 along a step."""
        first = sum(float(torch.vdot(r.flatten(), t.flatten())) for r, t in zip(self.left, change, strict=True))
        return first, sum(float(t.square().sum()) for t in change)

    def move(self, length: float, change: list[Tensor]) -> None:
        self.left = [torch.add(r, t, alpha=length) for r, t in zip(self.left, change, strict=True)]


def _bases(point: _Point, signed: int, bands: list[int]) -> list[Tensor]:
    """Orthonormal rows (B_v, C, pixels) that span what the spectra can change; 0 where there are fewer than C."""
    size = point.gram.diagonal(dim1=1, dim2=2).sqrt()
    active = (point.spectra > 0) & (size > 0)
    active[:, active.shape[1] - signed :] = (size > 0)[:, active.shape[1] - signed :]
    scale = torch.where(active, 1 / size, 0)
    gram = point.gram * scale[:, :, None] * scale[:, None, :]
    values, vectors = torch.linalg.eigh(gram)
    told = values > 100 * torch.finfo(point.images.dtype).eps
    mixing = (vectors * torch.where(told, values, torch.inf).rsqrt()[:, None]).mT * scale[:, None]
    return [W @ M for W, M in zip(mixing.to(point.images).split(bands), point.columns, strict=True)]
