"""One cube of each kind through `read` and `separate`: pictures and figures of merit, for docs/gallery.md.

    python scripts/gallery.py DATA OUT [KIND ...]

DATA is the folder with the instruments' files; a kind whose file is absent is left out. OUT gets one picture per kind. A table is printed:
the reader, what it found, the components' share of the flux, and the scatter of the residuals over the noise.
"""

from __future__ import annotations

import argparse
import io
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import vermilion
from vermilion.plot import maps, save_figure, spectra


@dataclass(frozen=True)
class Kind:
    """A kind of data, and one file of it."""

    files: tuple[str, ...]
    components: int
    options: dict[str, Any] = field(default_factory=dict)


KINDS = {
    "muse": Kind(("ifu/muse_A478_halpha_600ch.fits",), 4),
    "jwst": Kind(("layouts/jwst-like_tab_s3d.fits",), 3),
    "manga": Kind(("layouts/manga-like-LOGCUBE.fits.gz",), 3),
    "kcwi": Kind(("layouts/kcwi-like_icubes.fits",), 3),
    "califa": Kind(("layouts/califa-like.rscube.fits.gz",), 3),
    "sami": Kind(("layouts/sami-like_cube.fits.gz",), 3),
    "radio": Kind(("radio/l1448_13co.fits",), 4),
    "raster": Kind(("solar/iris_l2_20140329_140938_3860258481_raster_t000_r00000.fits",), 3, {"data_ext": "Mg II k 2796"}),
    "sdss": Kind(tuple(f"broadband/sdss_reprojected_{band}.fits.bz2" for band in "gri"), 2),
    "hsc": Kind(("broadband/hsc_blends/43158172147385878.npz",), 3),
    "muscadet": Kind(("broadband/muscadet_Simu_simple_Cube.fits",), 2),
    "hyperspectral": Kind(("hsi/samson.npz",), 3),
}


def main() -> None:
    """Draw the pictures and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help=", ".join(KINDS))
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    print("| kind | reader | bands × y × x | unit | noise | shares of the flux | residual / noise | s |")
    print("|---|---|---|---|---|---|---|---|")
    for name in arguments.kinds or KINDS:
        kind = KINDS[name]
        files = [arguments.data / file for file in kind.files]
        if all(file.exists() for file in files):
            show(name, files, kind, arguments.out)


def show(name: str, files: list[Path], kind: Kind, out: Path) -> None:
    """Fit one kind, draw it, and print its row."""
    begin = time.perf_counter()
    cube = vermilion.read(files, **kind.options)
    result = vermilion.separate(cube, n_components=kind.components, starts=0)
    picture(result, cube, out / f"gallery_{name}.png")
    flux = np.nansum(result.spectra, axis=0) * np.nansum(result.morphologies, axis=(1, 2))
    residual = cube.data - np.einsum("bk,kyx->byx", result.spectra, result.morphologies)
    weights = cube.weights
    scatter = np.nan if cube.variance is None else 1.4826 * np.nanmedian(np.abs(residual[weights > 0] * np.sqrt(weights[weights > 0])))
    units = {str(unit) for unit in (cube.frame.unit if isinstance(cube.frame.unit, tuple) else [cube.frame.unit])}
    row = (
        name,
        cube.meta["reader"],
        " × ".join(map(str, cube.data.shape)),
        ", ".join(units),
        "none" if cube.variance is None else "variances",
        ", ".join(f"{share:.0%}" for share in flux / flux.sum()),
        f"{scatter:.2f}",
        f"{time.perf_counter() - begin:.1f}",
    )
    print(f"| {' | '.join(row)} |", flush=True)


def picture(result: Any, cube: Any, path: Path) -> None:
    """Maps above, spectra below."""
    drawn = []
    for axes in (maps(result), spectra(result, cube)):
        buffer = io.BytesIO()
        save_figure(axes, buffer, dpi=72)  # type: ignore[arg-type]
        drawn.append(Image.open(buffer).convert("RGB"))
    both = Image.new("RGB", (max(image.width for image in drawn), sum(image.height for image in drawn)), "white")
    top = 0
    for image in drawn:
        both.paste(image, ((both.width - image.width) // 2, top))
        top += image.height
    both.quantize(128).save(path, optimize=True)


if __name__ == "__main__":
    main()
