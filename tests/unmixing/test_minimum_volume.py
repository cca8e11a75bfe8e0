"""The smallest simplex: exact without noise, unbiased with it, and the same in any coordinates."""

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scipy.spatial.distance import cdist

from vermilion.unmixing.minimum_volume import facet_coordinates, minimum_volume


def cloud(dimensions=3, n_points=3000, *, most=0.8, noise=0.0, seed=0):
    """Points in a simplex with no pixel at its vertices, the noise covariance (1, q, q), and the vertices."""
    rng = np.random.default_rng(seed)
    vertices = rng.normal(size=(dimensions, dimensions + 1))
    shares = rng.dirichlet(np.full(dimensions + 1, 0.6), 20 * n_points).T
    shares = shares[:, shares.max(axis=0) < most][:, :n_points]
    points = vertices @ shares + noise * rng.normal(size=(dimensions, shares.shape[1]))
    return torch.tensor(points), noise**2 * torch.eye(dimensions, dtype=torch.float64)[None], vertices


def starts_of(points, count=3, seed=1):
    rng = np.random.default_rng(seed)
    return torch.stack([points[:, rng.choice(points.shape[1], len(points) + 1, replace=False)] for _ in range(count)])


def error(found, vertices):
    """Largest distance of matched vertices over the size of the simplex."""
    distance = cdist(found.numpy().T, vertices.T)
    return distance[linear_sum_assignment(distance)].max() / np.linalg.norm(vertices - vertices.mean(axis=1, keepdims=True), axis=0).mean()


def test_facet_coordinates_are_barycentric():
    vertices = torch.tensor([[0.0, 1.0, 0.0], [0.0, 0.0, 2.0]], dtype=torch.float64)
    shares, errors = facet_coordinates(vertices, torch.tensor([[0.25, 2.0], [0.5, 0.0]], dtype=torch.float64), torch.eye(2)[None].double())
    assert torch.allclose(shares, torch.tensor([[0.5, -1.0], [0.25, 2.0], [0.25, 0.0]], dtype=torch.float64))
    # moving by one along x changes the second share by 1, along y the third by 1/2, and the first by both
    assert torch.allclose(errors[:, 0], torch.tensor([1.25**0.5, 1.0, 0.5], dtype=torch.float64))


@pytest.mark.parametrize("dimensions", [1, 2, 4])
def test_vertices_without_pure_points_are_found_without_noise(dimensions):
    points, covariance, vertices = cloud(dimensions)
    found = minimum_volume(points, covariance, starts_of(points))
    assert error(found.vertices, vertices) < 0.02 if dimensions > 1 else error(found.vertices, vertices) < 0.5


@pytest.mark.parametrize(("noise", "limit"), [(0.01, 0.06), (0.05, 0.2)])
def test_noise_neither_swells_nor_shrinks_the_simplex(noise, limit):
    points, covariance, vertices = cloud(3, noise=noise)
    found = minimum_volume(points, covariance, starts_of(points))
    truth = np.log(abs(np.linalg.det(np.vstack([np.ones(4), vertices]))))
    assert found.settled
    assert error(found.vertices, vertices) < limit
    assert abs(found.log_volume - truth) < limit * 3


def test_simplex_turns_and_stretches_with_the_points():
    points, covariance, _ = cloud(3, noise=0.02)
    turn = torch.tensor(np.random.default_rng(5).normal(size=(3, 3)))
    start = starts_of(points)
    plain = minimum_volume(points, covariance, start)
    turned = minimum_volume(turn @ points + 7, turn @ covariance @ turn.T, turn @ start + 7)
    assert error(turned.vertices, (turn @ plain.vertices + 7).numpy()) < 0.02
    assert turned.log_volume - plain.log_volume == pytest.approx(float(torch.linalg.slogdet(turn)[1]), abs=0.02)


def test_noisier_points_are_believed_less():
    points, covariance, vertices = cloud(2, noise=0.01)
    rng = np.random.default_rng(3)
    bad = torch.tensor(rng.random(points.shape[1]) < 0.1)
    points[:, bad] += torch.tensor(rng.normal(size=(2, int(bad.sum()))))
    each = covariance.expand(points.shape[1], -1, -1).clone()
    each[bad] = torch.eye(2, dtype=torch.float64)
    assert error(minimum_volume(points, each, starts_of(points)).vertices, vertices) < 0.1
    assert error(minimum_volume(points, covariance, starts_of(points)).vertices, vertices) > 0.3


def test_start_without_volume_is_no_obstacle():
    points, covariance, vertices = cloud(2, noise=0.01)
    assert error(minimum_volume(points, covariance, torch.zeros(1, 2, 3, dtype=torch.float64)).vertices, vertices) < 0.1
