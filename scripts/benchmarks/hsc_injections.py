"""Twenty real blends of Hyper Suprime-Cam: stars and galaxies of known flux come back from them, and nothing comes from empty sky.

injections   each blend gets one more star or galaxy (in turn; Sérsic indices 0.7 to 4) at a random place where most of it has weight and no
             peak is within 3 pixels, drawn by GalSim with the PSF of the file, centered by adaptive moments; signal-to-noise ratio 10 to
             100, told to the nearest pixel, as the peaks are. No noise is added: the blend has its own. Pulls and biases of the
             constrained and the signed fluxes, band by band. Goals: median |pull| < 1, bias < 2 %
sky          white noise, six positions: mean pull of the signed fluxes. Goal within 0.1 of 0
invariance   weights times 1e-6 to 1e6: largest relative change of a flux (goal 1e-4); NaN where the weight is 0 (goal: none at all)
memory       resident memory over many blends, after the first ten; goal: flat

Every blend runs to its end, or is named. With --pictures FOLDER a picture of each blend is written there.

    python scripts/benchmarks/hsc_injections.py [--sections ...] [--injections 100] [--blends 200] [--pictures FOLDER] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vermilion.simulate import blend as simulated_blend

sys.path.insert(0, str(Path(__file__).parent))  # the neighbours, also where this file is loaded by its path

from deblending_metrics import pulls
from scenes import Blend, hsc_blends

Array = NDArray[np.floating[Any]]

SECTIONS = ("injections", "sky", "invariance", "memory")
SNR = (10.0, 100.0)
NEAREST_PEAK = 3.0  # pixels
MODEL_SIGMA = 0.8  # pixels: PSF of the frame in which fluxes are counted
LEAST_SHARE_SEEN = 0.8  # of the flux, where there is weight
RADIUS = (1.0, 5.0)  # pixels: half-light radius of galaxies, log-uniform
INDEX = (0.7, 4.0)
TRIES = 1000
SKY_SHAPE, SKY_POSITIONS, SKY_FWHM = (5, 60, 60), 6, 3.8
SCALES = (1e-6, 1e-3, 1e3, 1e6)


def run(blend: Blend) -> Any:
    """The result of `vermilion.deblend`, positions told."""
    from vermilion.deblend import deblend

    return deblend(blend.images, weights=blend.weights, psf=blend.psfs, catalog=blend.centers)


def drawn(profile: Any, psfs: Sequence[Any], center: Array, shape: tuple[int, int]) -> Array:
    """Image (B, Ny, Nx) of a profile of flux 1 in every band, in pixels."""
    import galsim

    y, x = center - (np.array(shape) - 1) / 2
    seen = [galsim.Convolve(profile, psf) for psf in psfs]
    return np.stack(
        [one.drawImage(nx=shape[1], ny=shape[0], scale=1, offset=(x, y), method="no_pixel", dtype=np.float64).array for one in seen]
    )


def centered_psfs(stamps: Array) -> list[Any]:
    """The PSF of each band as a profile, pixel included, its adaptive centroid at the origin."""
    import galsim

    found = []
    for stamp in stamps:
        image = galsim.Image(np.ascontiguousarray(stamp / stamp.sum()), scale=1.0)
        offset = image.FindAdaptiveMom().moments_centroid - image.true_center
        found.append(galsim.InterpolatedImage(image, flux=1.0).shift(-offset.x, -offset.y))
    return found


def inject(blend: Blend, number: int, *, star: bool) -> tuple[Blend, Array, Array]:
    """The blend with one more source, told last; its fluxes (B,), of the light that is emitted inside the frame, and its image."""
    import galsim

    rng = np.random.default_rng([number, 20])
    index, radius = rng.uniform(*INDEX), math.exp(rng.uniform(*np.log(RADIUS)))
    shape, axis_ratio, angle = blend.images.shape[1:], rng.uniform(0.4, 1), rng.uniform(0, 180)
    galaxy = galsim.Sersic(index, half_light_radius=radius, trunc=6 * radius, flux=1.0).shear(q=axis_ratio, beta=angle * galsim.degrees)
    profile = galsim.DeltaFunction(flux=1.0) if star else galaxy
    psfs = centered_psfs(blend.psfs)
    snr, colors = math.exp(rng.uniform(*np.log(SNR))), np.exp(0.5 * rng.standard_normal(len(blend.images)))
    there = (blend.weights > 0).all(axis=0)
    for _ in range(TRIES):
        center = rng.uniform(0, np.array(shape) - 1)
        if np.hypot(*(blend.centers - center).T).min() < NEAREST_PEAK or not there[tuple(np.round(center).astype(int))]:
            continue
        unit = drawn(profile, psfs, center, shape)
        if unit[:, there].sum() >= LEAST_SHARE_SEEN * len(unit):
            break
    else:
        raise RuntimeError(f"{blend.name} has no room for injection {number}: expected a place with weight, 3 pixels off the peaks.")
    noise = np.sqrt([1 / np.median(w[w > 0]) for w in blend.weights])
    fluxes = colors * noise
    image = unit * fluxes[:, None, None]
    factor = snr / math.sqrt(float((blend.weights * image**2).sum()))
    image = factor * image
    images = (blend.images + image).astype(np.float32)
    emitted = drawn(profile, [galsim.Gaussian(sigma=MODEL_SIGMA)], center, shape).sum()  # the rest of a galaxy lies outside
    return replace(blend, images=images, centers=np.vstack([blend.centers, np.round(center)])), factor * fluxes * emitted, image


def injections(count: int) -> dict[str, Any]:
    """Fluxes of injected sources."""
    blends = hsc_blends()
    rows: list[dict[str, Any]] = []
    failures = []
    for blend in blends:
        begin = time.process_time()
        try:
            found = run(blend)
            taken = time.process_time() - begin
            chi2 = float((blend.weights * (blend.images - found.model) ** 2).sum() / (blend.weights > 0).sum())
            print(f"{blend.name}: {len(blend.centers)} sources, chi2 per datum {chi2:.2f}, {taken:.2f} CPU s", flush=True)
        except Exception as error:
            failures.append(f"{blend.name}: {type(error).__name__}: {error}")
            print(failures[-1], flush=True)
    for number in range(count):
        blend = blends[number % len(blends)]
        star = (number + number // len(blends)) % 2 == 0
        more, truth, image = inject(blend, number, star=star)
        try:
            found = run(more)
        except Exception as error:
            failures.append(f"{blend.name}, injection {number}: {type(error).__name__}: {error}")
            print(failures[-1], flush=True)
            continue
        rows.append(
            {
                "blend": blend.name,
                "star": star,
                "snr": math.sqrt(float((blend.weights * image**2).sum())),
                "kind": found.sources[-1].kind,
                "truth": truth.tolist(),
                "constrained": found.fluxes[-1].tolist(),
                "constrained_error": found.flux_errors[-1].tolist(),
                "signed": found.signed_fluxes[-1].tolist(),
                "signed_error": found.signed_flux_errors[-1].tolist(),
            }
        )
    report: dict[str, Any] = {"failures": failures, "rows": rows}
    for name, chosen in (("all", rows), ("stars", [r for r in rows if r["star"]]), ("galaxies", [r for r in rows if not r["star"]])):
        report[name] = {kind: returned(chosen, kind) for kind in ("constrained", "signed")}
        for kind, figures in report[name].items():
            print(f"injections, {name}, {kind}: " + ", ".join(f"{key} {value:.3f}" for key, value in figures.items()), flush=True)
    return report


def returned(rows: Sequence[dict[str, Any]], kind: str) -> dict[str, float]:
    """Pulls, and biases relative to the truth."""
    fluxes, errors, truths = (np.array([row[key] for row in rows]) for key in (kind, f"{kind}_error", "truth"))
    if not fluxes.size:
        return {}
    totals = fluxes.sum(axis=1) / truths.sum(axis=1) - 1
    weighted = (totals * [row["snr"] for row in rows]).sum() / sum(row["snr"] for row in rows)
    return pulls(fluxes, errors, truths) | {
        "median_bias": float(np.median(fluxes / truths - 1)),
        "median_bias_of_total": float(np.median(totals)),
        "mean_bias_of_total_by_snr": float(weighted),
        "median_error_of_total": float(np.median(np.abs(totals))),
    }


def sky(count: int) -> dict[str, Any]:
    """Signed fluxes of places where nothing is."""
    y, x = np.indices((31, 31)) - 15
    stamp = np.exp(-(y**2 + x**2) / (2 * (SKY_FWHM / 2.3548) ** 2))
    psfs = np.repeat((stamp / stamp.sum())[None], SKY_SHAPE[0], axis=0)
    signed, errors, constrained = [], [], []
    for number in range(count):
        rng = np.random.default_rng([number, 21])
        sigma = np.exp(rng.normal(size=(SKY_SHAPE[0], 1, 1)))
        images = (sigma * rng.standard_normal(SKY_SHAPE)).astype(np.float32)
        centers = rng.uniform(8, np.array(SKY_SHAPE[1:]) - 9, (SKY_POSITIONS, 2))
        weights = np.broadcast_to(1 / sigma**2, SKY_SHAPE).astype(np.float32)
        found = run(Blend(name="sky", images=images, weights=weights, psfs=psfs, centers=centers))
        signed.append(found.signed_fluxes)
        errors.append(found.signed_flux_errors)
        constrained.append(found.fluxes)
    zeros = np.zeros_like(np.concatenate(signed))
    report = {
        "signed": pulls(np.concatenate(signed), np.concatenate(errors), zeros),
        "constrained": pulls(np.concatenate(constrained), np.concatenate(errors), zeros),
    }
    uncertainty = report["signed"]["std"] / math.sqrt(report["signed"]["values"])
    print(f"sky: mean pull {report['signed']['mean']:+.3f} ± {uncertainty:.3f} signed, {report['constrained']['mean']:+.3f} constrained")
    return report


def invariance(count: int) -> dict[str, Any]:
    """What scaled weights and absent data change."""
    worst: dict[str, float] = {f"{scale:g}": 0.0 for scale in SCALES}
    absent, values = 0.0, 0
    for blend in hsc_blends()[:count]:
        plain = run(blend).fluxes
        for scale in SCALES:
            change = np.abs(run(replace(blend, weights=blend.weights * scale)).fluxes - plain)
            worst[f"{scale:g}"] = max(worst[f"{scale:g}"], float((change / np.abs(plain).max(axis=0)).max()))
        hidden = blend.weights == 0
        values += int(hidden.sum())
        with_nan = run(replace(blend, images=np.where(hidden, np.nan, blend.images).astype(np.float32))).fluxes
        absent = max(absent, float(np.abs(with_nan - plain).max()))
    print("invariance: " + ", ".join(f"weights times {scale} change fluxes by {change:.1e}" for scale, change in worst.items()))
    print(f"invariance: NaN in {values} data of weight 0 change fluxes by {absent:.1e}", flush=True)
    return {"scaled_weights": worst, "nan": absent}


def memory(count: int) -> dict[str, Any]:
    """MiB of resident memory as blends pass by."""
    resident = []
    for number in range(count):
        made = simulated_blend(1000 + number % 20)
        run(Blend(name="", images=made.images, weights=made.weights, psfs=made.psfs, centers=made.catalog))
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        resident.append(pages * 4096 / 2**20)
    settled = resident[min(10, count - 1) :]
    growth = float(np.polyfit(np.arange(len(settled)), settled, 1)[0]) if len(settled) > 1 else 0.0
    print(f"memory: {settled[0]:.0f} MiB after ten blends, {settled[-1]:.0f} after {count}, {1024 * growth:.0f} KiB a blend", flush=True)
    return {"first": settled[0], "last": settled[-1], "largest": max(settled), "mib_per_blend": growth}


def pictures(folder: Path) -> None:
    """Data, model and residual of every blend, and its sources row by row."""
    from vermilion.plot import save_figure, scene_rgb, source_rows

    folder.mkdir(parents=True, exist_ok=True)
    for blend in hsc_blends():
        found = run(blend)
        save_figure(scene_rgb(blend.images, blend.weights, found), folder / f"{blend.name}.png", dpi=100)
        rows = source_rows(blend.images, blend.weights, found, n_rows=len(found.sources))
        save_figure(rows, folder / f"{blend.name}_sources.png", dpi=80)


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Print the figures and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sections", nargs="*", choices=SECTIONS, default=SECTIONS)
    parser.add_argument("--injections", type=int, default=100)
    parser.add_argument("--skies", type=int, default=100)
    parser.add_argument("--blends", type=int, default=200, help="of the memory")
    parser.add_argument("--real-blends", type=int, default=20, help="of the invariance")
    parser.add_argument("--pictures", type=Path, default=None)
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    report = json.loads(options.json.read_text(encoding="utf-8")) if options.json.exists() else {}
    tasks = {
        "injections": lambda: injections(options.injections),
        "sky": lambda: sky(options.skies),
        "invariance": lambda: invariance(options.real_blends),
        "memory": lambda: memory(options.blends),
    }
    for section in options.sections:
        report[section] = tasks[section]()
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if options.pictures is not None:
        pictures(options.pictures)
    return report


if __name__ == "__main__":
    main()
