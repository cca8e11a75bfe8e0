"""Draw the pictures that README.md and docs show, and print the table of docs/uniqueness.md.

Runs the main job on the sample cube: the same pictures as ``make demo``.
"""

import logging
from pathlib import Path

import vermilion
from vermilion.plot import save_figures

ROOT = Path(__file__).resolve().parents[1]
SHOWN = ("maps", "spectra", "white_light", "convergence", "residual_rms", "signed")


def main() -> None:
    """Separate the sample cube and save the pictures in docs/figures."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    folder = ROOT / "docs" / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    cube = vermilion.read(ROOT / "data" / "sample_cube.fits")
    result = vermilion.separate(cube, n_components=4, starts=5)
    for name in save_figures(result, cube, lambda name, draw: draw(folder / Path(name).name)):
        print(folder / Path(name).name)


if __name__ == "__main__":
    main()
