import numpy as np
import pytest
import scipy.optimize
import torch

from vermilion.optim import FISTA, PGM, TopCurvature
from vermilion.prox import NonNegative, Soft


def logistic(seed=0, n=200, m=30):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, m))
    X[:, ::3] *= 10
    w = np.where(np.arange(m) < 5, rng.normal(size=m), 0)
    return X, np.where(rng.random(n) < 1 / (1 + np.exp(-X @ w)), 1.0, -1.0)


def run(cls, X, y, weight, n, **options):
    x = torch.zeros(X.shape[1], dtype=torch.float64, requires_grad=True)
    design = torch.as_tensor(y[:, None] * X)
    optimizer = cls([x], Soft(weight), **options)

    def closure():
        optimizer.zero_grad()
        loss = torch.nn.functional.softplus(-(design @ x)).sum()
        loss.backward()
        return loss

    for _ in range(n):
        loss = optimizer.step(closure)
    return x.detach().numpy(), float(loss) + float(optimizer.penalty())


def test_sparse_logistic_regression_agrees_with_scipy():
    X, y = logistic()
    weight = 2.0
    m = X.shape[1]

    # x = u - v with u, v >= 0 makes the penalty linear
    def smooth(uv):
        x = uv[:m] - uv[m:]
        margin = y * (X @ x)
        gradient = -X.T @ (y / (1 + np.exp(margin)))
        return np.logaddexp(0, -margin).sum() + weight * uv.sum(), np.concatenate([gradient + weight, -gradient + weight])

    peer = scipy.optimize.minimize(
        smooth,
        np.zeros(2 * m),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None)] * (2 * m),
        options={"maxiter": 5000, "ftol": 1e-15, "gtol": 1e-10},
    )
    _, objective = run(FISTA, X, y, weight, 500)
    assert objective == pytest.approx(peer.fun, rel=1e-8)


@pytest.mark.parametrize("rule", ["auto", TopCurvature()], ids=["auto", "curvature"])
def test_acceleration_helps(rule):
    X, y = logistic(1)
    _, best = run(FISTA, X, y, 1.0, 1500)
    gaps = [run(cls, X, y, 1.0, 150, step_rule=rule)[1] - best for cls in (FISTA, PGM)]
    assert gaps[0] < 0.1 * gaps[1]


def test_the_first_step_by_hand():
    # f = 2 x^2 at 1: gradient 4, step 1/4 leads to 0
    x = torch.tensor([1.0], requires_grad=True)
    optimizer = FISTA([x], NonNegative(), lr=0.25)
    optimizer.step(lambda: (optimizer.zero_grad(), (loss := 2 * x.square().sum()).backward(), loss)[-1])
    assert x.tolist() == [0.0]


def test_the_second_step_starts_ahead():
    # f = x^2 / 2, step 1/2: 1, 1/2; t = 1 then 1.618, momentum 0 in the second, 0.618 / 2.1935 = 0.28175 in the third:
    # x2 = 1/4, y = 1/4 - 0.28175 / 4 = 0.17956, x3 = 0.08978
    x = torch.tensor([1.0], dtype=torch.float64, requires_grad=True)
    optimizer = FISTA([x], lr=0.5)
    points = []
    for _ in range(3):
        optimizer.step(lambda: (optimizer.zero_grad(), (loss := 0.5 * x.square().sum()).backward(), loss)[-1])
        points.append(float(x.detach()))
    assert points == pytest.approx([0.5, 0.25, 0.08978], rel=1e-4)
