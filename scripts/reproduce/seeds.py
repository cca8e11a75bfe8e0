"""Reproduce the three documents that vermilion grew from, and say row by row whether the numbers agree.

Run ``python scripts/reproduce/seeds.py [--figure PATH]``; the exit status is 1 when a row does not agree.

1. *Matrix factorization using gradient descent*: plain gradient descent from printed factors.
2. *Matrix operations with PyTorch, optimizer, addendum*: a singular value decomposition by SGD and by Adam, orthogonality
   as a penalty; then as a proximal operator.
3. *Proximal matrix factorization in PyTorch*: the optimizer PGM with constraints, momentum and Nesterov's method.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from matplotlib.figure import Figure
from scipy.special import wrightomega
from torch import Tensor

from vermilion.models import Factorization
from vermilion.optim import PGM
from vermilion.prox import Chain, MaxEntropy, NonNegative, Stiefel, UnitSum

STEPS = 20_000


class Row(NamedTuple):
    """One line of the table."""

    what: str
    document: str
    here: str
    agrees: bool


def compare(what: str, document: Tensor, here: Tensor, tolerance: float) -> Row:
    """Row for printed numbers; only the worst is shown where there are many."""
    here = here.detach()
    worst = float((document - here).abs().max())
    if document.numel() <= 4:
        return Row(what, numbers(document), numbers(here), worst <= tolerance)
    return Row(what, f"{document.numel()} printed numbers", f"largest difference {worst:.1e}", worst <= tolerance)


def numbers(values: Tensor) -> str:
    """Values with four decimals, as the documents print them."""
    return " ".join(f"{value:.4f}" for value in values.detach().flatten().tolist())


def below(what: str, document: str, value: float, limit: float) -> Row:
    """Row for something that has to be small."""
    return Row(f"{what} <= {limit:g}", document, f"{value:.1e}", value <= limit)


# ---------------------------------------------------------------------------------------------------------------------
# 1. Gradient descent

D = torch.tensor([[0.0456, 0.1537, 0.0830, 0.0980], [0.2683, 0.4260, 0.4277, 0.4913], [0.4779, 0.7156, 0.7563, 0.8673]])
C_START = torch.tensor([[0.9721, 0.2518], [0.0386, 0.5858], [0.4206, 0.2610]])
F_START = torch.tensor([[0.8656, 0.0336, 0.1317, 0.2444], [0.4919, 0.4990, 0.4563, 0.7689]])
C_GRADIENT = torch.tensor([[1.7976, 1.5676], [0.0270, -0.2698], [-0.4419, -1.9538]])
F_GRADIENT = torch.tensor([[1.8045, -0.4818, -0.1906, 0.1710], [0.5332, -0.4509, -0.4052, -0.1633]])
GD_LOSSES = torch.tensor([1.8741, 0.0223, 0.0060, 0.0028, 0.0020, 0.0017, 0.0016, 0.0015, 0.0015, 0.0014, 0.0014])


def gradient_descent() -> Iterator[Row]:
    """The first notebook: one step at 0.01, then 10000 at 0.001."""
    model = Factorization(C_START, F_START)
    optimizer = PGM(model.parameters(), lr=0.01)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = ((D - model()) ** 2).sum()
        loss.backward()
        return loss

    yield compare("loss at the printed start", torch.tensor([2.0110]), closure(), 1.5e-4)
    yield compare("gradient of C", C_GRADIENT, model.A.grad, 1.5e-4)
    yield compare("gradient of F", F_GRADIENT, model.S.grad, 1.5e-4)
    optimizer.step()
    optimizer.param_groups[0]["lr"] = 0.001
    losses = torch.stack([optimizer.step(closure) for _ in range(10_000)])
    marks = torch.tensor([1, *range(1000, 10_001, 1000)])
    for mark, document, here in zip(marks.tolist(), GD_LOSSES, losses[marks - 1], strict=True):
        yield compare(f"loss at iteration {mark}", document[None], here[None], 1.5e-4)


# ---------------------------------------------------------------------------------------------------------------------
# 2. Singular value decomposition

SINGULAR_VALUES = torch.tensor([2.3398, 0.6873, 0.2592, 0.1177])
FIRST_SEED = 314
OTHER_SEEDS = range(5)


def matrices() -> list[Tensor]:
    """The five matrices of the notebook."""
    made = []
    for seed, shape in ((314, (5, 4)), (315, (4, 4)), (316, (7, 4)), (317, (3, 4)), (317, (4, 3))):
        torch.manual_seed(seed)
        matrix = torch.rand(shape)
        made.append(matrix if shape[0] >= shape[1] else matrix.T.contiguous())
    return made


def first_guess(M: Tensor, seed: int) -> list[Tensor]:
    """U, the roots of the diagonal, and V, in the notebook's order."""
    m, n = M.shape
    torch.manual_seed(seed)
    return [torch.rand(m, n), torch.rand(n), torch.rand(n, n)]


