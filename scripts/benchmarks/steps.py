"""Optimizers without step sizes: what they reach, and what it costs.

First table: unmixing of Y (100 x 50) with rows of A on the simplex, from 100 starts that come with the problem and 100 of its own. Counted
are gradients on the busiest block: of every prox-gradient step, rejected ones included, and of every search for a curvature.
Second table: one default for problems of every kind, in float64, down to a prox-gradient of 1e-6 of its first value.

    python scripts/benchmarks/steps.py [--starts N] [--json FILE]

The first problem is read from ``proxmin_unmixing.npz`` in the folder that the environment variable VERMILION_BENCHMARKS names (default
``../shared/benchmarks``); without it a problem of the same recipe is drawn.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import os
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy.optimize
import torch
from torch import Tensor

from vermilion import factorize
from vermilion.errors import ConvergenceWarning
from vermilion.likelihood import Poisson
from vermilion.optim import (
    ADMM,
    FISTA,
    PALM,
    PGM,
    AdaProx,
    AdaptivePGM,
    Backtracking,
    BarzilaiBorwein,
    GramLipschitz,
    InertialPALM,
    TopCurvature,
)
from vermilion.prox import Identity, NonNegative, Prox, Simplex, Soft, TotalVariation

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = Path(os.environ.get("VERMILION_BENCHMARKS", ROOT.parent / "shared" / "benchmarks"))
GOAL = 0.98225


@dataclass
class Problem:
    """Blocks of parameters with their operators, a smooth loss, and what a peer found."""

    name: str
    blocks: list[tuple[Tensor, Prox]]
    loss: Callable[..., Tensor]
    peer: Callable[[], tuple[str, float]] | None = None
    parameters: list[torch.nn.Parameter] = field(init=False)

    def __post_init__(self) -> None:
        self.parameters = [torch.nn.Parameter(start.clone()) for start, _ in self.blocks]

    def groups(self) -> list[dict[str, Any]]:
        """Parameter groups for an optimizer."""
        return [{"params": [p], "prox": prox} for p, (_, prox) in zip(self.parameters, self.blocks, strict=True)]

    def objective(self) -> float:
        """Loss plus penalties."""
        with torch.no_grad():
            penalties = sum(float(prox.penalty(p)) for p, (_, prox) in zip(self.parameters, self.blocks, strict=True))
            return float(self.loss(*self.parameters)) + penalties


class Closure:
    """Clears the gradients, computes loss and gradients; counts its calls."""

    def __init__(self, problem: Problem) -> None:
        self.problem, self.calls = problem, 0

    def __call__(self) -> Tensor:
        """Loss, with its gradients in the parameters."""
        for p in self.problem.parameters:
            p.grad = None
        loss = self.problem.loss(*self.problem.parameters)
        loss.backward()
        self.calls += 1
        return loss


def stationarity(problem: Problem) -> float:
    """Norm of the prox-gradient map at steps of one over the largest curvature seen along the gradient of each block."""
    Closure(problem)()
    total = 0.0
    starts = [p.detach().clone() for p in problem.parameters]
    gradients = [p.grad.clone() for p in problem.parameters]
    for index, (p, (_, prox)) in enumerate(zip(problem.parameters, problem.blocks, strict=True)):
        norm = float(torch.linalg.vector_norm(gradients[index]))
        if norm == 0:
            continue
        probe = 1e-4 * (float(torch.linalg.vector_norm(starts[index])) or 1.0) / norm
        with torch.no_grad():
            p.copy_(starts[index] - probe * gradients[index])
        Closure(problem)()
        change = float(torch.linalg.vector_norm(p.grad - gradients[index]))
        step = probe * norm / max(change, 1e-300)
        with torch.no_grad():
            p.copy_(starts[index])
            total += float(torch.linalg.vector_norm((starts[index] - prox(starts[index] - step * gradients[index], step)) / step)) ** 2
    return math.sqrt(total)


# ---------------------------------------------------------------- first table: unmixing from many starts


def unmixing() -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """Data, and the starts that come with them."""
    file = BENCHMARKS / "proxmin_unmixing.npz"
    if file.is_file():
        with np.load(file) as data:
            Y, A0, S0 = (torch.from_numpy(data[name]).double() for name in ("Y", "A0", "S0"))
        return Y, list(zip(A0, S0, strict=True))
    print(f"{file} is not there: a problem of the same recipe is drawn instead, the goal does not apply")
    generator = torch.Generator().manual_seed(0)
    A = torch.rand(100, 3, generator=generator, dtype=torch.float64)
    S = torch.rand(3, 50, generator=generator, dtype=torch.float64)
    Y = (A / A.sum(dim=1, keepdim=True)) @ S + 0.02 * torch.randn(100, 50, generator=generator, dtype=torch.float64)
    return Y, own_starts(Y, 100, seed=1)


def own_starts(Y: Tensor, n: int, *, seed: int) -> list[tuple[Tensor, Tensor]]:
    """Random starts: A on the simplex, S uniform at the size of the data."""
    generator = torch.Generator().manual_seed(seed)
    starts = []
    for _ in range(n):
        A = torch.rand(Y.shape[0], 3, generator=generator, dtype=torch.float64)
        S = 2 * Y.mean() * torch.rand(3, Y.shape[1], generator=generator, dtype=torch.float64)
        starts.append((A / A.sum(dim=1, keepdim=True), S))
    return starts


def by_optimizer(
    make: Callable[[list[dict[str, Any]]], torch.optim.Optimizer], Y: Tensor, A: Tensor, S: Tensor, limit: int
) -> tuple[int, int]:
    """Prox-gradients on the busiest block and closure calls until the goal; -1 if it was not reached within `limit`."""
    problem = Problem("unmixing", [(A, Simplex(1)), (S, NonNegative())], lambda a, s: 0.5 * ((a @ s - Y) ** 2).sum())
    closure = Closure(problem)
    optimizer = make(problem.groups())
    steps = 0
    while steps < limit:
        optimizer.step(closure)
        steps = _steps(optimizer, steps)
        if problem.objective() <= GOAL:
            return steps, closure.calls
    return -1, closure.calls


def with_gram(groups: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The groups with the steps that are known for a bilinear model."""
    A, S = (group["params"][0] for group in groups)
    grams = (lambda: S.detach() @ S.detach().T, lambda: A.detach().T @ A.detach())
    return [{**group, "step_rule": GramLipschitz(gram)} for group, gram in zip(groups, grams, strict=True)]


