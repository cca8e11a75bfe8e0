"""Tiles hand out every band once, and count."""

import pytest
import torch

from vermilion.alternating import TensorTiles


@pytest.mark.parametrize("tile_bytes", [None, 1, 100, 10**9])
@pytest.mark.parametrize("weighted", [True, False])
def test_tiles_cover_all_bands_once_in_order(tile_bytes, weighted):
    Y = torch.arange(35.0).reshape(7, 5)
    W = Y + 1 if weighted else None
    tiles = TensorTiles(Y, W, tile_bytes=tile_bytes)
    seen = list(tiles)
    assert torch.cat([torch.arange(7)[bands] for bands, _, _ in seen]).tolist() == list(range(7))
    assert torch.equal(torch.cat([y for _, y, _ in seen]), Y)
    assert tiles.weighted is weighted
    assert all(torch.equal(w, W[bands]) if weighted else w is None for bands, _, w in seen)


def test_reads_count_how_often_the_whole_of_the_data_was_handed_out():
    tiles = TensorTiles(torch.zeros(6, 4), tile_bytes=2 * 4 * 4)  # two bands per tile
    list(tiles)
    next(iter(tiles))
    assert tiles.reads == pytest.approx(1 + 1 / 3)


def test_one_band_larger_than_a_tile_is_handed_out_whole():
    assert [tuple(y.shape) for _, y, _ in TensorTiles(torch.zeros(2, 1000), tile_bytes=8)] == [(1, 1000), (1, 1000)]
