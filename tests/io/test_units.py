"""Units as files spell them."""

import pytest
from astropy import units as u
from astropy.io import fits

from vermilion.errors import UnitError
from vermilion.io import read
from vermilion.io.units import parse_unit

FLUX = u.erg / u.s / u.cm**2 / u.AA


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("10**(-20)*erg/s/cm**2/Angstrom", 1e-20 * FLUX),
        ("10**-20 Angstrom-1 cm-2 erg s-1", 1e-20 * FLUX),
        ("1E-17 erg/s/cm^2/Ang/spaxel", 1e-17 * FLUX / u.pix),
        ("10**(-16) erg /s /cm**2 /angstrom /pixel", 1e-16 * FLUX / u.pix),
        ("(10**(-20)*erg/s/cm**2/Angstrom)**2", (1e-20 * FLUX) ** 2),
        ("FLAM16", 1e-16 * FLUX),
        ("JY/BEAM", u.Jy / u.beam),
        ("ELECTRONS/S", u.electron / u.s),
        ("counts", u.ct),
        ("mum", u.um),
        ("MJy/sr", u.MJy / u.sr),
        ("ergs s-1 cm-2 A-1", FLUX),
        ("1E-16 ERG/S/CM2/A", 1e-16 * FLUX),
        ("10^{-16} erg/sec/cm^2/Angstroem", 1e-16 * FLUX),
        ("1e-17 erg/s/cm2/Ang/fiber", 1e-17 * FLUX / u.pix),
        ("MJY/SR", u.MJy / u.sr),
        ("mjy/beam", u.mJy / u.beam),
        ("Jy/beam km/s", u.Jy / u.beam * u.km / u.s),
        ("cts/s", u.ct / u.s),
        ("ADU", u.adu),
        ("nanomaggies", u.nmgy),
        ("nanomaggy", u.nmgy),
        ("nmgy", u.nmgy),
        ("Nanomaggy", u.nmgy),
        ("Nanometers", u.nm),
        ("KM/S", u.km / u.s),
        ("HZ", u.Hz),
    ],
)
def test_a_spelling_of_the_field_means_what_its_authors_meant(text, unit):
    unit, found = u.Unit(unit), parse_unit(text)[0]
    assert found.is_equivalent(unit)
    assert found.to(unit) == pytest.approx(1)


@pytest.mark.parametrize("text", ["10^-16 erg/s/cm^2/A", "1e-16 erg s-1 cm-2 A-1"])
def test_per_ampere_is_read_as_per_angstrom_with_a_note(text):
    unit, note = parse_unit(text)
    assert unit.to(FLUX) == pytest.approx(1e-16)
    assert "Angstrom" in note


def test_an_ampere_where_no_energy_is_stays_an_ampere():
    assert parse_unit("A/m2") == (u.A / u.m**2, None)


@pytest.mark.parametrize("text", ["unknown", "furlongs", "erg//x", "(((", "Corrected DN", "MJY"])
def test_what_nobody_understands_is_an_error(text):
    with pytest.raises(UnitError, match="not understood"):
        parse_unit(text)


@pytest.fixture
def unknown(tmp_path):
    import numpy as np

    path = tmp_path / "cube.fits"
    fits.PrimaryHDU(np.arange(24.0).reshape(2, 3, 4), fits.Header({"BUNIT": "unknown"})).writeto(path)
    return path


def test_an_unknown_unit_names_the_ways_out(unknown):
    with pytest.raises(UnitError, match=r"BUNIT 'unknown' in HDU 0 PRIMARY.*Try --unit .* or --allow-unitless") as caught:
        read(unknown)
    assert (caught.value.code, caught.value.exit_code) == ("E-UNIT", 4)


def test_both_ways_out_of_an_unknown_unit_lead_out(unknown):
    assert read(unknown, unit="Jy").frame.unit == u.Jy
    assert read(unknown, allow_unitless=True).frame.unit == u.dimensionless_unscaled
