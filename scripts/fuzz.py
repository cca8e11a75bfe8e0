"""Read as many files as you like that no telescope made: python scripts/fuzz.py 10000 --seed 3.

The files are those of tests/io/fuzz.py, of which the tests try a few hundred. What breaks the promise of `read` is listed by its cause and,
with --keep, saved to be looked at.
"""

import argparse
import collections
import importlib.util
import logging
import os
import re
import sys
import tempfile
import time
import traceback
from pathlib import Path

from hypothesis import HealthCheck, Phase, given, seed, settings

GENERATOR = Path(__file__).resolve().parents[1] / "tests" / "io" / "fuzz.py"


def load_generator():
    """The module with the examples."""
    spec = importlib.util.spec_from_file_location("vermilion_fuzz", GENERATOR)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def cause(error):
    """What broke, without the numbers that differ from file to file."""
    text = re.sub(r"-?\d[\d.e+-]*", "#", str(error))[:100]
    if error.__cause__ is None:
        return text
    frames = traceback.extract_tb(error.__cause__.__traceback__)
    own = [frame for frame in frames if f"{os.sep}vermilion{os.sep}" in frame.filename]
    return f"{text} at {', '.join(f'{Path(frame.filename).name}:{frame.lineno}' for frame in own[-2:])}"


def run(number, first, formats, keep):
    """Try `number` examples; how often each outcome came, and the broken ones by cause."""
    fuzz = load_generator()
    outcomes, broken = collections.Counter(), collections.defaultdict(list)
    examples = fuzz.fits_examples() if formats == ["fits"] else fuzz.other_examples(formats=tuple(formats))

    with tempfile.TemporaryDirectory() as folder:

        @seed(first)
        @settings(max_examples=number, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
        @given(example=examples)
        def attempt(example):
            try:
                outcomes[fuzz.check(example, folder)] += 1
            except fuzz.BrokenPromiseError as error:
                name = cause(error)
                broken[name].append((error, example))
                if keep is not None and len(broken[name]) == 1:
                    target = keep / f"{first}-{len(broken):03d}"
                    target.mkdir(parents=True, exist_ok=True)
                    for file, content in example.files.items():
                        (target / file).write_bytes(content)
                    (target / "why.txt").write_text(f"{error}\n{example}\n{example.options}\n", encoding="utf-8")

        attempt()
    return outcomes, broken


def main():
    """Run from the command line; exit code 1 if something broke."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("number", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--formats", nargs="+", default=["fits"], metavar="NAME", help="fits (alone), or envi npy npz mat netcdf3 netcdf4")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="where the first file of every cause is saved")
    options = parser.parse_args()
    logging.disable(logging.CRITICAL)
    begin = time.monotonic()
    outcomes, broken = run(options.number, options.seed, options.formats, options.keep)
    said = ", ".join(f"{name} {count}" for name, count in outcomes.most_common())
    print(f"{sum(outcomes.values())} files as promised in {time.monotonic() - begin:.0f} s: {said}")
    for name, found in sorted(broken.items(), key=lambda item: -len(item[1])):
        error, example = found[0]
        print(f"{len(found)} broken: {name}\n    {error}\n    {example}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
