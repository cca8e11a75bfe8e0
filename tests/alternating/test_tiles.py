"""Tiles hand out every band or pixel once, and count."""

import ctypes
import resource
from pathlib import Path

import pytest
import torch

from vermilion.alternating import TensorTiles
from vermilion.alternating.tiles import release, room


def turned(X):
    """The same numbers, one pixel after the other in memory."""
    return X.T.contiguous().T


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("tile_bytes", [None, 1, 60, 10**9])
@pytest.mark.parametrize("weighted", [True, False])
@pytest.mark.parametrize("layout", [lambda X: X, turned], ids=["C", "F"])
def test_tiles_cover_all_rows_once_in_order(axis, tile_bytes, weighted, layout):
    Y = layout(torch.arange(35.0).reshape(7, 5))
    W = Y + 1 if weighted else None
    tiles = TensorTiles(Y, W, axis=axis, tile_bytes=tile_bytes)
    seen = list(tiles)
    along = Y if axis == 0 else Y.T
    assert tiles.shape == tuple(along.shape)
    assert tiles.count == len(seen)
    assert torch.cat([torch.arange(len(along))[rows] for rows, _, _ in seen]).tolist() == list(range(len(along)))
    assert torch.equal(torch.cat([y for _, y, _ in seen]), along)
    assert tiles.weighted is weighted
    assert all(torch.equal(w, along[rows] + 1) if weighted else w is None for rows, _, w in seen)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("layout", [lambda X: X, turned], ids=["C", "F"])
def test_tiles_are_views_of_the_data(axis, layout):
    Y, W = layout(torch.arange(35.0).reshape(7, 5)), layout(torch.ones(7, 5))
    for _, y, w in TensorTiles(Y, W, axis=axis, tile_bytes=50):
        for whole, tile in ((Y, y), (W, w)):
            assert tile.untyped_storage().data_ptr() == whole.untyped_storage().data_ptr()
            assert 0 <= tile.data_ptr() - whole.data_ptr() < whole.numel() * whole.element_size()


@pytest.mark.parametrize("axis", [0, 1])
def test_what_has_no_weight_is_handed_out_as_zero_where_it_may_not_be_finite(axis):
    Y, W = torch.tensor([[1.0, torch.nan], [torch.inf, 4.0]]), torch.tensor([[1.0, 0.0], [0.0, 0.5]])
    seen = torch.cat([y for _, y, _ in TensorTiles(Y, W, axis=axis, tile_bytes=8, hidden=True)])
    assert seen.tolist() == [[1, 0], [0, 4]]
    assert bool(torch.isnan(Y[0, 1]))  # the data themselves are left alone


def test_reads_count_how_often_the_whole_of_the_data_was_handed_out():
    for axis, rows in ((0, 6), (1, 4)):
        tiles = TensorTiles(torch.zeros(6, 4), axis=axis, tile_bytes=2 * 4 * (24 // rows))  # two rows per tile
        assert tiles.reads == 0
        list(tiles)
        next(iter(tiles))
        assert tiles.reads == pytest.approx(1 + 2 / rows)


def test_one_row_larger_than_a_tile_is_handed_out_whole():
    assert [tuple(y.shape) for _, y, _ in TensorTiles(torch.zeros(2, 1000), tile_bytes=8)] == [(1, 1000), (1, 1000)]


def test_small_data_are_cut_too():
    assert TensorTiles(torch.zeros(1000, 1000)).count == 8
    assert TensorTiles(torch.zeros(10, 10)).count == 1


def resident():
    """Bytes of memory in use."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(3, 7), (2, 3, 1 << 18)])
def test_room_for_an_array_holds_what_is_written(shape, dtype):
    X = room(shape, dtype, torch.device("cpu"))
    assert (X.shape, X.dtype) == (shape, dtype)
    values = torch.randn(shape, dtype=dtype)
    assert torch.equal(torch.mul(values, 2, out=X), 2 * values)
    assert X.is_contiguous()


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="only Linux tells how much memory is in use")
def test_room_goes_back_as_soon_as_nobody_needs_it():
    size, before = 1 << 26, resident()
    maps = [room((size // 8,), torch.float64, torch.device("cpu")).fill_(1) for _ in range(3)]
    between = room((1 << 18,), torch.float64, torch.device("cpu")).fill_(1)
    assert resident() - before > 2.9 * size
    del maps
    assert resident() - before < 0.5 * size
    assert float(between.sum()) == 1 << 18


@pytest.mark.parametrize("error", [OSError, TypeError, AttributeError])
def test_release_does_nothing_where_the_system_cannot(error, monkeypatch):
    def fail(name):
        raise error

    monkeypatch.setattr(ctypes, "CDLL", fail)
    release(torch.zeros(1 << 20))


def test_release_is_spared_where_arrays_are_small(monkeypatch):
    called = []
    monkeypatch.setattr(ctypes, "CDLL", called.append)
    release(torch.zeros(100))
    assert not called