def mse(y_hat: Tensor, y_true: Tensor) -> Tensor:
    """The notebook's metric."""
    return ((y_hat - y_true) ** 2).mean()


def penalized_loss(U: Tensor, root: Tensor, V: Tensor, M: Tensor) -> Tensor:
    """The notebook's objective."""
    one = torch.eye(len(V))
    return mse(U @ torch.diag(root * root) @ V.T, M) + mse(U.T @ U, one) / 100 + mse(V @ V.T, one) / 100


class Stacked:
    """Several decompositions run side by side: zero-padded to one shape, every entry weighted as its own mean wants it.

    Padded entries start at zero and have no gradient, and SGD and Adam treat each entry by itself: each problem runs as
    if it were alone.
    """

    def __init__(self, problems: list[tuple[Tensor, int]]) -> None:
        self.shapes = [M.shape for M, _ in problems]
        rows, columns = (max(sizes) for sizes in zip(*self.shapes, strict=True))
        self.M = torch.stack([pad(M, rows, columns) for M, _ in problems])
        self.weight = torch.stack([pad(torch.full_like(M, 1 / M.numel()), rows, columns) for M, _ in problems])
        self.one = torch.stack([pad(torch.eye(n), columns, columns) for _, n in self.shapes])
        self.scale = torch.tensor([1 / (100 * n * n) for _, n in self.shapes])
        guesses = [first_guess(M, seed) for M, seed in problems]
        self.U = torch.stack([pad(U, rows, columns) for U, _, _ in guesses]).requires_grad_()
        self.root = torch.stack([pad(root[None], 1, columns)[0] for _, root, _ in guesses]).requires_grad_()
        self.V = torch.stack([pad(V, columns, columns) for _, _, V in guesses]).requires_grad_()
        self.parameters = [self.U, self.root, self.V]

    def losses(self) -> Tensor:
        """The notebook's objective of every problem."""
        residual = (self.U * (self.root * self.root)[:, None]) @ self.V.mT - self.M
        off_U, off_V = self.U.mT @ self.U - self.one, self.V @ self.V.mT - self.one
        return (self.weight * residual * residual).sum((1, 2)) + self.scale * ((off_U * off_U + off_V * off_V).sum((1, 2)))

    def factors(self, index: int, parameters: list[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """U, roots and V of one problem, without the padding."""
        m, n = self.shapes[index]
        U, root, V = (p.detach()[index] for p in parameters)
        return U[:m, :n], root[:n], V[:n, :n]


def pad(x: Tensor, rows: int, columns: int) -> Tensor:
    """`x` with zeros below and to the right."""
    return torch.nn.functional.pad(x, (0, columns - x.shape[1], 0, rows - x.shape[0]))


def descend(stacked: Stacked, optimizer: torch.optim.Optimizer, *, keep_best: int = 1) -> tuple[Tensor, list[Tensor]]:
    """Losses (steps, problems) and final parameters, of each problem the best state of the last `keep_best`."""
    losses = []
    best, final = torch.full((len(stacked.shapes),), torch.inf), [p.detach().clone() for p in stacked.parameters]
    for step in range(STEPS + 1):
        optimizer.zero_grad()
        loss = stacked.losses()
        losses.append(loss.detach())
        if step > STEPS - keep_best:
            better = loss.detach() < best
            best = torch.where(better, loss.detach(), best)
            final = [
                torch.where(better.view(-1, *[1] * (p.ndim - 1)), p.detach(), f) for p, f in zip(stacked.parameters, final, strict=True)
            ]
        if step < STEPS:
            loss.sum().backward()
            optimizer.step()
    return torch.stack(losses[:STEPS]), final


def decomposition_errors(factors: tuple[Tensor, Tensor, Tensor], M: Tensor) -> tuple[Tensor, float, float, float]:
    """Sorted diagonal; worst error of it, of U and V up to sign, and of U'U."""
    U, root, V = factors
    diagonal, order = (root * root).sort(descending=True)
    U, V = U[:, order], V[:, order]
    left, values, right = torch.linalg.svd(M, full_matrices=False)
    vectors = max(float((up_to_sign(a, b) - b).abs().max()) for a, b in ((U, left), (V, right.mT)))
    off = float((U.T @ U - torch.eye(len(V))).abs().max())
    return diagonal, float((diagonal - values).abs().max()), vectors, off


def up_to_sign(a: Tensor, b: Tensor) -> Tensor:
    """Columns of `a` with the signs of those of `b`."""
    return a * (a * b).sum(0).sign()


def decomposition_rows(who: str, factors: tuple[Tensor, Tensor, Tensor], M: Tensor) -> Iterator[Row]:
    """Rows for the printed matrix."""
    diagonal, _, vectors, off = decomposition_errors(factors, M)
    yield compare(f"{who}: singular values", SINGULAR_VALUES, diagonal, 1e-4)
    yield below(f"{who}: U, V against torch, up to sign,", "equal to four decimals", vectors, 1e-3)
    yield below(f"{who}: U'U - I", "0.0000", off, 1e-3)


def notebook_run(M: Tensor) -> tuple[list[float], list[Tensor]]:
    """The documented run as it is written: SGD, one problem, gradients zeroed in each step."""
    parameters = [p.requires_grad_() for p in first_guess(M, FIRST_SEED)]
    optimizer = torch.optim.SGD(parameters, lr=0.9, momentum=0.9)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = penalized_loss(*parameters, M)
        losses.append(loss.detach())
        loss.backward()
        optimizer.step()
    return torch.stack(losses).tolist(), [p.detach() for p in parameters]


def singular_values(figure: Path | None) -> Iterator[Row]:
    """The second notebook: the documented run, Adam, other starts, the five curves, and what it could not do."""
    made = matrices()
    M = made[0]
    curve, factors = notebook_run(M)
    yield from decomposition_rows("SGD", tuple(factors), M)

    stacked = Stacked([(M, seed) for seed in OTHER_SEEDS] + [(other, FIRST_SEED) for other in made[1:]])
    losses, final = descend(stacked, torch.optim.SGD(stacked.parameters, lr=0.9, momentum=0.9))
    yield from seeds_row("SGD", stacked, final, M, list(OTHER_SEEDS))
    curves = [torch.tensor(curve), *losses[:, len(OTHER_SEEDS) :].unbind(1)]
    if figure is not None:
        draw(curves, figure)
    fallen = all(bool(torch.isfinite(c).all()) and float(c[-1]) < 0.1 * float(c[0]) for c in curves)
    yield Row("five convergence curves", "fall, on a logarithmic axis", "end at " + " ".join(f"{float(c[-1]):.0e}" for c in curves), fallen)

    # Adam's steps do not die out: of its last 1000 states the one with the lowest loss counts
    stacked = Stacked([(M, seed) for seed in (FIRST_SEED, *OTHER_SEEDS)])
    _, final = descend(stacked, torch.optim.Adam(stacked.parameters, lr=1e-3), keep_best=1000)
    yield from decomposition_rows("Adam", stacked.factors(0, final), M)
    yield from seeds_row("Adam", stacked, final, M, list(OTHER_SEEDS), first=1)
    for who, matrix, seeds in (("printed matrix", M, (FIRST_SEED,)), ("five other starts", M, tuple(OTHER_SEEDS))):
        yield stiefel_row(who, matrix, seeds)


def seeds_row(who: str, stacked: Stacked, final: list[Tensor], M: Tensor, seeds: list[int], first: int = 0) -> Iterator[Row]:
    """One row for all other starts."""
    errors = [decomposition_errors(stacked.factors(first + i, final), M)[1:] for i in range(len(seeds))]
    values, vectors, off = (max(column) for column in zip(*errors, strict=True))
    agrees = values <= 1e-4 and vectors <= 1e-3 and off <= 1e-3
    yield Row(
        f"{who}: {len(seeds)} other starts", "the same decomposition", f"values {values:.0e} vectors {vectors:.0e} U'U {off:.0e}", agrees
    )


def stiefel_row(who: str, M: Tensor, seeds: tuple[int, ...], max_iter: int = 2000) -> Row:
    """Orthogonality as a proximal operator: iterations until the singular values are right to 1e-6."""
    iterations, orthogonality = zip(*(stiefel_iterations(M.double(), seed, max_iter) for seed in seeds), strict=True)
    here = f"{'-'.join(str(n) for n in sorted({min(iterations), max(iterations)}))} iterations, U'U - I {max(orthogonality):.0e}"
    agrees = max(iterations) < max_iter and max(orthogonality) < 1e-12
    return Row(f"PGM, prox Stiefel: {who}, to 1e-6", "only a penalty there", here, agrees)


def stiefel_iterations(M: Tensor, seed: int, max_iter: int) -> tuple[int, float]:
    """Iterations to 1e-6, and the worst |U'U - I| after any of them."""
    U, diagonal, V = (x.double().requires_grad_() for x in first_guess(M, seed))
    groups = [{"params": [U, V], "prox": Stiefel()}, {"params": [diagonal], "prox": None}]  # signs end up in U
    optimizer = PGM(groups, momentum=0.9)
    values, one, off = torch.linalg.svdvals(M), torch.eye(M.shape[1], dtype=M.dtype), 0.0

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = mse(U * diagonal @ V.T, M)
        loss.backward()
        return loss

    for iteration in range(1, max_iter):
        optimizer.step(closure)
        off = max(off, float((U.detach().T @ U.detach() - one).abs().max()))
        if float((diagonal.detach().abs().sort(descending=True).values - values).abs().max()) <= 1e-6:
            return iteration, off
    return max_iter, off


def draw(curves: list[Tensor], path: Path) -> None:
    """The notebook's picture: losses of the five matrices."""
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    labels = ("5 x 4", "4 x 4", "7 x 4", "4 x 3", "4 x 3, another")
    for curve, label in zip(curves, labels, strict=True):
        axes.semilogy(np.arange(1, len(curve) + 1), curve.numpy(), label=label, linewidth=1)
    axes.set(xlabel="iteration", ylabel="loss", title="SGD on U, S, V of five random matrices (lr 0.9, momentum 0.9)")
    figure.legend(title="matrix", frameon=False, loc="outside right upper")
    figure.savefig(path, dpi=150)


# ---------------------------------------------------------------------------------------------------------------------
# 3. Proximal matrix factorization

B, N, K = 20, 30, 3
LR_A, LR_S = 3e-4, 0.1
ENTROPY = 0.02


def prox_plus(x: Tensor, step: float) -> Tensor:
    """The post's torch.nn.Threshold(0, 0)."""
    return torch.nn.functional.threshold(x, 0, 0)


def prox_unity(x: Tensor, step: float) -> Tensor:
    """The post's rescaling, after its prox_plus."""
    x = prox_plus(x, step)
    return x / x.sum(dim=0).unsqueeze(dim=0)


def prox_max_entropy(x: Tensor, step: float) -> Tensor:
    """The root y of y + c (1 + ln y) = x by scipy's Wright omega function, c = weight times step."""
    c = ENTROPY * step
    return torch.as_tensor(c * wrightomega(x.double().numpy() / c - 1 - np.log(c))).to(x.dtype)


Operator = Callable[[Tensor, float], Tensor]


def plain_loop(Y: Tensor, A: Tensor, S: Tensor, proxes: list[Operator], lrs: list[float], momentum: float, nesterov: bool) -> list[float]:
    """The post's loop, written out: losses before each of 300 steps."""
    parameters, velocity, losses = [A.clone(), S.clone()], [torch.zeros_like(A), torch.zeros_like(S)], []
    for _ in range(300):
        parameters = [p.detach().requires_grad_() for p in parameters]
        loss = torch.nn.functional.mse_loss(parameters[0] @ parameters[1], Y, reduction="sum")
        losses.append(float(loss.detach()))
        gradients = torch.autograd.grad(loss, parameters)
        velocity = [momentum * v + g for v, g in zip(velocity, gradients, strict=True)]
        directions = [g + momentum * v if nesterov else v for g, v in zip(gradients, velocity, strict=True)]
        parameters = [prox(p.detach() - lr * d, lr) for p, d, lr, prox in zip(parameters, directions, lrs, proxes, strict=True)]
    return losses


def customary_loop(model: Factorization, Y: Tensor, optimizer: PGM, feasible: Callable[[Tensor, Tensor], bool]) -> tuple[list[float], bool]:
    """The incantation of the post: losses before each of 300 steps, and whether every step ended feasible."""
    loss_fn, losses, always = torch.nn.MSELoss(reduction="sum"), [], True
    for _ in range(300):
        Y_ = model()
        loss = loss_fn(Y_, Y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
        always = always and bool(torch.isfinite(model()).all()) and feasible(*model.components())
    return losses, always


def is_positive(A: Tensor, S: Tensor) -> bool:
    """Both factors non-negative."""
    return bool((A >= 0).all() and (S >= 0).all())


def is_normalized(A: Tensor, S: Tensor) -> bool:
    """Both factors non-negative, spectra of unit sum."""
    return is_positive(A, S) and bool(((A.sum(0) - 1).abs() < 1e-5).all())


def post() -> Iterator[Row]:
    """The third document: one operator for all, then one per group, each with and without acceleration."""
    torch.manual_seed(FIRST_SEED)
    Y = torch.rand(B, N)
    start = Factorization.random(B, N, K)
    A, S = start.components()
    unity = Chain(NonNegative(), UnitSum(0))
    cases: list[tuple[str, list[Operator], list[object] | object, list[float], Callable[[Tensor, Tensor], bool]]] = [
        ("non-negative for both", [prox_plus, prox_plus], torch.nn.Threshold(0, 0), [LR_A, LR_A], is_positive),
        ("unit sum, non-negative", [prox_unity, prox_plus], [unity, NonNegative()], [LR_A, LR_S], is_normalized),
        ("unit sum, max entropy", [prox_unity, prox_max_entropy], [unity, MaxEntropy(ENTROPY)], [LR_A, LR_S], is_normalized),
    ]
    for name, reference, operators, lrs, feasible in cases:
        for momentum, nesterov in ((0.0, False), (0.5, False), (0.5, True)):
            model = Factorization(A, S)
            groups = [{"params": model.A, "lr": lrs[0]}, {"params": model.S, "lr": lrs[1]}]
            params = groups if isinstance(operators, list) else model.parameters()
            optimizer = PGM(params, operators, lr=lrs[0], momentum=momentum, nesterov=nesterov)
            losses, always = customary_loop(model, Y, optimizer, feasible)
            plain = plain_loop(Y, A, S, reference, lrs, momentum, nesterov)
            yield post_row(f"{name}, {'Nesterov' if nesterov else f'momentum {momentum:g}'}", plain, losses, always)


def post_row(what: str, plain: list[float], losses: list[float], always: bool) -> Row:
    """Row that compares all losses of the plain loop with those of PGM."""
    worst = max(abs(a - b) / abs(a) for a, b in zip(plain, losses, strict=True))
    here = f"{losses[0]:.2f} -> {losses[-1]:.6f}, {'feasible' if always else 'INFEASIBLE'}, differs by {worst:.0e}"
    return Row(what, f"{plain[0]:.2f} -> {plain[-1]:.6f} (plain loop)", here, always and worst <= 1e-4 and losses[-1] < losses[0])


# ---------------------------------------------------------------------------------------------------------------------


def print_table(title: str, rows: list[Row]) -> None:
    """One document as a table."""
    table = [("document says", "here", "agrees"), *((row.document, row.here, "yes" if row.agrees else "NO") for row in rows)]
    widths = [max(len(row.what) for row in rows), *(max(map(len, column)) for column in zip(*table, strict=True))]
    print(f"\n{title}")
    for what, cells in zip(["", *(row.what for row in rows)], table, strict=True):
        print("  " + " | ".join(f"{cell:<{width}}" for cell, width in zip((what, *cells), widths, strict=True)).rstrip())


def main(arguments: list[str] | None = None) -> int:
    """Print the three tables; return the exit status."""
    parser = argparse.ArgumentParser(description="Reproduce the three documents that vermilion grew from.")
    parser.add_argument("--figure", type=Path, metavar="PATH", help="write the convergence figure of the five matrices here")
    options = parser.parse_args(arguments)
    # matrices of a few numbers: more threads only wait for each other
    torch.set_num_threads(1)
    agrees = True
    documents = {
        "Matrix factorization using gradient descent": gradient_descent(),
        "Matrix operations with PyTorch: optimizer, addendum": singular_values(options.figure),
        "Proximal matrix factorization in PyTorch": post(),
    }
    for title, rows in documents.items():
        table = list(rows)
        print_table(title, table)
        agrees = agrees and all(row.agrees for row in table)
    print(f"\n{'All rows agree.' if agrees else 'Some rows do not agree.'}")
    return 0 if agrees else 1


if __name__ == "__main__":
    sys.exit(main())
