"""One read of the data against explicit dense formulas."""

import sys

import numpy as np
import pytest
import torch

from vermilion.alternating import Problem, TensorTiles, first_quadratic, loss, passage
from vermilion.prox import NonNegative

solver = sys.modules["vermilion.alternating.passage"]

B, N, K = 5, 7, 3
TILES = [1, 80, 10**9]  # bytes: one row, two rows, all
CASES = pytest.mark.parametrize(
    ("axis", "layout", "weighted", "tile_bytes"),
    [(axis, layout, weighted, size) for axis in (0, 1) for layout in "CF" for weighted in (True, False) for size in TILES],
)


class Dense:
    """Data, factors and formulas in numpy; F (K, M1) belongs to the axis that is cut, R (K, M2) to the other."""

    def __init__(self, axis, weighted, *, seed=0, lead=()):
        rng = np.random.default_rng(seed)
        self.gain, self.weight_gain = 0.25, 3.0
        self.Y, self.W = rng.normal(size=(B, N)), np.ones((B, N))
        if weighted:
            self.W = rng.gamma(1.0, size=(B, N)) * (rng.random((B, N)) > 0.3)
            self.W[2], self.W[:, 4] = 0, 0
        self.axis, self.weighted = axis, weighted
        sizes = (B, N) if axis == 0 else (N, B)
        self.F, self.R, self.new = (
            rng.normal(size=(*lead, K, sizes[0])),
            rng.normal(size=(*lead, K, sizes[1])),
            rng.normal(size=(*lead, K, sizes[0])),
        )

    def tiles(self, layout, tile_bytes, *, hide=False, dtype=torch.float64):
        Y = np.where(self.W > 0, self.Y, np.nan) if hide else self.Y
        Y, W = torch.tensor(Y, dtype=dtype), torch.tensor(self.W, dtype=dtype) if self.weighted else None
        if layout == "F":
            Y, W = (None if X is None else X.T.contiguous().T for X in (Y, W))
        gains = {"gain": self.gain, "weight_gain": self.weight_gain if self.weighted else 1.0}
        return TensorTiles(Y, W, axis=self.axis, tile_bytes=tile_bytes, hidden=hide, **gains)

    @property
    def along(self):
        """Data and weights of order one, with the axis that is cut first."""
        y, w = self.gain * self.Y, self.W * (self.weight_gain if self.weighted else 1.0)
        return (y, w) if self.axis == 0 else (y.T, w.T)

    def first(self, F, R):
        """Matrices (M1, K, K) and gradient (K, M1) of the first factor."""
        y, w = self.along
        return np.einsum("km,nm,lm->nkl", R, w, R), -R @ (w * (y - F.T @ R)).T

    def second(self, F, R):
        y, w = self.along
        return np.einsum("kn,nm,ln->mkl", F, w, F), -F @ (w * (y - F.T @ R))

    def loss(self, F, R):
        y, w = self.along
        return 0.5 * np.sum(w * (y - F.T @ R) ** 2)


def assert_same(system, expected, at):
    """A quadratic has these matrices (M, K, K) and this gradient, at this point."""
    G, gradient = expected
    if system.packed:
        upper = np.stack([G[:, k, m] for k in range(K) for m in range(k, K)])
        np.testing.assert_allclose(system.G, upper, atol=1e-12)
    else:
        np.testing.assert_allclose(np.broadcast_to(system.G, G.shape), G, atol=1e-12)
    np.testing.assert_allclose(system.gradient, gradient, atol=1e-12)
    np.testing.assert_array_equal(system.at, at)


def moved(system, X):
    """What a solver returns: new values, and that of the quadratic there."""
    return X, system.change(X)


@CASES
def test_the_system_of_the_first_factor_is_that_of_weighted_least_squares(axis, layout, weighted, tile_bytes):
    dense = Dense(axis, weighted)
    system = first_quadratic(dense.tiles(layout, tile_bytes), torch.tensor(dense.F), torch.tensor(dense.R))
    assert system.packed is weighted
    assert_same(system, dense.first(dense.F, dense.R), dense.F)


