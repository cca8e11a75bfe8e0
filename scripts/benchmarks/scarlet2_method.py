"""scarlet2 as a careful user of its quick-start guide would run it, and its results on simulated blends kept in a file.

What is done, step by step as in the guide (version 0.5): an `Observation` with weights and an `ArrayPSF`; the model frame of
`Frame.from_observations`, a Gaussian of 0.7 pixels; each source a `Source` with spectrum and morphology of `init.from_gaussian_moments`,
and where that raises, the spectrum of the central pixel and `init.compact_morphology`; positive spectra with steps of 0.05 of their norm,
morphologies in the unit interval with steps of 1e-3 of it; `Scene.fit` with at most 1000 iterations and ``e_rel=1e-4``.
Choices where the guide is silent:

- types are not told: every source is extended, as in its first example; the variant "stars told" makes true stars `PointSource` with the
  spectrum of the central pixel corrected for the PSF and a free center (step 0.1), as in its second example;
- spectra of the start that are not positive or not finite (noise) are set to 1 % of the largest band: their logarithm would make all NaN;
- `init.from_gaussian_moments` may fail near edges with other errors than the ValueError of the guide: treated alike;
- no prior: those of its tutorial are networks to be downloaded.

The unit of the images makes no difference to speak of (ten blends, factors 0.01 to 100: median flux errors 0.37 to 0.42). Needs scarlet2
0.5. Fluxes are those of `measure.flux`. Times are CPU seconds of one thread; compilation (the first step less the median step) is told
apart.

    python scripts/benchmarks/scarlet2_method.py --cache FILE --seeds FIRST LAST [--stamps FOLDER] [--stars-told]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating[Any]]

ONE_THREAD = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
MAX_ITERATIONS = 1000
RELATIVE_CHANGE = 1e-4
SPECTRUM_STEP, MORPHOLOGY_STEP, CENTER_STEP = 0.05, 1e-3, 0.1
LEAST_SPECTRUM = 0.01


class StepClock:
    """Calls a function and notes the CPU seconds of every call."""

    def __init__(self, step: Any) -> None:
        self.step = step
        self.seconds: list[float] = []

    def __call__(self, *arguments: Any) -> Any:
        """What the function returns."""
        begin = time.process_time()
        result = self.step(*arguments)
        result[1].block_until_ready()
        self.seconds.append(time.process_time() - begin)
        return result


def fit(
    images: Array, weights: Array, psfs: Array, centers: Array, stars: Sequence[int] = (), max_iterations: int = MAX_ITERATIONS
) -> dict[str, Any]:
    """Fluxes (n, B), models (n, B, Ny, Nx), the number of iterations, and CPU seconds with and without compilation."""
    os.environ.setdefault("XLA_FLAGS", ONE_THREAD)  # before JAX is imported
    import jax.numpy as jnp
    import scarlet2
    from numpyro.distributions import constraints
    from scarlet2 import infer

    scarlet2.set_validation(False)
    begin = time.process_time()
    there = np.isfinite(images) & (weights > 0)
    observation = scarlet2.Observation(
        jnp.asarray(np.where(there, images, 0)),
        jnp.asarray(np.where(there, weights, 0)),
        psf=scarlet2.ArrayPSF(jnp.asarray(psfs)),
        channels=[str(b) for b in range(len(images))],
    )
    frame = scarlet2.Frame.from_observations(observation)
    with scarlet2.Scene(frame) as scene:
        for k, center in enumerate(centers):
            start(scarlet2, observation, jnp.asarray(center, dtype=float), star=k in stars)
    with scarlet2.Parameters(scene):
        for k, source in enumerate(scene.sources):
            step = partial(scarlet2.relative_step, factor=SPECTRUM_STEP)
            scarlet2.Parameter(source.spectrum, name=f"spectrum:{k}", constraint=constraints.positive, stepsize=step)
            if k in stars:
                scarlet2.Parameter(source.center, name=f"center:{k}", stepsize=CENTER_STEP)
            else:
                step = partial(scarlet2.relative_step, factor=MORPHOLOGY_STEP)
                scarlet2.Parameter(source.morphology, name=f"morph:{k}", constraint=constraints.unit_interval, stepsize=step)
    clock, original = StepClock(infer._make_step), infer._make_step
    infer._make_step = clock
    try:
        fitted = scene.fit(observation, max_iter=max_iterations, e_rel=RELATIVE_CHANGE, progress_bar=False)
    finally:
        infer._make_step = original
    seconds = time.process_time() - begin
    return {
        "fluxes": np.stack([np.asarray(scarlet2.measure.flux(source), dtype=float) for source in fitted.sources]),
        "models": np.stack([np.asarray(observation.render(fitted.evaluate_source(source)), dtype=float) for source in fitted.sources]),
        "iterations": len(clock.seconds),
        "seconds": seconds,
        "seconds_without_compilation": seconds - (clock.seconds[0] - float(np.median(clock.seconds))),
    }


def start(scarlet2: Any, observation: Any, center: Any, *, star: bool) -> None:
    """Add a source to the open scene."""
    import jax.numpy as jnp

    init = scarlet2.init
    if star:
        scarlet2.PointSource(center, positive(init.pixel_spectrum(observation, center, correct_psf=True)))
        return
    try:
        spectrum, morphology = init.from_gaussian_moments(observation, center, min_corr=0.99)
        if not bool(jnp.isfinite(morphology).all()):
            raise ValueError("moments that are no Gaussian")
    except (ValueError, AssertionError, IndexError, TypeError):
        spectrum, morphology = init.pixel_spectrum(observation, center), init.compact_morphology()
    scarlet2.Source(center, positive(spectrum), morphology)


def positive(spectrum: Any) -> Any:
    """The spectrum with at least 1 % of its largest value in each band."""
    import jax.numpy as jnp

    largest = jnp.nan_to_num(spectrum, posinf=0.0, neginf=0.0).max()
    largest = jnp.where(largest > 0, largest, 1.0)
    return jnp.maximum(jnp.nan_to_num(spectrum, posinf=0.0, neginf=0.0), LEAST_SPECTRUM * largest)


def run_blend(seed: int, stamps: Path | None, *, stars_told: bool) -> dict[str, Any]:
    """What is kept of one blend; "failure" where it did not end in finite numbers."""
    from deblending_metrics import fft_seconds, overlap_errors

    from vermilion.simulate import blend

    made = blend(seed, stamps=stamps)
    kinds = [kind for kind, told in zip(made.kinds, made.detected, strict=True) if told]
    stars = [k for k, kind in enumerate(kinds) if kind == "point"] if stars_told else []
    record: dict[str, Any] = {"seed": seed, "fft_seconds": fft_seconds()}
    try:
        found = fit(made.images, made.weights, made.psfs, made.catalog, stars)
    except Exception as error:
        return record | {"failure": f"{type(error).__name__}: {error}"[:300]}
    if not np.isfinite(found["fluxes"]).all():
        record["failure"] = "fluxes are not finite"
    model = found.pop("models")
    record["chi2"] = float((made.weights * (made.images - model.sum(axis=0)) ** 2).sum())
    record["overlap_errors"] = overlap_errors(model, made.true_images[made.detected]).tolist()
    return record | found | {"fluxes": found["fluxes"].tolist()}


def main(arguments: Sequence[str] | None = None) -> None:
    """Fill the cache with the seeds that it does not hold yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs=2, required=True, metavar=("FIRST", "LAST"), help="both included")
    parser.add_argument("--stamps", type=Path, default=None)
    parser.add_argument("--stars-told", action="store_true")
    parser.add_argument("--limit", type=float, default=float("inf"), help="CPU seconds after which no further blend is begun")
    options = parser.parse_args(arguments)
    kept = json.loads(options.cache.read_text(encoding="utf-8")) if options.cache.exists() else {}
    for seed in range(options.seeds[0], options.seeds[1] + 1):
        if str(seed) in kept:
            continue
        if time.process_time() > options.limit:
            break
        kept[str(seed)] = run_blend(seed, options.stamps, stars_told=options.stars_told)
        partly = options.cache.with_suffix(".part")
        partly.write_text(json.dumps(kept) + "\n", encoding="utf-8")
        partly.replace(options.cache)
        said = {key: kept[str(seed)].get(key) for key in ("iterations", "seconds", "seconds_without_compilation", "failure")}
        print(seed, said, file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
