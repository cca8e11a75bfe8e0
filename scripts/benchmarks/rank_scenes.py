"""How often `estimate_rank` is right on simulated hyperspectral scenes, and how often it is sure of a wrong number.

    python scripts/benchmarks/rank_scenes.py [--scenes 20] [--seed 0] [--json FILE]

Scenes are drawn by `vermilion.simulate.hyperspectral_scene`: 3 to 9 endmembers, 20, 30 or 40 dB, white or colored noise, with and without
pure pixels. What can be found is counted beside K: the singular values of the clean data above the largest one of the noise. A scene
counts where all its components are (`above` = K). Two scenes of pure noise come last.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from vermilion.rank import estimate_rank
from vermilion.simulate import hyperspectral_scene


def main() -> None:
    """Run the scenes, print one line each, and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    torch.set_num_threads(1)
    rng = np.random.default_rng(options.seed)
    rows = [
        one_scene(int(rng.integers(3, 10)), int(rng.choice([20, 30, 40])), bool(rng.random() < 0.5), seed, rng)
        for seed in range(options.scenes)
    ]
    rows += [pure_noise(seed) for seed in range(2)]
    told = [row for row in rows if row["above"] == row["K"]]
    sure = [row for row in rows if row["confident"]]
    summary = {
        "scenes": len(told),
        "right": sum(row["found"] == row["K"] for row in told),
        "confident": len(sure),
        "confident_and_wrong": sum(row["found"] not in (row["K"], row["above"]) for row in sure),
    }
    print(summary)
    options.json.write_text(json.dumps({"rows": rows, **summary}, indent=2) + "\n", encoding="utf-8")


def one_scene(n_endmembers: int, snr_db: int, pure: bool, seed: int, rng: np.random.Generator) -> dict[str, Any]:
    """Draw a scene and count."""
    noise = str(rng.choice(["white", "colored"]))
    n_bands, side = int(rng.integers(60, 200)), int(rng.integers(40, 70))
    scene = hyperspectral_scene(
        n_endmembers=n_endmembers,
        shape=(side, side),
        n_bands=n_bands,
        pure_pixels=pure,
        snr_db=float(snr_db),
        noise=noise,
        seed=1000 + seed,
    )
    clean = scene.spectra @ scene.abundances.reshape(n_endmembers, -1)
    edge = float(np.mean(scene.sigma)) * (math.sqrt(n_bands) + side)
    above = int((np.linalg.svd(clean, compute_uv=False) > edge).sum())
    what = f"K {n_endmembers}, {snr_db} dB, {noise}, {'pure' if pure else 'mixed'}, {n_bands} x {side} x {side}"
    return count(scene.cube, what, n_endmembers, above)


def pure_noise(seed: int) -> dict[str, Any]:
    """Nothing but noise."""
    return count(np.random.default_rng(seed).normal(size=(80, 50 * 50)), "noise alone", 0, 0)


def count(data: Any, what: str, n_endmembers: int, above: int) -> dict[str, Any]:
    """What `estimate_rank` says of some data."""
    begin = time.process_time()
    report = estimate_rank(data)
    seconds = time.process_time() - begin
    found = report.n_components
    said = "confident" if report.confident else f"{report.low} to {report.high}"
    print(f"{what:<48} above {above}  found {found}  {said:<12}{seconds:6.1f} s", flush=True)
    return {
        "what": what,
        "K": n_endmembers,
        "above": above,
        "found": found,
        "confident": report.confident,
        "seconds": seconds,
        "sentence": report.sentence,
    }


if __name__ == "__main__":
    main()
