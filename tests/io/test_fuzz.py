"""Files of all kinds, whole and damaged: `read` gives what stands in them, or one of our errors, soon and in little memory."""

import pytest
from hypothesis import HealthCheck, given, seed, settings

from . import fuzz

pytestmark = pytest.mark.skipif(not hasattr(fuzz.signal, "setitimer"), reason="no timer on this system")


def _examples(number):
    checks = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture, HealthCheck.data_too_large, HealthCheck.large_base_example]
    return settings(max_examples=number, derandomize=True, database=None, deadline=None, suppress_health_check=checks)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


@_examples(120)
@given(example=fuzz.fits_examples(damaged=False))
def test_a_whole_fits_file_is_read_as_it_was_written(example, folder):
    fuzz.check(example, folder)


@_examples(180)
@given(example=fuzz.fits_examples(damaged=True))
def test_a_damaged_fits_file_gives_its_values_or_an_error_of_ours(example, folder):
    fuzz.check(example, folder)


@_examples(200)
@given(example=fuzz.other_examples())
def test_files_of_other_formats_are_read_as_written_or_refused(example, folder):
    fuzz.check(example, folder)


@pytest.mark.parametrize("damaged", [False, True])
def test_the_generator_makes_what_it_is_for(damaged, folder):
    """Enough files are read, and enough are refused for enough reasons: a generator that only makes rubbish tests nothing."""
    outcomes = []

    @seed(1)
    @_examples(60)
    @given(example=fuzz.fits_examples(damaged=damaged))
    def collect(example):
        outcomes.append(fuzz.check(example, folder, memory=False))

    collect()
    assert outcomes.count("read") > (20 if not damaged else 8)
    assert len(set(outcomes)) >= (2 if not damaged else 4)
