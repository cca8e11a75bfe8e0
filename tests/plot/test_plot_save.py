from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from astropy import units as u

from vermilion import plot
from vermilion.datamodels import Cube, Result

Make = Callable[..., tuple[Result, Cube]]
ALL = ["maps", "spectra", "white_light", "residual_rms", "convergence", "signed"]
HOSTILE = ("$$", "<script>alert(1)</script>", "W" * 300, r"\frac{", "{{7*7}}", "_nolegend_", "", "a\x00b\n../../etc/x", "星 😀", "$x")


def save(result: Result, cube: Cube, folder: Path) -> dict[str, bytes]:
    def write(name: str, producer: Callable[[Any], None]) -> None:
        path = folder / name.replace("/", "_").replace(".png", ".tmp")
        producer(path)
        written[name] = path.read_bytes()

    written: dict[str, bytes] = {}
    assert plot.save_figures(result, cube, write) == list(written)
    return written


@pytest.fixture(scope="module")
def written(make: Make, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    return save(*make(), tmp_path_factory.mktemp("figures"))


def settings() -> dict[str, Any]:
    # Merely asking for the backend would load pyplot.
    return {key: mpl.rcParams[key] for key in mpl.rcParams if key != "backend"}


def test_all_pictures_are_saved_as_png_whatever_the_path_ends_with(written: dict[str, bytes]) -> None:
    assert (
        list(written) == [f"figures/{name}.png" for name in ALL] == [f"figures/{name}.png" for name in plot.FIGURES if name != "abundances"]
    )
    assert all(content.startswith(b"\x89PNG") for content in written.values())


def test_the_same_result_gives_the_same_bytes_whatever_the_settings_and_leaves_them(
    written: dict[str, bytes], make: Make, tmp_path: Path
) -> None:
    with mpl.rc_context(
        {
            "font.size": 30,
            "lines.linewidth": 9,
            "savefig.dpi": 20,
            "xtick.direction": "in",
            "axes.facecolor": "red",
            "image.origin": "upper",
        }
    ):
        before = settings()
        assert save(*make(), tmp_path) == written
        assert settings() == before


def test_files_name_neither_software_nor_date(written: dict[str, bytes]) -> None:
    for content in written.values():
        assert b"Software" not in content
        assert b"tIME" not in content


def test_a_result_without_signed_maps_has_one_picture_less(make: Make) -> None:
    result, cube = make()
    plain = Result(
        spectra=result.spectra, morphologies=result.morphologies, status=result.status, history=result.history, frame=result.frame
    )
    names: list[str] = []
    assert (
        plot.save_figures(plain, cube, lambda name, producer: names.append(name)) == names == [f"figures/{name}.png" for name in ALL[:-1]]
    )


def test_hostile_names_do_not_break_a_picture(make: Make, tmp_path: Path) -> None:
    frame = {"unit": u.Unit("$$ <b>", parse_strict="silent"), "band_names": HOSTILE[:8]}
    assert len(save(*make(n=len(HOSTILE), names=HOSTILE, shape=(4, 5), n_bands=8, frame=frame), tmp_path)) == len(ALL)


@pytest.mark.parametrize("shape", [(1, 1), (3, 200)])
def test_images_of_odd_shape_are_drawn(make: Make, tmp_path: Path, shape: tuple[int, int]) -> None:
    assert len(save(*make(shape=shape, n_bands=15), tmp_path)) == len(ALL)


def test_empty_maps_and_spectra_are_drawn(make: Make, tmp_path: Path) -> None:
    result, cube = make(n=2)
    maps = np.stack([np.full(cube.frame.shape, np.nan), np.zeros(cube.frame.shape)])
    spectra = result.spectra * [0, 1]
    empty = Result(spectra=spectra, morphologies=maps, status=result.status, history=result.history, frame=result.frame)
    assert len(save(empty, cube, tmp_path)) == len(ALL) - 1


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_fluxes_of_any_size_are_drawn_alike(make: Make, scale: float) -> None:
    usual, other = plot.white_light(*make(scale=1.0)), plot.white_light(*make(scale=scale))
    assert np.allclose(other[2].images[0].get_array(), usual[2].images[0].get_array(), rtol=1e-6)
    buffer = io.BytesIO()
    plot.save_figure(other, buffer)
    assert buffer.getvalue().startswith(b"\x89PNG")


def test_a_figure_is_saved_into_anything_that_takes_bytes(make: Make) -> None:
    result, _ = make()
    buffer = io.BytesIO()
    plot.save_figure(plot.maps(result), buffer)
    assert buffer.getvalue().startswith(b"\x89PNG")
