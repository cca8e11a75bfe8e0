"""Archetypes: mixtures of actual pixels, supported by more than one of them."""

import numpy as np
import pytest
import torch

from vermilion.unmixing.archetypes import archetypes, extreme_points
from vermilion.unmixing.fclsu import fclsu


def cloud(n_pixels=1000, *, noise=0.0, seed=0):
    """Points in a tetrahedron, many of them near its vertices, and the vertices (3, 4)."""
    rng = np.random.default_rng(seed)
    vertices = np.array([[1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0], [-0.7, -0.7, 0.7, 0.7]])
    points = vertices @ rng.dirichlet(np.full(4, 0.2), n_pixels).T + noise * rng.normal(size=(3, n_pixels))
    return torch.tensor(points), vertices


def distance(found, vertices):
    return max(np.linalg.norm(found.numpy() - vertex[:, None], axis=0).min() for vertex in vertices.T)


def test_vertices_with_pure_pixels_are_found():
    points, vertices = cloud()
    assert distance(archetypes(points, 4).mix(points), vertices) < 0.05


def test_archetypes_are_mixtures_of_pixels():
    points, _ = cloud()
    found = archetypes(points, 4)
    assert bool((found.mixing >= 0).all())
    assert torch.allclose(found.mixing.sum(dim=0), torch.ones(4, dtype=torch.float64))
    assert torch.allclose(found.mix(points), found.candidates(points) @ found.mixing)
    assert bool((found.mix(points).amax(dim=1) <= points.amax(dim=1)).all())


def test_single_outlier_is_no_archetype():
    points, vertices = cloud()
    points[:, 7] = torch.tensor([0.0, 0.0, 20.0])
    assert distance(archetypes(points, 4).mix(points), vertices) < 0.15
    alone = archetypes(points, 4, support=1).mix(points)
    assert float(torch.linalg.vector_norm(alone - points[:, 7:8], dim=0).min()) < 1.5


def test_objective_is_what_the_nearest_mixtures_leave():
    points, _ = cloud(400, noise=0.05)
    found = archetypes(points, 4)
    vertices = found.mix(points)
    nearest = float((points - vertices @ fclsu(points, vertices)).square().sum(dim=0).mean())
    assert nearest <= found.objective * (1 + 1e-9)
    assert found.objective == pytest.approx(nearest, rel=0.2)


def test_same_seed_same_bytes_and_scale_is_free():
    points, _ = cloud()
    first, again = archetypes(points, 4, seed=3).mix(points), archetypes(points, 4, seed=3).mix(points)
    assert torch.equal(first, again)
    assert torch.allclose(archetypes(1e20 * points, 4, seed=3).mix(points), first, atol=1e-6)


def test_extreme_points_stand_on_the_hull():
    points = torch.randn(2, 500, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    points[:, :4] = 10 * torch.tensor([[1.0, -1.0, 1.0, -1.0], [1.0, 1.0, -1.0, -1.0]])
    assert set(extreme_points(points, 4, torch.Generator().manual_seed(1)).tolist()) == {0, 1, 2, 3}
