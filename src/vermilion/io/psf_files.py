"""Images of the point-spread function in files of their own: FITS, .npy or .npz."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from astropy import units as u
from astropy.io import fits
from astropy.wcs.utils import proj_plane_pixel_scales
from numpy.typing import NDArray

from ..datamodels import PSF, Cube
from ..errors import AmbiguousInputError, MemoryLimitError, NotFITSError, ShapeError
from .containers import Variable
from .containers.numpy_file import is_npy, is_npz, read_npy, read_npz
from .fits.preflight import card, damage_reported, preflight
from .memory import format_bytes
from .options import ReadOptions
from .record import add_decisions, note
from .sources import local_file

__all__ = ["read_psf", "with_psf"]

Array = NDArray[np.float64]

_NAMES = ("psfs", "psf")
# STPSF and WebbPSF: sampled as the detector, with and without its distortion; the other extensions are oversampled
_DETECTOR = ("DET_DIST", "DET_SAMP")
_OFF_CENTER = 1.0  # pixels
_SCALE_TOLERANCE = 0.02


def with_psf(cube: Cube, options: ReadOptions) -> Cube:
    """`cube` with the PSF of the option psf_file; the cube itself where the option is not given."""
    if options.psf_file is None:
        return cube
    paths = options.psf_file if isinstance(options.psf_file, list | tuple) else [options.psf_file]
    notes: list[str] = []
    scale = _pixel_scale(cube)
    psf = read_psf(paths, cube.frame.n_bands, limit=options.limit, pixel_scale=scale, notes=notes)
    if cube.psf is not None:
        notes.append(f"it replaces the PSF of the file ({cube.psf.source or cube.psf})")
    return add_decisions(replace(cube, psf=psf), [note(f"PSF: {text}") for text in notes])


def read_psf(
    paths: Sequence[Any], n_bands: int, *, limit: int, pixel_scale: u.Quantity | None = None, notes: list[str] | None = None
) -> PSF:
    """The PSF of each band, its sum brought to 1.

    Parameters
    ----------
    paths : sequence of str or Path
        One file with an image per band, or one image for all of them; or one file per band, in their order. FITS, .npy or .npz.
    n_bands : int
        Number of bands of the cube, B.
    limit : int
        Bytes that reading may use.
    pixel_scale : Quantity, optional
        Angle of a pixel of the cube: a PSF whose header states another one is refused.
    notes : list of str, optional
        What was noticed is appended.

    Returns
    -------
    PSF
        `image` (B, h, w), float64. Bands of other sizes are padded with zeros about their centers.

    Raises
    ------
    ShapeError
        If the number of images is neither B nor 1, or an image is not finite, does not sum to a positive number, or is sampled
        otherwise than the cube.
    AmbiguousInputError
        If a file holds several arrays.
    """
    notes = [] if notes is None else notes
    images = [image for path in paths for image in _read(path, limit, pixel_scale)]
    if len(images) not in (1, n_bands):
        raise ShapeError(
            f"--psf-file gives {len(images)} images, the cube has {n_bands} bands: expected one image per band, or one for all."
        )
    notes.append(f"{len(images)} images of option --psf-file" if len(images) > 1 else "one image of option --psf-file")
    if len(images) == 1 < n_bands:
        notes.append(f"the same image is used for all {n_bands} bands")
    normalized = _normalized(images, notes)
    _note_centers(normalized, notes)
    image = np.stack(_padded(normalized, notes))
    if len(image) < n_bands:
        image = np.broadcast_to(image, (n_bands, *image.shape[1:]))
    return PSF(image=image, source="option --psf-file")


# ---------------------------------------------------------------- arrays


def _normalized(images: Sequence[Array], notes: list[str]) -> list[Array]:
    sums = []
    for number, image in enumerate(images, 1):
        if not np.isfinite(image).all():
            raise ShapeError(f"--psf-file: image {number} holds {np.count_nonzero(~np.isfinite(image))} values that are NaN or infinite.")
        total = float(image.sum())
        if not total > 0:
            raise ShapeError(f"--psf-file: image {number} sums to {total:g}: expected a positive sum, as of a point source.")
        sums.append(total)
    changed = [total for total in sums if abs(total - 1) > 1e-4]
    if changed:
        notes.append(f"sums of {min(changed):.6g} to {max(changed):.6g} were brought to 1")
    negative = max(float(-image[image < 0].sum()) / total for image, total in zip(images, sums, strict=True))
    if negative > 0:
        notes.append(f"negative values amount to up to {negative:.2%} of the flux: kept")
    return [image / total for image, total in zip(images, sums, strict=True)]


def _note_centers(images: Sequence[Array], notes: list[str]) -> None:
    """A convolution with a PSF whose light is not at the center of its image moves every source."""
    worst = 0.0
    for image in images:
        light = np.where(image > 0.1 * image.max(), image, 0)  # noise far from the core moves a centroid
        y, x = np.indices(image.shape)
        offset = [float((c * light).sum() / light.sum()) - (n - 1) / 2 for c, n in zip((y, x), image.shape, strict=True)]
        worst = max(worst, math.hypot(*offset))
    if any(n % 2 == 0 for image in images for n in image.shape):
        notes.append("an even number of pixels: the center of the image lies between pixels")
    if worst > _OFF_CENTER / 4:
        notes.append(f"its light lies up to {worst:.2f} pixels from the center of the image: positions of sources shift by as much")


def _padded(images: Sequence[Array], notes: list[str]) -> list[Array]:
    shapes = {image.shape for image in images}
    if len(shapes) == 1:
        return list(images)
    height, width = (max(shape[axis] for shape in shapes) for axis in (0, 1))
    if any((height - h) % 2 or (width - w) % 2 for h, w in shapes):
        sizes = ", ".join(f"{h} x {w}" for h, w in sorted(shapes))
        raise ShapeError(
            f"--psf-file: images of {sizes} pixels have no common center: expected odd sizes for all bands, or even ones for all."
        )
    notes.append(f"images of {len(shapes)} sizes were padded with zeros to {height} x {width}")
    return [np.pad(i, [((height - i.shape[0]) // 2,) * 2, ((width - i.shape[1]) // 2,) * 2]) for i in images]


def _images(array: NDArray[Any], what: str) -> Iterator[Array]:
    """The images in an array (h, w) or (B, h, w), degenerate axes aside."""
    while array.ndim > 3 and 1 in array.shape[:-2]:
        array = array.squeeze(axis=array.shape.index(1))
    if array.ndim not in (2, 3) or array.size == 0 or array.dtype.kind not in "fiu":
        raise ShapeError(f"{what} has shape {array.shape} and type {array.dtype}: expected numbers of shape (B, h, w) or (h, w).")
    yield from np.atleast_3d(array.T).T.astype(np.float64)


# ---------------------------------------------------------------- files


def _read(path: Any, limit: int, pixel_scale: u.Quantity | None) -> list[Array]:
    found = local_file(path)
    with found.open("rb") as stream:
        head = stream.read(8)
    if is_npy(head) or is_npz(found, head):
        variables = [read_npy(found, limit)] if is_npy(head) else read_npz(found, limit)
        return list(_images(_only(variables, found), f"--psf-file {found}"))
    try:
        return _read_fits(found, limit, pixel_scale)
    except NotFITSError as error:
        raise NotFITSError(f"--psf-file {str(error).rstrip('.')}; .npy and .npz are read as well.") from None


def _only(variables: Sequence[Variable], path: Path) -> NDArray[Any]:
    """The array of a .npy file, or the one of a .npz file that is called PSF."""
    named = [variable for variable in variables if variable.base.lower() in _NAMES]
    found = named or variables
    if len(found) != 1:
        listing = ", ".join(map(str, found[:10])) or "none"
        raise AmbiguousInputError(f"--psf-file {path}: {len(found)} arrays ({listing}): expected one, or one that is named psfs or psf.")
    if not found[0].is_real:
        raise ShapeError(f"--psf-file {path}: {found[0]}: expected real numbers.")
    return found[0].read()


def _read_fits(path: Path, limit: int, pixel_scale: u.Quantity | None) -> list[Array]:
    file = preflight(path, limit=limit)
    hdus = [hdu for hdu in file.hdus if hdu.kind in ("image", "compressed") and len(hdu.shape) >= 2 and 0 not in hdu.shape]
    hdus = next(([hdu for hdu in hdus if hdu.name == name] for name in _DETECTOR if any(hdu.name == name for hdu in hdus)), hdus)
    if not hdus:
        raise ShapeError(f"--psf-file {path}: no image in it: expected one of shape (B, h, w) or (h, w).")
    if len(hdus) > 1 and any(sum(n > 1 for n in hdu.shape) > 2 for hdu in hdus):
        raise AmbiguousInputError(f"--psf-file {path}: {len(hdus)} images: {'; '.join(map(str, hdus[:20]))}: expected one (B, h, w).")
    needed = sum(8 * math.prod(hdu.shape) for hdu in hdus)
    if needed > limit:
        raise MemoryLimitError(f"{path}: reading needs {format_bytes(needed)}, {format_bytes(limit)} are allowed: see --memory.")
    with file.open() as hdulist:
        images: list[Array] = []
        for hdu in hdus:
            _check_scale(hdu.header, pixel_scale, path)
            with damage_reported(f"the data of HDU {hdu} of {path}"):
                array = hdulist[hdu.index].data
            images += _images(np.asarray(array), f"--psf-file {path}: HDU {hdu}")
    return images


# ---------------------------------------------------------------- sampling


def _check_scale(header: fits.Header, pixel_scale: u.Quantity | None, path: Path) -> None:
    """PIXELSCL is the angle of a pixel in arcsec as STPSF and WebbPSF write it."""
    stated = card(header, "PIXELSCL")
    if pixel_scale is None or isinstance(stated, bool) or not isinstance(stated, int | float) or not stated > 0:
        return
    own = pixel_scale.to_value(u.arcsec)
    if abs(stated / own - 1) > _SCALE_TOLERANCE:
        raise ShapeError(
            f"--psf-file {path} has pixels of {stated:.4g} arcsec (PIXELSCL), the cube has {own:.4g}: expected the same; resample the PSF."
        )


def _pixel_scale(cube: Cube) -> u.Quantity | None:
    wcs = cube.frame.wcs
    if wcs is None or not wcs.has_celestial:
        return None
    scales = proj_plane_pixel_scales(wcs.celestial)
    units = wcs.celestial.wcs.cunit
    return u.Quantity(math.sqrt(scales[0] * u.Unit(units[0]).to(u.deg) * scales[1] * u.Unit(units[1]).to(u.deg)), u.deg)