def _steps(optimizer: torch.optim.Optimizer, before: int) -> int:
    """Gradients on the busiest block so far, as the optimizer counts them."""
    counted = getattr(optimizer, "gradient_evaluations", None)
    return max(counted) if counted else before + 1


def by_factorize(Y: Tensor, A: Tensor, S: Tensor, limit: int) -> tuple[int, int]:
    """The same through `factorize`; inner steps count."""
    reached: list[int] = []

    def enough(a: Tensor, s: Tensor) -> bool:
        reached.append(1)
        return 0.5 * float(((a @ s - Y) ** 2).sum()) <= GOAL

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        result = factorize(
            Y, n_components=3, spectra=Simplex(1), init=(A, S), dtype="float64", device="cpu", tol=0, max_iter=limit, callbacks=[enough]
        )
    used = int(result.history.gradient_evaluations[-1].max())
    return (used if result.status.name == "STOPPED" and used <= limit else -1), used


def table_of_starts(n_starts: int) -> list[dict[str, Any]]:
    """Every method from every start."""
    Y, given = unmixing()
    sets = {"given": given[:n_starts], "own": own_starts(Y, n_starts, seed=2024)}
    rules: dict[str, Callable[[], Any]] = {
        "Backtracking": Backtracking,
        "BarzilaiBorwein": BarzilaiBorwein,
        "TopCurvature": TopCurvature,
        "AdaptivePGM": AdaptivePGM,
    }
    optimizers: dict[str, Callable[[list[dict[str, Any]]], torch.optim.Optimizer]] = {
        "InertialPALM (default)": InertialPALM,
        **{f"InertialPALM, {name}": lambda groups, rule=rule: InertialPALM(groups, step_rule=rule()) for name, rule in rules.items()},
        "InertialPALM, Gram": lambda groups: InertialPALM(with_gram(groups)),
        "PALM": PALM,
        "PALM, AdaptivePGM": lambda groups: PALM(groups, step_rule=AdaptivePGM()),
        "FISTA": FISTA,
        "PGM": PGM,
        "PGM, momentum 0.9": lambda groups: PGM(groups, momentum=0.9),
        "AdaProx, AMSGrad": AdaProx,
        "AdaProx, Adam": lambda groups: AdaProx(groups, scheme="adam"),
        "ADMM": ADMM,
    }
    methods: dict[str, Callable[[Tensor, Tensor], tuple[int, int]]] = {"factorize (block)": lambda A, S: by_factorize(Y, A, S, 400)}
    for name, make in optimizers.items():
        methods[name] = lambda A, S, make=make: by_optimizer(make, Y, A, S, 400)  # type: ignore[misc]
    rows = []
    for name, method in methods.items():
        for which, starts in sets.items():
            begin = time.process_time()
            outcomes = [method(A, S) for A, S in starts]
            seconds = time.process_time() - begin
            good = [steps for steps, _ in outcomes if steps >= 0]
            rows.append(
                {
                    "method": name,
                    "starts": f"{len(starts)} {which}",
                    "failures": len(starts) - len(good),
                    "median": float(np.median(good)) if good else None,
                    "worst": max(good, default=None),
                    "closure_calls": float(np.median([calls for _, calls in outcomes])),
                    "cpu_seconds": seconds,
                }
            )
            print_row(rows[-1])
    return rows


