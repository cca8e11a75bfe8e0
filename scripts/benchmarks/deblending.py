"""Stars and galaxies taken apart: vermilion against scarlet2 on the same simulated blends.

Blends are those of `vermilion.simulate.blend`: 2 to 10 sources in g r i z y, a tenth of them not in the catalog, PSFs known to 1 %,
positions to 0.1 pixel, signal-to-noise ratios from 5 to 100. Seeds 0 to 199 are the reported ones; 1000 and above were for development.

vermilion      `vermilion.deblend` with its defaults
signed         the signed refit of the same run (its images are those of the default, scaled)
types told     the true types given
true PSF       the true PSFs instead of those that are known to 1 %
scarlet2       as its quick-start guide runs it (scarlet2_method.py); from a cache, which is filled by a process of its own
stars told     the same with true stars as point sources
true shapes    signed least squares with the true image of each catalogued source: what noise and faint sources leave to anybody

Errors per source: flux ``|F - F*| / F*`` in every band; colors of neighboring bands in magnitudes; overlap ``sum |m - t| / 2 sum t`` of
the image of the source over all bands. A method that fails on a blend counts as if all its fluxes were 0. Intervals: 95 %, by drawing
blends with replacement. Times: CPU seconds of one thread, and in units of 1000 `torch.fft.rfft2` of 5 x 128 x 128 in the same run; those
of scarlet2 with and without compilation.

    python scripts/benchmarks/deblending.py [--blends 200] [--first 0] [--stamps FOLDER] [--cache FOLDER] [--methods ...] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from vermilion.simulate import SimulatedBlend, blend

sys.path.insert(0, str(Path(__file__).parent))  # the neighbours, also where this file is loaded by its path

from deblending_metrics import (
    Sources,
    calibration,
    color_errors,
    differences,
    fft_seconds,
    flux_errors,
    forced_fluxes,
    markdown_table,
    overlap_errors,
    pulls,
    summary,
)

Array = NDArray[np.floating[Any]]

WARM_UP_SEED = 999_999
CATASTROPHE = 1.0  # relative error of the flux of all bands
SCARLET2 = {"scarlet2": (), "scarlet2, stars told": ("--stars-told",)}


@dataclass(frozen=True, eq=False, kw_only=True)
class Outcome:
    """What a method made of the catalogued sources of one blend; errors and probabilities where it tells them."""

    fluxes: Array
    overlap_errors: Array
    seconds: float
    errors: Array | None = None
    star_probabilities: Array | None = None
    chi2: float = float("nan")
    failure: str = ""
    seconds_without_compilation: float | None = None
    fft_seconds: float | None = None


def failed(made: SimulatedBlend, reason: str, seconds: float) -> Outcome:
    """An outcome without any flux."""
    n = int(made.detected.sum())
    return Outcome(fluxes=np.zeros((n, len(made.images))), overlap_errors=np.full(n, 0.5), seconds=seconds, failure=reason)


def run_vermilion(made: SimulatedBlend, *, types_told: bool = False, true_psf: bool = False, signed: bool = False) -> Outcome:
    """`vermilion.deblend` with its defaults, what is told apart."""
    from vermilion.deblend import deblend

    told = {"types": [kind for kind, seen in zip(made.kinds, made.detected, strict=True) if seen]} if types_told else {}
    psf = made.true_psfs if true_psf else made.psfs
    begin = time.process_time()
    try:
        found = deblend(made.images, weights=made.weights, psf=psf, catalog=made.catalog, **told)
    except Exception as error:
        return failed(made, f"{type(error).__name__}: {error}"[:300], time.process_time() - begin)
    seconds = time.process_time() - begin
    fluxes, errors, models = found.fluxes, found.flux_errors, found.models
    if signed:
        own = np.where(fluxes > 0, fluxes, 1)
        models = models * (found.signed_fluxes / own)[:, :, None, None]
        fluxes, errors = found.signed_fluxes, found.signed_flux_errors
    if not np.isfinite(fluxes).all():
        return failed(made, "fluxes are not finite", seconds)
    return Outcome(
        fluxes=np.asarray(fluxes, dtype=float),
        errors=np.asarray(errors, dtype=float),
        overlap_errors=overlap_errors(models, made.true_images[made.detected]),
        star_probabilities=np.array([source.probabilities.get("point", float(source.kind == "point")) for source in found.sources]),
        seconds=seconds,
        chi2=float(found.chi2),
    )


def run_true_shapes(made: SimulatedBlend) -> Outcome:
    """Least squares with the true images of the catalogued sources."""
    begin = time.process_time()
    truths = made.true_images[made.detected].astype(float)
    inside = truths.sum(axis=(2, 3), keepdims=True)
    templates = truths / inside
    share = forced_fluxes(templates, made.images, made.weights) / inside[:, :, 0, 0]
    models = truths * share[:, :, None, None]
    return Outcome(
        fluxes=share * made.fluxes[made.detected],
        overlap_errors=overlap_errors(models, truths),
        seconds=time.process_time() - begin,
        chi2=float((made.weights * (made.images - models.sum(axis=0)) ** 2).sum()),
    )


METHODS: dict[str, Callable[[SimulatedBlend], Outcome]] = {
    "vermilion": run_vermilion,
    "vermilion, signed": lambda made: run_vermilion(made, signed=True),
    "vermilion, types told": lambda made: run_vermilion(made, types_told=True),
    "vermilion, true PSF": lambda made: run_vermilion(made, true_psf=True),
    "true shapes": run_true_shapes,
}


def fill_cache(cache: Path, options: argparse.Namespace, extra: Sequence[str]) -> dict[str, Any]:
    """Results of scarlet2 by seed; those that are missing are computed by one process."""
    kept = dict(json.loads(cache.read_text(encoding="utf-8"))) if cache.exists() else {}
    if all(str(seed) in kept for seed in range(options.first, options.first + options.blends)):
        return kept
    command = [sys.executable, str(Path(__file__).with_name("scarlet2_method.py")), "--cache", str(cache), *extra]
    command += ["--seeds", str(options.first), str(options.first + options.blends - 1)]
    subprocess.run([*command, *(["--stamps", str(options.stamps)] if options.stamps else [])], check=True)
    return dict(json.loads(cache.read_text(encoding="utf-8")))


def cached(made: SimulatedBlend, record: dict[str, Any]) -> Outcome:
    """What scarlet2 made of a blend."""
    if "failure" in record:
        return failed(made, record["failure"], record.get("seconds", float("nan")))
    return Outcome(
        fluxes=np.array(record["fluxes"]),
        overlap_errors=np.array(record["overlap_errors"]),
        seconds=record["seconds"],
        seconds_without_compilation=record["seconds_without_compilation"],
        fft_seconds=record["fft_seconds"],
        chi2=record["chi2"],
    )


def collect(blends: Sequence[SimulatedBlend], outcomes: Sequence[Outcome]) -> Sources:
    """Errors of all catalogued sources."""
    told = [made.detected for made in blends]
    fluxes, truths = (np.concatenate(x) for x in ([o.fluxes for o in outcomes], [m.fluxes[d] for m, d in zip(blends, told, strict=True)]))
    return Sources(
        blend=np.repeat(np.arange(len(blends)), [d.sum() for d in told]),
        snr=np.concatenate([m.snr[d] for m, d in zip(blends, told, strict=True)]),
        blendedness=np.concatenate([m.blendedness[d] for m, d in zip(blends, told, strict=True)]),
        flux=flux_errors(fluxes, truths),
        color=color_errors(fluxes, truths),
        overlap=np.concatenate([o.overlap_errors for o in outcomes]),
    )


def judge(blends: Sequence[SimulatedBlend], outcomes: Sequence[Outcome], unit: float) -> dict[str, Any]:
    """All figures of a method."""
    sources = collect(blends, outcomes)
    truths = np.concatenate([made.fluxes[made.detected] for made in blends])
    totals = np.concatenate([outcome.fluxes for outcome in outcomes]).sum(axis=1)
    seconds = np.array([outcome.seconds for outcome in outcomes])
    report: dict[str, Any] = {
        "errors": summary(sources),
        "flux_median_by_band": np.median(sources.flux, axis=0).tolist(),
        "bias_of_total_flux": float(np.median(totals / truths.sum(axis=1) - 1)),
        "failures": [f"{made.seed}: {o.failure}" for made, o in zip(blends, outcomes, strict=True) if o.failure],
        "catastrophes": float(np.mean(np.abs(totals / truths.sum(axis=1) - 1) > CATASTROPHE)),
        "chi2_per_datum": float(np.nanmedian([o.chi2 / made.images.size for made, o in zip(blends, outcomes, strict=True)])),
        "cpu_seconds": {"median": float(np.nanmedian(seconds)), "mean": float(np.nanmean(seconds)), "worst": float(np.nanmax(seconds))},
        "cpu_in_ffts": float(np.nanmedian([o.seconds / (o.fft_seconds or unit) for o in outcomes])),
    }
    bare = [o.seconds_without_compilation for o in outcomes if o.seconds_without_compilation is not None]
    if bare:
        report["cpu_seconds"]["median_without_compilation"] = float(np.median(bare))
    if all(outcome.errors is not None or outcome.failure for outcome in outcomes):
        sound = [(made, o) for made, o in zip(blends, outcomes, strict=True) if o.errors is not None]
        if sound:
            arrays = ([o.fluxes for _, o in sound], [o.errors for _, o in sound], [made.fluxes[made.detected] for made, _ in sound])
            report["pulls"] = pulls(*(np.concatenate(x) for x in arrays))
            stars = np.array([kind == "point" for made, _ in sound for kind, told in zip(made.kinds, made.detected, strict=True) if told])
            report["stars"] = calibration(np.concatenate([o.star_probabilities for _, o in sound]), stars)
    return report


def print_table(report: dict[str, Any]) -> str:
    """The markdown table of all methods and the intervals of the differences."""
    names = list(report["methods"])
    rows = []
    for selection, figures in report["methods"][names[0]]["errors"].items():
        for metric in figures:
            if metric != "sources":
                values = [f"{report['methods'][name]['errors'][selection][metric]:.3f}" for name in names]
                rows.append([f"{selection} ({figures['sources']})", metric.replace("_", " "), *values])
    for label, key in (("failed blends", "failures"), ("total flux wrong by more than 100 %", "catastrophes")):
        values = [report["methods"][name][key] for name in names]
        rows.append(["all", label, *(f"{len(v)}" if isinstance(v, list) else f"{v:.2%}" for v in values)])
    rows.append(["all", "median bias of total flux", *(f"{report['methods'][name]['bias_of_total_flux']:+.3f}" for name in names)])
    rows.append(["all", "median CPU s", *(f"{report['methods'][name]['cpu_seconds']['median']:.3g}" for name in names)])
    rows.append(["all", "median CPU in 1000 FFTs", *(f"{report['methods'][name]['cpu_in_ffts']:.3g}" for name in names)])
    for label, key in (("mean pull", "mean"), ("std of pulls", "std"), ("median absolute pull", "median_absolute")):
        figures = [report["methods"][name].get("pulls", {}).get(key) for name in names]
        rows.append(["all", label, *("" if value is None else f"{value:.2f}" for value in figures)])
    errors = [report["methods"][name].get("stars", {}).get("error") for name in names]
    rows.append(["all", "calibration error of stars", *("" if value is None else f"{value:.3f}" for value in errors)])
    text = markdown_table(["sources", "metric", *names], rows)
    for pair, table in report["differences"].items():
        compared = [
            [selection, metric.replace("_", " "), f"{value:+.3f}", f"{low:+.3f} to {high:+.3f}", "yes" if high < 0 else "no"]
            for selection, metrics in table.items()
            for metric, (value, low, high) in metrics.items()
        ]
        text += f"\n\n{pair}\n\n" + markdown_table(["sources", "metric", "difference", "95 %", "better"], compared)
    return text


def main(arguments: Sequence[str] | None = None) -> dict[str, Any]:
    """Print the tables and write them as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--blends", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--stamps", type=Path, default=None, help="folder of Hubble stamps")
    parser.add_argument("--cache", type=Path, default=None, help="folder for the results of scarlet2; without it scarlet2 is left out")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), default=["vermilion", "vermilion, signed", "true shapes"])
    parser.add_argument("--json", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument("--markdown", type=Path, default=None)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    blends = [blend(seed, stamps=options.stamps) for seed in range(options.first, options.first + options.blends)]
    names = list(options.methods)
    kept = {}
    if options.cache is not None:
        names += SCARLET2
        for name in SCARLET2:
            kept[name] = fill_cache(options.cache / f"{name.replace(', ', '_').replace(' ', '_')}.json", options, SCARLET2[name])
    outcomes: dict[str, list[Outcome]] = {}
    units = [fft_seconds()]
    for name in names:
        if name in SCARLET2:
            outcomes[name] = [cached(made, kept[name][str(made.seed)]) for made in blends]
            continue
        METHODS[name](blend(WARM_UP_SEED, n_sources=(2, 2)))  # imports and compiled kernels, before the clock
        outcomes[name] = [METHODS[name](made) for made in blends]
        units.append(fft_seconds())
    unit = float(np.median(units))
    report: dict[str, Any] = {
        "blends": options.blends,
        "first": options.first,
        "stamps": options.stamps is not None,
        "fft_seconds": unit,
        "threads": torch.get_num_threads(),
        "methods": {name: judge(blends, found, unit) for name, found in outcomes.items()},
        "differences": {
            f"vermilion less {name}": differences(collect(blends, outcomes["vermilion"]), collect(blends, outcomes[name]))
            for name in SCARLET2
            if name in outcomes and "vermilion" in outcomes
        },
    }
    options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    text = print_table(report)
    print(text)
    if options.markdown is not None:
        options.markdown.write_text(text + "\n", encoding="utf-8")
    return report


if __name__ == "__main__":
    main()
