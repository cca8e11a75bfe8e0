"""Proximal operators: are they the minimizers that they claim to be, and what do they cost.

For every example of the registry: the largest excess of step g(y) + |y - x|^2 / 2 over the best of many rivals, relative to
step g(y) + (|y - x|^2 + |x|^2) / 2, for random and hostile x (zeros, ties, 1e-30 to 1e30); the largest violation of firm
non-expansiveness, relative to |x - x'|^2, where it is promised; the time of a call on six images of 100 x 100 pixels in
float32 with one thread. Rivals are the results for all other x, results for points nearby, and for operators that act entry
by entry a grid. What is below 1e-12 is rounding of float64.
Last: the relative error of the maximum-entropy operator for x / strength from -1e30 to 1e30, where the true value is a
normal number.

    python scripts/benchmarks/proxes.py [--inputs N] [--operators NAME ...] [--json FILE]
"""

from __future__ import annotations

import argparse
import inspect
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import mpmath
import numpy as np
import torch
from scipy.special import wrightomega
from torch import Tensor

from vermilion.prox import EXAMPLES, Chain, Dykstra, MaxEntropy, Orthogonal, PerComponent, Prox, Scaled, Stiefel, Translated, dct_matrix

SMALL = (6, 4)
SKY = (100, 100)
STEP = 0.6


def hostile(shape: tuple[int, ...], n: int) -> Tensor:
    """Arrays (n, *shape): sizes from 1e-2 to 1e2, ties, zeros, constants, and entries from 1e-30 to 1e30."""
    generator = torch.Generator().manual_seed(5)
    normal = torch.randn(n, *shape, generator=generator, dtype=torch.float64)
    uniform = torch.rand(n, *shape, generator=generator, dtype=torch.float64)
    size = 10 ** torch.linspace(-2, 2, n, dtype=torch.float64).view(-1, *[1] * len(shape))
    ties = torch.randint(-2, 3, (n, *shape), generator=generator).double() / 2
    constants = torch.tensor([0.0, 1.0, -1.0, 1e-30, -1e-30, 1e30, -1e30], dtype=torch.float64).view(-1, *[1] * len(shape))
    sparse = torch.where(ties > 0, normal, 0.0)
    huge = normal.sign() * 10 ** (60 * uniform - 30)
    pool = torch.cat([size * normal, size * normal + 1e-3, ties, sparse, huge])
    chosen = torch.randperm(len(pool), generator=generator)[: n - len(constants)]
    return torch.cat([pool[chosen], constants.expand(-1, *shape)])


def apply(operator: Prox, x: Tensor) -> Tensor:
    """The operator on each array."""
    return torch.stack([operator(point, STEP) for point in x])


def strengths(operator: Prox, x: Tensor) -> Tensor:
    """Step g for each array."""
    return STEP * torch.stack([operator.penalty(point) for point in x])


def excess(operator: Prox, x: Tensor, rivals: Tensor) -> float:
    """Largest relative difference of the objective between the result and the best rival; 0 if none is better."""
    y = apply(operator, x)
    g, g_rival = strengths(operator, y), strengths(operator, rivals)
    usable = torch.isfinite(g_rival)
    z, g_rival = rivals[usable].flatten(1), g_rival[usable]
    x, y = x.flatten(1), y.flatten(1)
    worst = 0.0
    for i in range(len(x)):
        # written so that nothing of the size of x cancels
        apart = z - y[i]
        gain = g[i] - g_rival + apart @ (x[i] - y[i]) - 0.5 * apart.square().sum(1)
        value = g[i].abs() + 0.5 * (x[i].square().sum() + (y[i] - x[i]).square().sum())
        worst = max(worst, float(gain.max() / value.clamp(min=1e-300)))
    return worst