# ---------------------------------------------------------------- second table: one default for everything


def smooth_spectra(B: int, K: int, generator: torch.Generator) -> Tensor:
    """Positive smooth curves (B, K)."""
    x = torch.linspace(0, 1, B, dtype=torch.float64)[:, None]
    centers, widths = (torch.rand(1, K, generator=generator, dtype=torch.float64) for _ in range(2))
    return 0.1 + torch.exp(-0.5 * ((x - centers) / (0.05 + 0.2 * widths)) ** 2)


def hyperspectral_scene() -> Problem:
    """Weighted NMF, 198 x 10000 with 10 % missing, from the standard problems; a smaller one of our own where they are absent."""
    file = BENCHMARKS / "problems.py"
    if not file.is_file():
        return weighted_nmf()
    spec = importlib.util.spec_from_file_location("problems", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    scene = module.make("hs", clip=False)
    Y, W, A, S = (torch.from_numpy(scene[name]).double() for name in ("Y", "W", "A0", "S0"))
    return Problem("weighted NMF hs", [(A, NonNegative()), (S, NonNegative())], lambda a, s: 0.5 * (W * (a @ s - Y) ** 2).sum())


def weighted_nmf(seed: int = 1, B: int = 60, N: int = 900, K: int = 3) -> Problem:
    """NMF with uneven weights, 10 % of them zero."""
    g = torch.Generator().manual_seed(seed)
    S = torch.rand(K, N, generator=g, dtype=torch.float64) ** 3
    sigma = 0.02 * (1 + torch.rand(B, 1, generator=g, dtype=torch.float64))
    Y = smooth_spectra(B, K, g) @ S
    Y = Y + sigma * torch.randn(B, N, generator=g, dtype=torch.float64)
    W = sigma**-2 * (torch.rand(B, N, generator=g, dtype=torch.float64) > 0.1)
    W = W / W.mean()
    start = [torch.rand(B, K, generator=g, dtype=torch.float64), torch.rand(K, N, generator=g, dtype=torch.float64)]
    return Problem(f"weighted NMF {B}x{N}", [(x, NonNegative()) for x in start], lambda a, s: 0.5 * (W * (a @ s - Y) ** 2).sum())


def poisson_nmf(seed: int = 2, B: int = 40, N: int = 300, K: int = 3) -> Problem:
    """NMF of counts with a mean of 0.05."""
    g = torch.Generator().manual_seed(seed)
    mean = smooth_spectra(B, K, g) @ torch.rand(K, N, generator=g, dtype=torch.float64) ** 2
    counts = torch.poisson(0.05 * mean / mean.mean(), generator=g)
    likelihood = Poisson(background=1e-3)
    weights = torch.ones_like(counts)
    A = 0.2 + torch.rand(B, K, generator=g, dtype=torch.float64)
    S = 0.05 * (0.2 + torch.rand(K, N, generator=g, dtype=torch.float64))

    def loss(a: Tensor, s: Tensor) -> Tensor:
        return likelihood(a @ s, counts, weights)

    return Problem("Poisson NMF, mean 0.05", [(A, NonNegative()), (S, NonNegative())], loss, lambda: _lbfgsb([A, S], loss, lower=0.0))


def nmf_through_psf(seed: int = 3, B: int = 6, n: int = 24, K: int = 3) -> Problem:
    """NMF of images that a Gaussian PSF has blurred."""
    g = torch.Generator().manual_seed(seed)
    y, x = torch.meshgrid(torch.fft.fftfreq(n, dtype=torch.float64), torch.fft.rfftfreq(n, dtype=torch.float64), indexing="ij")
    transfer = torch.exp(-2 * (math.pi * 1.2) ** 2 * (x**2 + y**2))

    def render(a: Tensor, s: Tensor) -> Tensor:
        return torch.fft.irfft2(torch.fft.rfft2((a @ s).reshape(-1, n, n)) * transfer, s=(n, n))

    A = smooth_spectra(B, K, g)
    Y = render(A, torch.rand(K, n * n, generator=g, dtype=torch.float64) ** 6)
    Y = Y + 0.01 * torch.randn(Y.shape, generator=g, dtype=torch.float64)
    start = [torch.rand(B, K, generator=g, dtype=torch.float64), torch.rand(K, n * n, generator=g, dtype=torch.float64)]
    return Problem("NMF through a PSF", [(x, NonNegative()) for x in start], lambda a, s: 0.5 * ((render(a, s) - Y) ** 2).sum())


def svd_by_penalty(seed: int = 314) -> Problem:
    """The objective of the SVD notebook: U, square root of the diagonal, V, orthogonality by a penalty."""
    g = torch.Generator().manual_seed(seed)
    M, U, d, V = (torch.rand(*shape, generator=g, dtype=torch.float64) for shape in ((5, 4), (5, 4), (4,), (4, 4)))
    eye = torch.eye(4, dtype=torch.float64)

    def loss(u: Tensor, root: Tensor, v: Tensor) -> Tensor:
        fit = ((u @ torch.diag(root * root) @ v.T - M) ** 2).mean()
        return fit + ((u.T @ u - eye) ** 2).mean() / 100 + ((v @ v.T - eye) ** 2).mean() / 100

    return Problem("SVD by penalty", [(x, Identity()) for x in (U, d, V)], loss, lambda: ("exact", 0.0))


def logistic(seed: int = 4, n: int = 200, m: int = 40) -> Problem:
    """L1 logistic regression."""
    g = torch.Generator().manual_seed(seed)
    X = torch.randn(n, m, generator=g, dtype=torch.float64)
    truth = torch.zeros(m, dtype=torch.float64)
    truth[:5] = torch.tensor([2.0, -1.5, 1.0, -1.0, 0.5])
    sign = torch.where(torch.rand(n, generator=g, dtype=torch.float64) < torch.sigmoid(X @ truth), 1.0, -1.0).double()
    weight = 4.0

    def loss(w: Tensor) -> Tensor:
        return torch.nn.functional.softplus(-sign * (X @ w)).sum()

    def split(both: Tensor) -> Tensor:
        return loss(both[:m] - both[m:]) + weight * both.sum()

    zero = torch.zeros(m, dtype=torch.float64)
    return Problem("L1 logistic regression", [(zero, Soft(weight))], loss, lambda: _lbfgsb([torch.zeros(2 * m)], split, lower=0.0))


def tv_denoising(seed: int = 5, n: int = 32, weight: float = 0.1) -> Problem:
    """Total-variation denoising of a square on a background."""
    from skimage.restoration import denoise_tv_chambolle

    g = torch.Generator().manual_seed(seed)
    image = torch.zeros(n, n, dtype=torch.float64)
    image[8:24, 8:24] = 1
    noisy = image + 0.1 * torch.randn(n, n, generator=g, dtype=torch.float64)
    prox = TotalVariation(weight, tol=1e-13)  # the norm of the map is to fall by six digits

    def loss(x: Tensor) -> Tensor:
        return 0.5 * ((x - noisy) ** 2).sum()

    def peer() -> tuple[str, float]:
        x = torch.from_numpy(denoise_tv_chambolle(noisy.numpy(), weight=weight, eps=1e-9, max_num_iter=20000))
        return "skimage", float(loss(x)) + float(prox.penalty(x))

    return Problem("TV denoising", [(torch.zeros(n, n, dtype=torch.float64), prox)], loss, peer)


def random_model(seed: int) -> Problem:
    """A small bilinear or linear model with an operator drawn for each block."""
    rng = np.random.default_rng(seed)
    g = torch.Generator().manual_seed(seed)
    B, N, K = (int(rng.integers(low, high)) for low, high in ((3, 15), (3, 25), (1, 4)))
    Y = torch.rand(B, K, generator=g, dtype=torch.float64) @ torch.rand(K, N, generator=g, dtype=torch.float64)
    Y = Y + float(rng.choice([0.01, 0.1])) * torch.randn(B, N, generator=g, dtype=torch.float64)
    W = torch.rand(B, N, generator=g, dtype=torch.float64) * (torch.rand(B, N, generator=g, dtype=torch.float64) > 0.1)
    A_prox = [NonNegative(), Simplex(0), Simplex(1)][int(rng.integers(3))]
    S_prox = [NonNegative(), Identity()][int(rng.integers(2))]
    A, S = (torch.rand(*shape, generator=g, dtype=torch.float64) for shape in ((B, K), (K, N)))
    return Problem(
        f"random {seed}: {B}x{N}, K={K}, {A_prox!r}, {S_prox!r}",
        [(A_prox(A, 1.0), A_prox), (S, S_prox)],
        lambda a, s: 0.5 * (W * (a @ s - Y) ** 2).sum(),
    )


def _lbfgsb(start: list[Tensor], loss: Callable[..., Tensor], *, lower: float) -> tuple[str, float]:
    shapes = [x.shape for x in start]
    sizes = [x.numel() for x in start]

    def evaluate(flat: np.ndarray) -> tuple[float, np.ndarray]:
        x = torch.from_numpy(flat).requires_grad_()
        parts = [part.reshape(shape) for part, shape in zip(x.split(sizes), shapes, strict=True)]
        value = loss(*parts)
        value.backward()
        return float(value.detach()), x.grad.numpy()

    begin = torch.cat([x.double().flatten() for x in start]).numpy()
    bounds = [(lower, None)] * len(begin)
    options = {"maxiter": 20000, "maxfun": 50000, "ftol": 1e-15, "gtol": 1e-10}
    return "SciPy", float(scipy.optimize.minimize(evaluate, begin, jac=True, method="L-BFGS-B", bounds=bounds, options=options).fun)


def run_default(problem: Problem, *, limit: int = 5000, goal: float = 1e-6) -> dict[str, Any]:
    """The default on one problem: evaluations until the prox-gradient is small."""
    first = stationarity(problem)
    closure = Closure(problem)
    optimizer = InertialPALM(problem.groups())
    begin, checked, ratio = time.process_time(), 0, 1.0
    while closure.calls < limit * len(problem.blocks):
        optimizer.step(closure)
        if closure.calls >= 1.1 * checked + 10:
            checked, ratio = closure.calls, stationarity(problem) / first
            if ratio <= goal:
                break
    row = {
        "problem": problem.name,
        "evaluations_per_block": closure.calls / len(problem.blocks),
        "stationarity": ratio,
        "objective": problem.objective(),
        "cpu_seconds": time.process_time() - begin,
    }
    if problem.peer is not None:
        row["peer"], row["peer_objective"] = problem.peer()
    if problem.name.startswith("Poisson"):  # several minima: does the peer find anything lower from where we ended?
        row["peer_from_here"] = _lbfgsb([p.detach() for p in problem.parameters], problem.loss, lower=0.0)[1]
    return row


def print_row(row: dict[str, Any]) -> None:
    """One line of a table."""

    def text(value: Any) -> str:
        return "-" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)

    print("  ".join(f"{key} {text(value)}" for key, value in row.items()), flush=True)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--starts", type=int, default=100)
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, one thread\n\nunmixing 100x50, objective <= {GOAL}")
    starts = table_of_starts(options.starts)
    print("\none default, float64, prox-gradient to 1e-6 of its first value, at most 5000 evaluations per block")
    makers: list[Callable[[], Problem]] = [
        hyperspectral_scene,
        weighted_nmf,
        poisson_nmf,
        nmf_through_psf,
        svd_by_penalty,
        logistic,
        tv_denoising,
    ]
    makers += [lambda seed=seed: random_model(seed) for seed in range(20)]  # type: ignore[misc]
    rows = []
    for make in makers:
        rows.append(run_default(make()))
        print_row(rows[-1])
    options.json.write_text(json.dumps({"torch": torch.__version__, "starts": starts, "default": rows}, indent=2))


if __name__ == "__main__":
    main()
