"""Abundances with known spectra: all pixels at once against a general solver, pixel by pixel.

Scenes are drawn (gamma spectra, Dirichlet abundances, noise) with 156 bands and 9025 pixels, the size of Samson, and K spectra. FCLSU is
compared with loops over quadprog and cvxopt, NNLS with a loop over scipy. Both sides start from Y and A; the loops have ``Aᵀ A`` ready.
Times are processor times of one thread, the best of some repetitions, and of one for the loops; cvxopt, which needs a millisecond for a
pixel, is run on some pixels and its time scaled. Differences are the largest of any abundance. The last column is the largest breach of
the conditions of optimality by vermilion, relative to ``max |Aᵀ y|``.

    python scripts/benchmarks/abundances.py [--spectra K ...] [--pixels N] [--repeats R] [--json FILE]

Needs quadprog and cvxopt; a solver that is not installed is left out.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import scipy.optimize
import torch
from numpy.typing import NDArray

from vermilion.unmixing.fclsu import fclsu
from vermilion.unmixing.nnls import nnls

BANDS = 156
CVXOPT_PIXELS = 500
Array = NDArray[np.float64]
Loop = Callable[[Array, Array], Array]


def scene(n_spectra: int, n_pixels: int) -> tuple[Array, Array, Array]:
    """Data (B, N), spectra (B, K), and weights (B, N) of which a fifth is 0."""
    rng = np.random.default_rng(n_spectra)
    A = rng.gamma(1.0, size=(BANDS, n_spectra))
    Y = A @ rng.dirichlet(np.full(n_spectra, 0.3), n_pixels).T
    Y += 0.1 * rng.normal(size=Y.shape)
    return Y, A, rng.gamma(1.0, size=Y.shape) * (rng.random(Y.shape) > 0.2)


def by_quadprog(Y: Array, A: Array) -> Array:
    """FCLSU by the dual method of Goldfarb and Idnani."""
    import quadprog

    K = A.shape[1]
    G, constraints, limits = A.T @ A, np.column_stack([np.ones(K), np.eye(K)]), np.append(1.0, np.zeros(K))
    return np.stack([quadprog.solve_qp(G, A.T @ y, constraints, limits, 1)[0] for y in Y.T], axis=1)


def by_cvxopt(Y: Array, A: Array) -> Array:
    """FCLSU by an interior-point method."""
    import cvxopt

    K = A.shape[1]
    G, below, zeros = cvxopt.matrix(A.T @ A), cvxopt.matrix(-np.eye(K)), cvxopt.matrix(np.zeros(K))
    ones, one = cvxopt.matrix(np.ones((1, K))), cvxopt.matrix(1.0)
    options = {"show_progress": False, "abstol": 1e-12, "reltol": 1e-12, "feastol": 1e-12}
    columns = [cvxopt.solvers.qp(G, cvxopt.matrix(-(A.T @ y)), below, zeros, ones, one, options=options)["x"] for y in Y.T]
    return np.stack([np.array(x)[:, 0] for x in columns], axis=1)


def by_scipy(Y: Array, A: Array) -> Array:
    """NNLS by Lawson and Hanson."""
    return np.stack([scipy.optimize.nnls(A, y)[0] for y in Y.T], axis=1)


PEERS: dict[str, tuple[str, Loop]] = {
    "quadprog": ("fclsu", by_quadprog),
    "cvxopt": ("fclsu", by_cvxopt),
    "scipy": ("nnls", by_scipy),
}


def processor_time(task: Callable[[], Any], repeats: int = 1) -> tuple[float, Any]:
    """Least seconds of processor time, and the result."""
    best, result = np.inf, None
    for _ in range(repeats):
        start = time.thread_time()
        result = task()
        best = min(best, time.thread_time() - start)
    return best, result


def breach(Y: Array, A: Array, S: Array, *, on_simplex: bool) -> float:
    """Largest violation of the conditions of optimality."""
    slope = A.T @ (Y - A @ S)
    if on_simplex:
        slope -= (S * slope).sum(axis=0)
    worst = np.maximum(slope, np.where(S > 0, -slope, 0)).max(axis=0) / np.abs(A.T @ Y).max(axis=0)
    return float(max(worst.max(), -S.min()))


def measure(name: str, n_spectra: int, n_pixels: int, repeats: int) -> list[dict[str, Any]]:
    """One row for each peer of a solver."""
    Y, A, W = scene(n_spectra, n_pixels)
    solver = {"fclsu": fclsu, "nnls": nnls}[name]
    y, a, w = (torch.from_numpy(x) for x in (Y, A, W))
    solver(y[:, :100], a, w[:, :100])  # compiled before the clock starts
    seconds, S = processor_time(lambda: solver(y, a), repeats)
    weighted, _ = processor_time(lambda: solver(y, a, w), max(1, repeats // 3))
    rows = []
    for peer, (problem, loop) in PEERS.items():
        if problem != name or (peer != "scipy" and importlib.util.find_spec(peer) is None):
            continue
        n = min(n_pixels, CVXOPT_PIXELS) if peer == "cvxopt" else n_pixels
        part = np.ascontiguousarray(Y[:, :n])
        taken, expected = processor_time(lambda loop=loop, part=part: loop(part, A))
        rows.append(
            {
                "solver": name,
                "spectra": n_spectra,
                "pixels": n_pixels,
                "seconds": seconds,
                "seconds_weighted": weighted,
                "peer": peer,
                "peer_pixels": n,
                "peer_seconds": taken * n_pixels / n,
                "ratio": taken * n_pixels / n / seconds,
                "difference": float(np.abs(S.numpy()[:, :n] - expected).max()),
                "breach": breach(Y, A, S.numpy(), on_simplex=name == "fclsu"),
            }
        )
    return rows


def main(arguments: Sequence[str] | None = None) -> list[dict[str, Any]]:
    """Print the table and write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spectra", type=int, nargs="*", default=[3, 10, 30], help="numbers of spectra")
    parser.add_argument("--pixels", type=int, default=9025)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args(arguments)
    rows = []
    print("solver   K      ms  weighted ms   peer         ms    ratio  difference   breach")
    for name in ("fclsu", "nnls"):
        for n_spectra in options.spectra:
            for row in measure(name, n_spectra, options.pixels, options.repeats):
                rows.append(row)
                print(
                    f"{name:6} {n_spectra:3} {1e3 * row['seconds']:7.2f} {1e3 * row['seconds_weighted']:12.1f}   {row['peer']:8}"
                    f"{1e3 * row['peer_seconds']:7.0f} {row['ratio']:8.1f} {row['difference']:11.0e} {row['breach']:8.0e}",
                    flush=True,
                )
    options.json.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return rows


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
