"""Draw the pictures that README.md and docs show, and print the tables of docs/uniqueness.md and docs/deblending.md.

Runs the main job on the sample cube: the same pictures as ``make demo``; and deblends the sample scene.
"""

import argparse
import logging
from pathlib import Path

import numpy as np
from astropy.table import Table

import vermilion
from vermilion.plot import flux_history, save_figure, save_figures, scene_rgb, source_rows

ROOT = Path(__file__).resolve().parents[1]
FIGURES = ROOT / "docs" / "figures"
DPI = 75  # of the pictures of the scene


def cube_figures() -> None:
    """Separate the sample cube and save the pictures."""
    cube = vermilion.read(ROOT / "data" / "sample_cube.fits")
    result = vermilion.separate(cube, n_components=4, starts=5)
    for name in save_figures(result, cube, lambda name, draw: draw(FIGURES / Path(name).name)):
        print(FIGURES / Path(name).name)


def scene_figures() -> None:
    """Deblend the sample scene, save the pictures, and print found against true fluxes."""
    cube = vermilion.read(ROOT / "data" / "sample_scene.fits", psf_file=ROOT / "data" / "sample_scene_psf.fits")
    truth = Table.read(ROOT / "data" / "sample_scene_truth.ecsv")
    result = vermilion.deblend(cube, catalog=np.column_stack([truth["y"], truth["x"]]))
    axes = {
        "scene": scene_rgb(cube.data, cube.weights, result),
        "scene_sources": source_rows(cube.data, cube.weights, result, n_rows=5),
        "scene_flux_history": flux_history(result),
    }
    for name, drawn in axes.items():
        save_figure(drawn, FIGURES / f"{name}.png", dpi=DPI)
        print(FIGURES / f"{name}.png")
    true = np.column_stack([truth[f"flux_{band}"] for band in result.bands])
    errors, bars = 100 * (result.fluxes / true - 1), 100 * result.flux_errors / true
    print(f"| id | true kind | found | {' | '.join(result.bands)} |")
    print("|---|---|---|" + len(result.bands) * "---|")
    for k, source in enumerate(result.sources):
        cells = " | ".join(f"{error:+.1f} ± {bar:.1f}".replace("-", "−") for error, bar in zip(errors[k], bars[k], strict=True))
        print(f"| {k} | {truth['kind'][k]} | {source.kind} | {cells} |")
    shares = 100 * np.abs(result.fluxes - true).sum(axis=0) / true.sum(axis=0)
    print("misattributed [%]:", shares.round(1), "chi2/datum:", round(result.chi2 / result.n_data, 3))


def main() -> None:
    """Save the pictures in docs/figures."""
    parser = argparse.ArgumentParser(description="Draw the pictures that README.md and docs show.")
    parser.add_argument("--only", choices=["cube", "scene"], help="pictures of one of them")
    only = parser.parse_args().only
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    FIGURES.mkdir(parents=True, exist_ok=True)
    for name, draw in (("cube", cube_figures), ("scene", scene_figures)):
        if only in (None, name):
            draw()


if __name__ == "__main__":
    main()