@CASES
def test_one_read_gives_the_first_factor_the_system_of_the_second_and_the_loss(axis, layout, weighted, tile_bytes):
    dense = Dense(axis, weighted)
    tiles = dense.tiles(layout, tile_bytes)
    G, gradient = dense.first(dense.F, dense.R)
    seen = []

    def solve(columns, system):
        assert_same(system, (G[columns], gradient[:, columns]), dense.F[:, columns])
        seen.append(columns)
        return moved(system, torch.tensor(dense.new[:, columns]))

    out = passage(tiles, torch.tensor(dense.F), torch.tensor(dense.R), solve)
    assert tiles.reads == pytest.approx(1)
    assert len(seen) == tiles.count
    np.testing.assert_array_equal(out.first, dense.new)
    assert_same(out.second, dense.second(dense.new, dense.R), dense.R)
    assert float(out.loss) == pytest.approx(dense.loss(dense.new, dense.R), rel=1e-13)
    # and so the objective after the second factor is known without another read
    move = dense.R + 0.5
    assert float(out.loss + out.second.change(torch.tensor(move))) == pytest.approx(dense.loss(dense.new, move), rel=1e-12)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("lead", [(), (4,)])
@pytest.mark.parametrize("move", [1e-12, 1e-6, 1e-2, 10.0])
def test_a_small_move_gives_the_system_and_the_loss_at_its_end_without_a_new_residual(axis, lead, move, monkeypatch):
    dense = Dense(axis, False, lead=lead)
    F, R, new = (torch.tensor(X) for X in (dense.F, dense.R, dense.F + move * dense.new))
    formed = []
    subtract = solver._Tile.subtract_
    monkeypatch.setattr(solver._Tile, "subtract_", lambda *arguments: formed.append(1) or subtract(*arguments))
    read = passage(dense.tiles("C", 80), F, R, lambda rows, system: moved(system, new[..., rows]))
    assert bool(formed) is (move == 10.0)
    expected = passage(dense.tiles("C", 80), F, R, None, new=new)
    torch.testing.assert_close(read.loss, expected.loss, rtol=1e-12, atol=0)
    torch.testing.assert_close(read.second.gradient, expected.second.gradient, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(read.second.G, expected.second.G)


@CASES
def test_a_first_factor_that_is_known_already_is_taken_as_it_is(axis, layout, weighted, tile_bytes):
    dense = Dense(axis, weighted)
    F, R, new = (torch.tensor(X) for X in (dense.F, dense.R, dense.new))
    out = passage(dense.tiles(layout, tile_bytes), F, R, None, new=new)
    assert_same(out.second, dense.second(dense.new, dense.R), dense.R)
    assert float(out.loss) == pytest.approx(dense.loss(dense.new, dense.R), rel=1e-13)
    out = passage(dense.tiles(layout, tile_bytes), F, R, None)
    assert_same(out.second, dense.second(dense.F, dense.R), dense.R)
    assert float(out.loss) == pytest.approx(dense.loss(dense.F, dense.R), rel=1e-13)
    assert torch.equal(out.first, F)


@CASES
def test_the_loss_is_half_the_weighted_sum_of_squares(axis, layout, weighted, tile_bytes):
    dense = Dense(axis, weighted)
    value = loss(dense.tiles(layout, tile_bytes), torch.tensor(dense.F), torch.tensor(dense.R))
    assert value.dtype == torch.float64
    assert float(value) == pytest.approx(dense.loss(dense.F, dense.R), rel=1e-13)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("layout", ["C", "F"])
@pytest.mark.parametrize("tile_bytes", TILES)
def test_values_that_are_not_finite_hide_under_a_weight_of_zero(axis, layout, tile_bytes):
    dense = Dense(axis, True)
    F, R = torch.tensor(dense.F), torch.tensor(dense.R)
    plain, hidden = (dense.tiles(layout, tile_bytes, hide=hide) for hide in (False, True))
    solve = lambda columns, system: moved(system, system.at - 0.1 * system.gradient)  # noqa: E731
    one, other = passage(plain, F, R, solve), passage(hidden, F, R, solve)
    for a, b in (
        (one.first, other.first),
        (one.second.G, other.second.G),
        (one.second.gradient, other.second.gradient),
        (one.loss, other.loss),
    ):
        torch.testing.assert_close(a, b)
    torch.testing.assert_close(loss(plain, F, R), loss(hidden, F, R))
    torch.testing.assert_close(first_quadratic(plain, F, R).gradient, first_quadratic(hidden, F, R).gradient)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("layout", ["C", "F"])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("tile_bytes", TILES)
def test_factors_in_a_batch_are_those_one_by_one(axis, layout, weighted, tile_bytes):
    dense = Dense(axis, weighted, lead=(2,))
    F, R = torch.tensor(dense.F), torch.tensor(dense.R)
    tiles = dense.tiles(layout, tile_bytes)
    solve = lambda columns, system: moved(system, system.at - 0.1 * system.gradient)  # noqa: E731
    out, system, value = passage(tiles, F, R, solve), first_quadratic(tiles, F, R), loss(tiles, F, R)
    assert out.loss.shape == value.shape == (2,)
    for i in range(2):
        G, gradient = dense.first(dense.F[i], dense.R[i])
        new = dense.F[i] - 0.1 * gradient
        np.testing.assert_allclose(out.first[i], new, atol=1e-12)
        for batch, expected, at in ((system, (G, gradient), dense.F[i]), (out.second, dense.second(new, dense.R[i]), dense.R[i])):
            assert_same(type(batch)(batch.G[i], batch.gradient[i], batch.at[i], batch.packed), expected, at)
        assert float(out.loss[i]) == pytest.approx(dense.loss(new, dense.R[i]), rel=1e-12)
        assert float(value[i]) == pytest.approx(dense.loss(dense.F[i], dense.R[i]), rel=1e-12)


def test_the_loss_of_two_numbers_by_hand():
    # (3 - 1·2)² · 2 / 2 + (0 - 1·4)² · 0.5 / 2 = 1 + 4
    tiles = TensorTiles(torch.tensor([[3.0, 0.0]]), torch.tensor([[2.0, 0.5]]))
    assert float(loss(tiles, torch.tensor([[1.0]]), torch.tensor([[2.0, 4.0]]))) == 5


def test_the_gradient_of_two_numbers_by_hand():
    # residuals 1 and -4 with weights 2 and 0.5: −A w r = (-2, 2) for the pixels, −Σ S w r = -(2·2·1 - 4·0.5·4) = 4 for the band
    tiles = TensorTiles(torch.tensor([[3.0, 0.0]]), torch.tensor([[2.0, 0.5]]))
    A, S = torch.tensor([[1.0]]), torch.tensor([[2.0, 4.0]])
    assert passage(tiles, A, S, None).second.gradient.tolist() == [[-2, 2]]
    system = first_quadratic(tiles, A, S)
    assert system.gradient.tolist() == [[4]]
    assert system.G.tolist() == [[16]]  # 2²·2 + 4²·0.5


# ---- digits


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("layout", ["C", "F"])
def test_float32_loses_nothing_of_the_gradient_under_a_signal_of_a_million_times_the_noise(axis, layout):
    # factors of few digits and noise in sixteenths, so that model and data are float32 numbers: what is lost is lost by the sums
    rng = np.random.default_rng(1)
    A, S = rng.integers(0, 4, size=(60, 2)).astype("f4"), rng.integers(2e5, 4e5, size=(2, 400)).astype("f4")
    r = np.round(16 * rng.normal(size=(60, 400))) / 16
    Y = A.astype("f8") @ S + r
    assert (Y.astype("f4") == Y).mean() > 0.7
    Y = torch.tensor(Y.astype("f4"))
    r = Y.double().numpy() - A.astype("f8") @ S
    assert np.abs(A @ S).max() > 1e6 * r.std()
    tiles = TensorTiles(Y if layout == "C" else Y.T.contiguous().T, axis=axis, tile_bytes=20_000)
    F, R = (A.T, S) if axis == 0 else (S, A.T)
    r = r if axis == 0 else r.T
    noise = {"first": np.sqrt((R.astype("f8") ** 2).sum()), "second": np.sqrt((F.astype("f8") ** 2).sum())}
    out = passage(tiles, torch.tensor(F), torch.tensor(R), None)
    first = first_quadratic(tiles, torch.tensor(F), torch.tensor(R))
    assert np.abs(out.second.gradient.numpy() + F.astype("f8") @ r).max() < 1e-3 * noise["second"]
    assert np.abs(first.gradient.numpy() + R.astype("f8") @ r.T).max() < 1e-3 * noise["first"]
    assert float(out.loss) == pytest.approx(0.5 * np.sum(r**2), rel=1e-5)
    assert float(loss(tiles, torch.tensor(F), torch.tensor(R))) == pytest.approx(0.5 * np.sum(r**2), rel=1e-5)


@pytest.mark.parametrize("weighted", [True, False])
def test_float32_keeps_its_digits_under_a_signal_of_ten_thousand_times_the_noise(weighted):
    rng = np.random.default_rng(1)
    A, S = rng.random((50, 2)).astype("f4"), 1e4 * rng.random((2, 400)).astype("f4")
    W = (rng.uniform(0.5, 2, size=(50, 400)) if weighted else np.ones((50, 400))).astype("f4")
    Y = (A.astype("f8") @ S + rng.normal(size=(50, 400))).astype("f4")
    r = Y.astype("f8") - A.astype("f8") @ S.astype("f8")
    tiles = TensorTiles(torch.tensor(Y), torch.tensor(W) if weighted else None, tile_bytes=10_000)
    F, R = torch.tensor(A.T), torch.tensor(S)
    exact = A.T.astype("f8") @ (W * r)
    assert np.abs(passage(tiles, F, R, None).second.gradient.numpy() + exact).max() < 1e-3 * np.sqrt((exact**2).mean())
    exact = S.astype("f8") @ (W * r).T
    assert np.abs(first_quadratic(tiles, F, R).gradient.numpy() + exact).max() < 1e-3 * np.sqrt((exact**2).mean())
    assert float(loss(tiles, F, R)) == pytest.approx(0.5 * np.sum(W * r**2), rel=1e-4)


def test_the_loss_of_factors_finer_than_the_data_is_that_of_the_fine_ones():
    # data that are exactly the product of the rounded factors: the loss is that of what the rounding took away
    rng = np.random.default_rng(2)
    A, S = rng.integers(1, 4, size=(50, 2)).astype("f8"), rng.integers(1, 4000, size=(2, 400)).astype("f8")
    finer_A, finer_S = A * (1 + 2e-8 * rng.random(A.shape)), S * (1 + 2e-8 * rng.random(S.shape))
    assert (finer_A.astype("f4") == A).all()
    assert (finer_S.astype("f4") == S).all()
    value = float(loss(TensorTiles(torch.tensor(A @ S, dtype=torch.float32)), torch.tensor(finer_A.T), torch.tensor(finer_S)))
    assert value == pytest.approx(0.5 * np.sum((A @ S - finer_A @ finer_S) ** 2), rel=1e-4)


# ---- the two reads of a step fit together


@pytest.mark.parametrize("weighted", [True, False])
def test_a_read_of_a_problem_in_its_own_unit_is_that_of_data_of_order_one(weighted):
    rng = np.random.default_rng(3)
    Y, W = 100 * rng.random((6, 30)), rng.gamma(1.0, size=(6, 30)) if weighted else None
    p = Problem.normalized(torch.tensor(Y), None if W is None else torch.tensor(W), dtype=torch.float64, device=torch.device("cpu"))
    block = p.block("S", NonNegative())
    F, R = torch.tensor(rng.random((2, 6))), torch.tensor(rng.random((2, 30)))
    value = float(loss(p.tiles(), F, block.prox(R, 1.0)) if p.tiles().axis == 0 else loss(p.tiles(), R, F))
    expected = 0.5 * np.sum((1 if W is None else W) * (Y - (F.T @ R).numpy() * p.data_scale) ** 2)
    assert value * p.objective_scale == pytest.approx(expected, rel=1e-12)
