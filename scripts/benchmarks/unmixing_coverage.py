"""Do the errors of unmixing hold what they promise, and do feasible bands contain the truth.

supervised   share of abundances within their 68 % error, the true spectra given, in pixels where every true abundance is above 0.05;
             per signal-to-noise ratio, with the true weights and with the noise of the residuals. Goal 63 to 73 %
blind        the same for spectra and abundances of `unmix_matrix` in scenes with pure pixels; abundances that are not on a constraint.
             "fit": errors of a fit that minimizes the residual; "vertex": spectra as uncertain as one pixel. Goal 55 to 80 %
bands        share of scenes in which every true share of the components lies in its band; with and without pure pixels, 2 to 5
             components, 20 to 40 dB, from a blind start (extreme pixels). "pure_told": those with pure pixels once more, this being told.
             Goal 90 of 100

    python scripts/benchmarks/unmixing_coverage.py [--sections supervised blind bands] [--scenes 100] [--repeats 5] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vermilion.diagnose.joint_errors import unmixing_errors
from vermilion.diagnose.match import match_components
from vermilion.initialize import spa
from vermilion.rank.feasible import FeasibleBands, feasible_bands
from vermilion.simulate import hyperspectral_scene
from vermilion.unmixing.blind import unmix_matrix
from vermilion.unmixing.fclsu import fclsu

Array = NDArray[np.float64]

SECTIONS = ("supervised", "blind", "bands")
SNR_DB = (20, 30, 40)
INTERIOR = 0.05
SLACK = 1e-3  # how far beyond a band the search may have stopped


def scene(K: int, snr_db: float, seed: int, *, pure: bool, bands: int = 60, side: int = 30) -> tuple[Array, Array, Array, Array]:
    """Data (B, N), inverse variances, true spectra and abundances."""
    made = hyperspectral_scene(n_endmembers=K, shape=(side, side), n_bands=bands, pure_pixels=pure, snr_db=snr_db, seed=seed)
    Y = np.asarray(made.cube.data, dtype=np.float64).reshape(bands, -1)
    W = 1 / np.asarray(made.cube.variance, dtype=np.float64).reshape(bands, -1)
    return Y, W, made.spectra, made.abundances.reshape(K, -1)


def shares(A: Array, S: Array) -> Array:
    """``|a s| / |A S|`` per component."""
    return np.asarray(np.linalg.norm(A, axis=0) * np.linalg.norm(S, axis=1) / np.linalg.norm(A @ S))


def within(found: Array, truth: Array, errors: Array) -> list[bool]:
    """Whether each value lies within its error, be it infinite; values that are held fixed do not count."""
    there = ~np.isnan(errors)
    return list(np.abs(found - truth)[there] < errors[there])


def supervised(repeats: int) -> list[dict[str, Any]]:
    """Coverage of supervised abundances per signal-to-noise ratio."""
    rows = []
    for snr_db in SNR_DB:
        hits: dict[str, list[bool]] = {"weights": [], "residuals": []}
        for seed in range(repeats):
            for K in (3, 4, 5):
                Y, W, A, S = scene(K, snr_db, 100 * snr_db + seed, pure=False, side=50)
                interior = (S > INTERIOR).all(axis=0)
                for name, weights in (("weights", W), ("residuals", None)):
                    found = fclsu(torch.from_numpy(Y), torch.from_numpy(A), None if weights is None else torch.from_numpy(weights)).numpy()
                    _, errors = unmixing_errors(Y, weights, A, found, supervised=True)
                    hits[name] += within(found[:, interior], S[:, interior], errors[:, interior])
        row = {"snr_db": snr_db, "values": len(hits["weights"])} | {name: float(np.mean(hit)) for name, hit in hits.items()}
        rows.append(row)
        print(f"supervised {snr_db} dB: {row['weights']:.1%} with weights, {row['residuals']:.1%} without, of {row['values']}", flush=True)
    return rows


def blind(repeats: int) -> list[dict[str, Any]]:
    """Coverage of blind spectra and abundances where there are pure pixels."""
    rows = []
    for snr_db in SNR_DB:
        for K in (3, 4, 5):
            hits: dict[str, list[list[float]]] = {"fit": [], "vertex": []}
            for seed in range(repeats):
                Y, W, A, S = scene(K, snr_db, 100 * snr_db + seed, pure=True)
                unmixed = unmix_matrix(Y, W, K, seed=seed)
                order = match_components(unmixed.spectra.double().numpy(), A)
                found_A, found_S = unmixed.spectra.double().numpy()[:, order], unmixed.abundances.double().numpy()[order]
                brightness = None if unmixed.brightness is None else unmixed.brightness.double().numpy()
                for name, vertex_noise in (("fit", None), ("vertex", np.ones(K))):
                    errors_A, errors_S = unmixing_errors(
                        Y, W, found_A, found_S, convention=unmixed.convention, brightness=brightness, vertex_noise=vertex_noise
                    )
                    hits[name].append([float(np.mean(within(found_A, A, errors_A))), float(np.mean(within(found_S, S, errors_S)))])
            row: dict[str, Any] = {"snr_db": snr_db, "n_endmembers": K}
            for name, hit in hits.items():
                row[f"{name}_spectra"], row[f"{name}_abundances"] = np.mean(hit, axis=0).tolist()
            rows.append(row)
            figures = ", ".join(f"{name} {value:.1%}" for name, value in row.items() if isinstance(value, float))
            print(f"blind {snr_db} dB, {K} endmembers: {figures}", flush=True)
    return rows


def bands(seeds: Sequence[int]) -> dict[str, Any]:
    """Coverage and width of feasible bands, one scene per seed."""
    rows = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        K, snr_db, pure = int(rng.integers(2, 6)), float(rng.uniform(20, 40)), bool(seed % 2)
        Y, W, A, S = scene(K, snr_db, seed, pure=pure, side=20)
        extreme = np.maximum(spa(torch.from_numpy(Y), torch.from_numpy(W), K, seed=seed).double().numpy(), 0)
        extreme = extreme[:, match_components(extreme, A)]
        start = fclsu(torch.from_numpy(Y), torch.from_numpy(extreme), torch.from_numpy(W)).numpy()
        row: dict[str, Any] = {"seed": seed, "n_endmembers": K, "snr_db": snr_db, "pure": pure}
        for name, told in (("closure", ()), *((("pure_told", range(K)),) if pure else ())):
            begin = time.perf_counter()
            found = feasible_bands(Y, W, extreme, start, closure=True, pure=told)
            row[name] = judged(found, shares(A, S)) | {"seconds": time.perf_counter() - begin}
        rows.append(row)
        said = ", ".join(f"{name} {'inside' if row[name]['inside'] else 'outside'}" for name in ("closure", "pure_told") if name in row)
        print(f"bands {seed}: {K} components, {snr_db:.0f} dB, {'pure' if pure else 'mixed'}: {said}", flush=True)
    summary = {}
    for name, chosen in (("closure", rows), ("pure_told", [row for row in rows if row["pure"]])):
        results = [row[name] for row in chosen]
        if results:
            summary[name] = {
                "scenes": len(results),
                "contain_truth": sum(result["inside"] for result in results),
                "median_width": float(np.median(np.concatenate([result["width"] for result in results]))),
                "identified": float(np.mean(np.concatenate([result["identified"] for result in results]))),
                "granted": sum(result["excess"] > 0 for result in results),
                "median_seconds": float(np.median([result["seconds"] for result in results])),
            }
            print(f"bands, {name}: {summary[name]}", flush=True)
    return {"summary": summary, "scenes": rows}


def judged(found: FeasibleBands, truth: Array) -> dict[str, Any]:
    """Whether the truth lies inside, and how wide the bands are."""
    inside = (truth >= found.low - SLACK) & (truth <= found.high + SLACK)
    return {
        "inside": bool(inside.all()),
        "width": found.width.tolist(),
        "identified": found.identified.tolist(),
        "excess": found.excess,
        "truth": truth.tolist(),
        "low": found.low.tolist(),
        "high": found.high.tolist(),
    }


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Print the tables and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", nargs="+", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--scenes", type=int, default=100, help="of the feasible bands")
    parser.add_argument("--repeats", type=int, default=5, help="scenes per row of the other tables")
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args(arguments)
    report = json.loads(options.json.read_text(encoding="utf-8")) if options.json.exists() else {}
    for section in options.sections:
        if section == "bands":
            report[section] = bands(range(options.scenes))
        else:
            report[section] = {"supervised": supervised, "blind": blind}[section](options.repeats)
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")  # after every section: runs are long
    return report


if __name__ == "__main__":
    main()
