"""Cubes, maps and spectra for users of imaging spectrometers: ENVI images and spectral libraries, MATLAB files, GeoTIFF.

Every file is whole or absent. Numbers are written as they are (float32 or float64), so that what is read back is equal; what is masked
becomes NaN.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from html import escape
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from numpy.typing import NDArray

from ... import __version__
from ...datamodels import Cube, Frame, Result
from ...errors import OutputError, OutputExistsError, ParameterError, ShapeError
from .folder import output_error, write_atomically

__all__ = ["KINDS", "hyperspectral_products", "write_envi", "write_mat", "write_spectral_library", "write_tiff"]

Images = NDArray[np.floating[Any]]

KINDS = ("envi", "mat", "tiff")
_ENVI_TYPES = {"float32": 4, "float64": 5}
# units that the ENVI header has a word for
_ENVI_UNITS = (
    *((u.nm, "Nanometers"), (u.um, "Micrometers"), (u.AA, "Angstroms"), (u.mm, "Millimeters"), (u.cm, "Centimeters"), (u.m, "Meters")),
    *((u.GHz, "GHz"), (u.MHz, "MHz"), (u.cm**-1, "Wavenumber")),
)
_MAT_LIMIT = (1 << 32) - (1 << 20)  # bytes of a variable of level 5
_TIFF_LIMIT = (1 << 32) - (1 << 25)
_GDAL_METADATA, _GDAL_NODATA = 42112, 42113
_PIXEL_SCALE, _TIEPOINT, _GEO_KEYS = 33550, 33922, 34735


def write_envi(
    path: Any,
    images: Cube | Images,
    *,
    wavelength: u.Quantity | None = None,
    fwhm: u.Quantity | None = None,
    names: Sequence[str] = (),
    unit: Any = None,
    map_info: Sequence[str] = (),
    overwrite: bool = False,
) -> tuple[Path, Path]:
    """Write an ENVI image, band-sequential, and its header beside it.

    Parameters
    ----------
    path : path-like
        Of the data, such as ``maps.img``; the header has the same name with ``.hdr``.
    images : Cube or ndarray, shape (B, Ny, Nx)
        float32 or float64. A Cube brings wavelengths, widths, names, unit and map with it.
    wavelength, fwhm : Quantity, shape (B,), optional
        Units without a word in ENVI's vocabulary are written as the text that astropy gives them.
    names : sequence of str
        One per band.
    unit : Unit, optional
        Written as ``data units``, which ENVI itself ignores.
    map_info : sequence of str
        ENVI's own description of the map grid.
    overwrite : bool
        Replace files of these names.

    Returns
    -------
    tuple of Path
        Data and header.

    Raises
    ------
    ShapeError
        If there is not one name or wavelength per band.
    OutputExistsError, OutputError
        If the files are there already, or cannot be written.
    """
    data_path = _data_path(path)
    header_path = data_path.with_suffix(".hdr")
    values, about = _described(images, wavelength, fwhm, names, unit, map_info)
    for target in (data_path, header_path):
        _require_free(target, overwrite)
    header_path.unlink(missing_ok=True)  # an earlier header never stands beside other data
    _write(data_path, partial(_write_raw, values))
    _write(header_path, partial(_write_text, _envi_header(values.shape, values.dtype, about)))
    return data_path, header_path


def write_spectral_library(
    path: Any,
    spectra: NDArray[np.floating[Any]],
    *,
    wavelength: u.Quantity | None = None,
    names: Sequence[str] = (),
    overwrite: bool = False,
) -> tuple[Path, Path]:
    """Write spectra (B, K) as an ENVI spectral library, and its header beside it.

    Returns
    -------
    tuple of Path
        Data and header.
    """
    data_path = Path(path).with_suffix(".sli")
    header_path = data_path.with_suffix(".hdr")
    for target in (data_path, header_path):
        _require_free(target, overwrite)
    values = np.ascontiguousarray(spectra.T)
    header_path.unlink(missing_ok=True)
    _write(data_path, partial(_write_raw, values))
    _write(header_path, partial(_write_text, _library_header(values, wavelength, names)))
    return data_path, header_path


def write_mat(
    path: Any,
    images: Cube | Images,
    *,
    spectra: NDArray[np.floating[Any]] | None = None,
    wavelength: u.Quantity | None = None,
    names: Sequence[str] = (),
    unit: Any = None,
    overwrite: bool = False,
) -> Path:
    """Write a MATLAB file of level 5: rows x columns x bands, which no pixel order can confuse.

    Parameters
    ----------
    path : path-like
    images : Cube or ndarray, shape (B, Ny, Nx)
        A Cube becomes ``cube``, anything else ``maps``.
    spectra : ndarray, shape (B', K), optional
        Becomes ``spectra``, along `wavelength`.
    wavelength : Quantity, optional
        Becomes ``wavelength`` and ``wavelength_units``.
    names : sequence of str
        Become ``names``, one row of characters each.
    unit : Unit, optional
    overwrite : bool

    Returns
    -------
    Path

    Raises
    ------
    ShapeError, OutputExistsError, OutputError
        As `write_envi`; a variable of 4 GiB or more does not fit into this format.
    """
    target = Path(path)
    _require_free(target, overwrite)
    values, about = _described(images, wavelength if spectra is None else None, None, names, unit, ())
    variables = _mat_variables(values, about, isinstance(images, Cube), spectra, wavelength)
    _write(target, partial(_write_mat, variables))
    return target


def write_tiff(
    path: Any, images: Cube | Images, *, names: Sequence[str] = (), map_info: Sequence[str] = (), overwrite: bool = False
) -> Path:
    """Write a TIFF with one plane per band, band names as GDAL reads them, and a georeference where the map grid is UTM or geographic.

    Parameters
    ----------
    path : path-like
    images : Cube or ndarray, shape (B, Ny, Nx)
    names : sequence of str
    map_info : sequence of str
        As in an ENVI header; other grids than UTM and geographic ones on WGS-84 without rotation are left out.
    overwrite : bool

    Returns
    -------
    Path

    Raises
    ------
    ParameterError
        If tifffile is not installed.
    ShapeError, OutputExistsError, OutputError
        As `write_envi`.
    """
    target = Path(path)
    _require_free(target, overwrite)
    values, about = _described(images, None, None, names, None, map_info)
    _write(target, partial(_write_tiff, values, about))
    return target


def hyperspectral_products(
    kinds: Sequence[str], result: Result, frame: Frame, meta: Mapping[str, Any] | None = None
) -> Iterator[tuple[str, Callable[[Path], None]]]:
    """Names of products and what writes each to a path: maps and spectra in the formats of `kinds`.

    Parameters
    ----------
    kinds : sequence of {"envi", "mat", "tiff"}
    result : Result
        With maps (K, Ny, Nx).
    frame : Frame
    meta : mapping, optional
        Of the cube: its map grid is used where the image has the size that it had in the file.

    Yields
    ------
    tuple of str and callable
        For `OutputFolder.write`.

    Raises
    ------
    ParameterError
        If a kind is unknown.
    """
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise ParameterError(f"unknown kind of product {unknown[0]!r}: expected {', '.join(KINDS)}.")
    fits = meta is not None and tuple(meta.get("map_shape", ())) == tuple(frame.shape)
    map_info = tuple((meta or {}).get("map_info", ())) if fits else ()
    maps, about = _described(result.morphologies, None, None, result.names, None, map_info)
    axis = frame.spectral_axis
    if "envi" in kinds:
        library = np.ascontiguousarray(result.spectra.T)
        yield "maps.img", partial(_write_raw, maps)
        yield "maps.hdr", partial(_write_text, _envi_header(maps.shape, maps.dtype, about))
        yield "spectra.sli", partial(_write_raw, library)
        yield "spectra.hdr", partial(_write_text, _library_header(library, axis, result.names))
    if "mat" in kinds:
        yield "components.mat", partial(_write_mat, _mat_variables(maps, about, False, result.spectra, axis))
    if "tiff" in kinds:
        yield "maps.tif", partial(_write_tiff, maps, about)


# ---------------------------------------------------------------- what is written

About = dict[str, Any]


def _described(
    images: Cube | Images,
    wavelength: u.Quantity | None,
    fwhm: u.Quantity | None,
    names: Sequence[str],
    unit: Any,
    map_info: Sequence[str],
) -> tuple[Images, About]:
    """The numbers, NaN where masked, and what belongs to them; a Cube fills in what is not given."""
    if isinstance(images, Cube):
        frame, meta = images.frame, images.meta
        values = images.data if images.mask is None else np.where(images.mask, images.data.dtype.type(np.nan), images.data)
        wavelength = frame.spectral_axis if wavelength is None else wavelength
        fwhm = frame.lsf if fwhm is None else fwhm
        names = names or frame.band_names or ()
        unit = unit if unit is not None or isinstance(frame.unit, tuple) else frame.unit
        if not map_info and tuple(meta.get("map_shape", ())) == tuple(frame.shape):
            map_info = meta.get("map_info", ())
    else:
        values = np.asarray(images)
    if values.ndim != 3 or 0 in values.shape:
        raise ShapeError(f"images has shape {values.shape}: expected (bands, y, x), all at least 1.")
    if str(values.dtype) not in _ENVI_TYPES:
        values = values.astype(np.float32 if values.dtype.kind in "fiub" and values.dtype.itemsize <= 2 else np.float64)
    for what, listed in (("wavelengths", wavelength), ("widths", fwhm), ("names", names)):
        if listed is not None and len(listed) not in (0, len(values)):
            raise ShapeError(f"{len(listed)} {what} for {len(values)} bands: expected one per band.")
    about = {"wavelength": wavelength, "fwhm": fwhm, "names": tuple(names or ()), "unit": unit, "map_info": tuple(map_info)}
    return np.ascontiguousarray(values), about


# ---------------------------------------------------------------- ENVI


def _envi_header(shape: tuple[int, ...], dtype: np.dtype[Any], about: About) -> str:
    bands, lines, samples = shape
    rows = [*_envi_start("ENVI Standard", samples, lines, bands, dtype), "data ignore value = NaN"]
    if about["names"]:
        rows.append(f"band names = {{{_listed(map(_plain, about['names']))}}}")
    rows += _envi_wavelengths(about["wavelength"], about["fwhm"])
    if about["unit"] is not None and str(about["unit"]):
        rows.append(f"data units = {_plain(about['unit'])}")
    if about["map_info"]:
        rows.append(f"map info = {{{_listed(map(_plain, about['map_info']))}}}")
    return "\n".join(rows) + "\n"


def _library_header(spectra: NDArray[Any], wavelength: u.Quantity | None, names: Sequence[str]) -> str:
    lines, samples = spectra.shape
    rows = _envi_start("ENVI Spectral Library", samples, lines, 1, spectra.dtype)
    rows.append(f"spectra names = {{{_listed(map(_plain, names or [f'spectrum {k}' for k in range(lines)]))}}}")
    return "\n".join([*rows, *_envi_wavelengths(wavelength, None)]) + "\n"


def _envi_start(kind: str, samples: int, lines: int, bands: int, dtype: np.dtype[Any]) -> list[str]:
    return [
        "ENVI",
        f"description = {{written by vermilion {__version__}}}",
        *(f"samples = {samples}", f"lines = {lines}", f"bands = {bands}", "header offset = 0", f"file type = {kind}"),
        *(f"data type = {_ENVI_TYPES[str(dtype)]}", "interleave = bsq", "byte order = 0"),
    ]


def _envi_wavelengths(wavelength: u.Quantity | None, fwhm: u.Quantity | None) -> list[str]:
    if wavelength is None:
        return []
    word = next((word for unit, word in _ENVI_UNITS if unit == wavelength.unit), _plain(wavelength.unit))
    rows = [f"wavelength units = {word}", f"wavelength = {{{_listed(repr(float(value)) for value in wavelength.value)}}}"]
    if fwhm is not None:
        rows.append(f"fwhm = {{{_listed(repr(float(value)) for value in fwhm.to_value(wavelength.unit))}}}")
    return rows


def _listed(items: Any) -> str:
    """Items between braces, a few on each line as ENVI writes them."""
    texts = list(items)
    return ",\n ".join(", ".join(texts[i : i + 6]) for i in range(0, len(texts), 6))


def _plain(text: object) -> str:
    """Text that ends no list and begins no comment."""
    return " ".join(re.sub(r"[{},;=]|[^ -~]", " ", str(text)).split()) or "unnamed"


def _data_path(path: Any) -> Path:
    found = Path(path)
    return found.with_suffix(".img") if found.suffix.lower() in ("", ".hdr") else found


# ---------------------------------------------------------------- MATLAB


def _mat_variables(
    values: Images, about: About, is_cube: bool, spectra: NDArray[Any] | None, wavelength: u.Quantity | None
) -> dict[str, NDArray[Any]]:
    variables: dict[str, Any] = {"cube" if is_cube else "maps": values.transpose(1, 2, 0)}
    axis = about["wavelength"] if wavelength is None else wavelength
    if spectra is not None:
        variables["spectra"] = np.asarray(spectra)
    if axis is not None:
        variables |= {
            "wavelength": np.asarray(axis.value, dtype=np.float64)[:, None],
            "wavelength_units": np.array([axis.unit.to_string()]),
        }
    if about["names"]:
        variables["names"] = np.array([str(name) for name in about["names"]])
    if about["unit"] is not None and str(about["unit"]):
        variables["unit"] = np.array([str(about["unit"])])
    return variables


def _write_mat(variables: Mapping[str, NDArray[Any]], path: Path) -> None:
    from scipy.io import savemat

    for name, values in variables.items():
        if values.nbytes >= _MAT_LIMIT:
            raise OutputError(f"{name} has {values.nbytes} bytes, more than a MATLAB file of level 5 can hold: write ENVI instead.")
    stream = BytesIO()
    savemat(stream, dict(variables), do_compression=True)
    content = stream.getbuffer()
    # the text at the start holds the time of writing; the same input gives the same bytes
    content[:116] = f"MATLAB 5.0 MAT-file, written by vermilion {__version__}".encode("ascii").ljust(116)
    path.write_bytes(content)


# ---------------------------------------------------------------- TIFF


def _write_tiff(values: Images, about: About, path: Path) -> None:
    try:
        import tifffile
    except ImportError:
        raise ParameterError("writing TIFF needs tifffile: pip install 'vermilion[hyperspectral]'.") from None
    bands = [
        f'<Item name="DESCRIPTION" sample="{k}" role="description">{escape(_plain(name))}</Item>' for k, name in enumerate(about["names"])
    ]
    tags: list[tuple[int, str, int, Any, bool]] = [(_GDAL_NODATA, "s", 0, "nan", True), *_geo_tags(about["map_info"])]
    if bands:
        tags.append((_GDAL_METADATA, "s", 0, f"<GDALMetadata>{''.join(bands)}</GDALMetadata>", True))
    tifffile.imwrite(
        path,
        values if len(values) > 1 else values[0],
        photometric="minisblack",
        planarconfig="separate" if len(values) > 1 else None,
        bigtiff=values.nbytes >= _TIFF_LIMIT,
        metadata=None,
        software=f"vermilion {__version__}",
        extratags=tags,
    )


def _geo_tags(map_info: Sequence[str]) -> list[tuple[int, str, int, Any, bool]]:
    """Tags of GeoTIFF 1.1 for a map grid as ENVI describes it; none for grids other than UTM and geographic on WGS-84."""
    texts = [str(item).strip() for item in map_info]
    try:
        x, y, east, north, dx, dy = (float(text) for text in texts[1:7])
    except ValueError:
        return []
    rest = [text.lower() for text in texts[7:]]
    if not {"wgs-84", "wgs 84", "wgs84"} & set(rest) or any(text.replace(" ", "").startswith("rotation=") for text in rest):
        return []
    kind = texts[0].lower()
    if kind == "utm" and len(rest) >= 2 and rest[0].isdigit() and 1 <= int(rest[0]) <= 60 and rest[1] in ("north", "south"):
        model, key, code = 1, 3072, (32600 if rest[1] == "north" else 32700) + int(rest[0])
    elif kind.startswith("geographic"):
        model, key, code = 2, 2048, 4326
    else:
        return []
    keys = (1, 1, 0, 3, 1024, 0, 1, model, 1025, 0, 1, 1, key, 0, 1, code)
    return [
        (_PIXEL_SCALE, "d", 3, (dx, dy, 0.0), True),
        # ENVI counts pixels from 1, GeoTIFF from 0; both mean the upper left corner
        (_TIEPOINT, "d", 6, (x - 1, y - 1, 0.0, east, north, 0.0), True),
        (_GEO_KEYS, "H", len(keys), keys, True),
    ]


# ---------------------------------------------------------------- files


def _require_free(path: Path, overwrite: bool) -> None:
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} exists: choose another name or give overwrite=True.")


def _write(path: Path, producer: Callable[[Path], None]) -> None:
    try:
        write_atomically(path, producer)
    except OutputError:
        raise
    except OSError as error:
        raise output_error(f"{path} was not written", error) from error


def _write_raw(values: NDArray[Any], path: Path) -> None:
    with path.open("wb") as stream:
        stream.write(np.ascontiguousarray(values, dtype=values.dtype.newbyteorder("<")).data)


def _write_text(text: str, path: Path) -> None:
    path.write_text(text, encoding="ascii")