def accuracy(operator: Prox, n: int) -> tuple[float, float | None]:
    """Excess over brute force, and violation of firm non-expansiveness."""
    x = hostile(SMALL, n)
    y = apply(operator, x)
    generator = torch.Generator().manual_seed(6)
    near = torch.cat([y[: n // 2] + size * torch.randn(n // 2, *SMALL, generator=generator, dtype=torch.float64) for size in (1e-5, 1e-2)])
    worst = excess(operator, x, torch.cat([y, apply(operator, near)]))
    if operator.couples == "element":
        decades = 10 ** torch.linspace(-30, 30, 241, dtype=torch.float64)
        grid = torch.cat([torch.linspace(-4, 4, 4001, dtype=torch.float64), decades, -decades])[:, None]
        worst = max(worst, excess(operator, hostile((1,), n), grid))
    if not (operator.exact and operator.convex):
        return worst, None
    x, y = x.flatten(1), y.flatten(1)
    p, d = y[:, None] - y, x[:, None] - x
    violation = (p * (p - d)).sum(-1) / d.square().sum(-1).clamp(min=1e-300)
    return worst, max(0.0, float(violation.max()))


def cosines(x: Tensor) -> Tensor:
    """Two-dimensional cosine transform of rows of pixels."""
    U = dct_matrix(SKY[0]).to(x)
    return (U @ x.unflatten(-1, SKY) @ U.T).flatten(-2)


def inverse_cosines(x: Tensor) -> Tensor:
    """The inverse of `cosines`."""
    U = dct_matrix(SKY[0]).to(x)
    return (U.T @ x.unflatten(-1, SKY) @ U).flatten(-2)


def at_size(operator: Prox) -> Prox:
    """The same operator for six images of the sky, with tolerances as by default."""
    if isinstance(operator, Chain):
        return Chain(*map(at_size, operator.operators))
    if isinstance(operator, Dykstra):
        return Dykstra(*map(at_size, operator.operators))
    if isinstance(operator, PerComponent):
        members = [at_size(member) for member in operator.operators]
        return PerComponent([members[k % len(members)] for k in range(6)], dim=0)
    if isinstance(operator, Scaled):
        return Scaled(at_size(operator.prox), operator.scale)
    if isinstance(operator, Translated):
        return Translated(at_size(operator.prox), operator.shift)
    if isinstance(operator, Orthogonal):
        return Orthogonal(operator.prox, cosines, adjoint=inverse_cosines)
    names = inspect.signature(type(operator)).parameters
    arguments: dict[str, Any] = {name: getattr(operator, name) for name in names if name not in ("tol", "max_iter")}
    if "shape" in arguments and arguments.get("dim") is None:
        arguments["shape"] = SKY
    return type(operator)(**arguments)


def morphologies() -> Tensor:
    """Six sources with noise, (6, 10000) in float32."""
    generator = torch.Generator().manual_seed(7)
    y, x = torch.meshgrid(torch.linspace(-1, 1, SKY[0]), torch.linspace(-1, 1, SKY[1]), indexing="ij")
    widths = torch.linspace(0.1, 0.6, 6).view(-1, 1, 1)
    sources = torch.exp(-0.5 * (y**2 + x**2) / widths**2)
    return (sources + 0.05 * torch.randn(6, *SKY, generator=generator)).flatten(1)


def milliseconds(operator: Prox) -> float:
    """Median time of a call, of at least three."""
    big, x = at_size(operator), morphologies()
    x = x.T.contiguous() if isinstance(operator, Stiefel) else x
    big(x, 0.1)
    times: list[float] = []
    while len(times) < 3 or (sum(times) < 0.2 and len(times) < 100):
        start = time.perf_counter()
        big(x, 0.1)
        times.append(time.perf_counter() - start)
    return 1e3 * float(np.median(times))


def true_entropy(x: float, strength: float, prior: float | None) -> Any:
    """y with y + c (1 + ln y) = x, or y + c ln(y / m) = x, to 40 digits."""
    mpmath.mp.dps = 40
    c = mpmath.mpf(strength)
    z = mpmath.mpf(x) / c - mpmath.log(c) + (-1 if prior is None else mpmath.log(mpmath.mpf(prior)))
    u = z if z > 1 else mpmath.exp(z)
    for _ in range(200):  # u + ln u = z by Newton
        change = u * (z - u - mpmath.log(u)) / (1 + u)
        u = u + change
        if abs(change) <= mpmath.mpf(10) ** -35 * u:
            break
    return c * u


def entropy_errors(n: int) -> list[dict[str, Any]]:
    """Largest relative error for each precision, with and without a prior; against mpmath, and scipy where it is defined."""
    rows = []
    for dtype in (torch.float32, torch.float64):
        limits = torch.finfo(dtype)
        for prior in (None, 0.2):
            worst, scipys = 0.0, 0.0
            for strength in (1e-3, 1.0, 1e3):
                decades = np.logspace(-30, 30, n) * strength
                x = torch.as_tensor(np.concatenate([-decades, [0.0], decades])).to(dtype)
                y = MaxEntropy(strength, prior=prior)(x, 1.0).double()
                for value, found in zip(x.double().tolist(), y.tolist(), strict=True):
                    true = true_entropy(value, strength, prior)
                    if not limits.tiny <= true <= limits.max:
                        continue
                    worst = max(worst, float(abs(found - true) / true))
                    z = value / strength - np.log(strength) + (-1 if prior is None else np.log(prior))
                    if z > -700:
                        reference = strength * float(wrightomega(z))
                        scipys = max(scipys, abs(found - reference) / reference)
            rows.append({"dtype": str(dtype).split(".")[1], "prior": prior, "mpmath": worst, "scipy": scipys})
    return rows


def measure(operator: Prox, n: int) -> dict[str, Any]:
    """One line of the table."""
    worst, violation = accuracy(operator, n)
    return {
        "operator": repr(operator),
        "exact": operator.exact,
        "convex": operator.convex,
        "excess": worst,
        "violation": violation,
        "milliseconds": milliseconds(operator),
    }


def main(arguments: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Print the tables and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=500, help="arrays per operator")
    parser.add_argument("--operators", nargs="*", default=sorted(EXAMPLES), help="names of the registry")
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args(arguments)
    rows = []
    print(f"{'operator':70} exact  convex   excess  non-exp.      ms")
    for name in options.operators:
        for operator in EXAMPLES[name]:
            row = measure(operator, options.inputs)
            rows.append(row)
            violation = "-" if row["violation"] is None else f"{row['violation']:.0e}"
            flags = f"{'yes' if row['exact'] else 'no':6} {'yes' if row['convex'] else 'no':6}"
            print(f"{row['operator'][:70]:70} {flags} {row['excess']:8.0e} {violation:>9} {row['milliseconds']:7.2f}", flush=True)
    entropy = entropy_errors(max(options.inputs // 2, 10))
    for row in entropy:
        prior = "no prior" if row["prior"] is None else f"prior {row['prior']}"
        print(f"entropy {row['dtype']}, {prior:10} largest relative error {row['mpmath']:.1e} (mpmath), {row['scipy']:.1e} (scipy)")
    options.json.write_text(json.dumps({"operators": rows, "entropy": entropy}, indent=1) + "\n", encoding="utf-8")
    return rows


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
