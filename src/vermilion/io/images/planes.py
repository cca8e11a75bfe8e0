"""Images of the same sky in several HDUs or files: which is the image of which band, which its errors, which its mask."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from astropy.io import fits

from ...errors import AmbiguousInputError, ParameterError, ShapeError
from ..fits.hdus import COMPANIONS, ERROR_NAMES, MASK_NAMES, NONE
from ..fits.preflight import FITSFile, HDUInfo, card
from ..options import ReadOptions
from .bandpass import band_name, is_filter, tokens

__all__ = ["Band", "Plane", "find_bands", "image_label", "is_plane"]

# What the names of HDUs and the parts of file names mean: a role, and the kind of the errors.
_ROLES: dict[str, tuple[str, str]] = {
    **dict.fromkeys((*COMPANIONS, "EXP", "EXPTIME", "NEXP", "COV", "COVERAGE", "CHI2", "DEPTH", "GALDEPTH", "PSFSIZE"), ("other", "")),
    **dict.fromkeys(("MODEL", "RESID", "BKG", "BACKGROUND", "SKY", "SEG", "SEGM", "SEGMENTATION", "PSF", "CAT", "NUM"), ("other", "")),
    **dict.fromkeys(("IMAGE", "IMG", "SCI", "SCIENCE", "DATA", "FLUX", "COADD", "INT"), ("image", "")),
    **{name: ("error", kind) for name, kind in ERROR_NAMES.items()},
    **dict.fromkeys(("RMS", "UNC", "STD"), ("error", "sigma")),
    # exposure time, inverse variance or the number of images, in any scale: only the user knows
    **dict.fromkeys(("WHT", "WGT", "WEIGHT", "WEIGHTS", "WTMAP", "WT"), ("weight", "")),
    **dict.fromkeys((*MASK_NAMES, "MSK", "FLAG", "FLAGS", "BPM", "DQMASK", "MASKBITS"), ("mask", "")),
}
_IN_FILE_NAMES = ("image", "error", "weight", "mask")
_PARTS = ("POISSON", "RNOISE", "FLAT", "SKY", "MODEL", "SOURCE")  # VAR_POISSON of JWST is a part of the errors, not the errors
_NAMELESS = ("", "PRIMARY", "COMPRESSED_IMAGE")


@dataclass(frozen=True, eq=False)
class Plane:
    """An image with two axes, and what it is taken for.

    Attributes
    ----------
    file : FITSFile
    hdu : HDUInfo
    role : {"image", "error", "weight", "mask", "other"}
    kind : str
        Of errors: ``variance``, ``sigma``, ``ivar``; "" where it is not said.
    stated : bool
        Whether an option or a header says the kind; False where only a name does.
    band : str
        What the header or the name of the HDU says about its band.
    why : str
    """

    file: FITSFile
    hdu: HDUInfo
    role: str
    kind: str = ""
    stated: bool = False
    band: str = ""
    why: str = ""

    def __str__(self) -> str:
        return f"HDU {self.hdu} of {self.file.path.name}"

    @property
    def size(self) -> tuple[int, int]:
        """(Ny, Nx)."""
        return self.hdu.shape[-2], self.hdu.shape[-1]


@dataclass(frozen=True, eq=False)
class Band:
    """The planes of one band.

    Attributes
    ----------
    image : Plane
    error, mask : Plane or None
    coverage : Plane or None
        Weights of unknown kind: 0 means no data, and nothing else is taken from them.
    """

    image: Plane
    error: Plane | None = None
    mask: Plane | None = None
    coverage: Plane | None = None


def is_plane(hdu: HDUInfo) -> bool:
    """Whether the HDU holds an image of two axes, degenerate ones before them."""
    return hdu.kind in ("image", "compressed") and len(hdu.shape) >= 2 and 0 not in hdu.shape and all(n == 1 for n in hdu.shape[:-2])


def image_label(header: fits.Header) -> str:
    """Name by which a header calls its image the data of a band; "" where it does not."""
    text, _ = _label(header, str(card(header, "EXTNAME", "")).strip().upper())
    return text if _meaning(text)[0] == "image" else ""


def find_bands(files: Sequence[FITSFile], options: ReadOptions) -> list[Band]:
    """The bands in the order of the files and of their HDUs.

    Errors and masks may lie beside the image in its file, between the images of a file with several bands, or in files of their
    own, whose names are those of the images but for the part that says what they are (``field-g-image.fits``,
    ``field-g-invvar.fits``).

    Raises
    ------
    ShapeError
        If a file holds no image with two axes.
    AmbiguousInputError
        If it cannot be told which image is what; the text names the option to add.
    """
    images: list[Plane] = []
    companions: list[list[Plane]] = []
    loose: list[Plane] = []
    for file in files:
        planes = _planes(file, options)
        own = [plane for plane in planes if plane.role == "image"]
        others = [plane for plane in planes if plane.role != "image"]
        images += own
        companions += [others] if len(own) == 1 else _pair(own, others, options) if own else []
        loose += [] if own else others
    for plane in loose:
        companions[_owner(plane, images)].append(plane)
    return [_band(image, own, options) for image, own in zip(images, companions, strict=True)]


# ---------------------------------------------------------------- one file


def _planes(file: FITSFile, options: ReadOptions) -> list[Plane]:
    """The planes of a file with their roles."""
    planes = [_plane(file, hdu) for hdu in file.hdus if is_plane(hdu)]
    if not planes:
        listing = "; ".join(map(str, file.hdus[:20]))
        raise ShapeError(f"{file.path}: no image with two axes, as expected of the file of a band; it holds {listing}: leave it out.")
    if options.data_ext is not None:
        chosen = _chosen(planes, options.data_ext, "--data-ext", planes[0])
        planes = [
            replace(p, role="image", why="option --data-ext") if p in chosen else replace(p, role="other") if p.role == "image" else p
            for p in planes
        ]
    if len(planes) == 1 and not planes[0].role and planes[0].hdu.name in _NAMELESS:
        planes = [_by_file_name(planes[0])]
    planes = _by_elimination(planes) if not any(p.role == "image" for p in planes) else _with_primary(planes, options)
    n_images = sum(plane.role == "image" for plane in planes)
    if n_images > 1:
        return planes
    return [replace(plane, band=plane.band or band_name(file.hdus[0].header)) for plane in planes]


def _plane(file: FITSFile, hdu: HDUInfo) -> Plane:
    text, source = _label(hdu.header, hdu.name)
    role, kind, rest = _meaning(text)
    own = band_name(hdu.header)
    version = card(hdu.header, "EXTVER")
    band = own if own.upper() == rest.upper() else rest or own
    band = band or (str(version) if isinstance(version, int) and version > 1 else "")
    return Plane(file, hdu, role, kind, False, band, source if role else "")


def _label(header: fits.Header, name: str) -> tuple[str, str]:
    """The text by which an HDU says what it is, and where it stands."""
    for key in ("IMTYPE", "EXTTYPE", "PRODTYPE"):  # Legacy Surveys, LSST, NOIRLab's community pipeline
        text = str(card(header, key, "")).strip().upper()
        if text in _ROLES:
            return text, f"{key} = {text}"
    return ("", "") if name in _NAMELESS else (name, "by its name")


def _meaning(text: str) -> tuple[str, str, str]:
    """Role, kind of errors, and what else the name says: the band. ``INVVAR_G`` and ``F814W-SCI`` are understood."""
    if text in _ROLES:
        return (*_ROLES[text], "")
    parts = [part for part in re.split(r"[-_. ,]+", text) if part]
    if len(parts) < 2:
        return "", "", ""
    for head, rest in ((parts[0], parts[1:]), (parts[-1], parts[:-1])):
        if head in _ROLES:
            band = "-".join(rest)
            if any(part in _PARTS for part in rest):
                return "other", "", ""
            if is_filter(band) or band.isdigit():
                return (*_ROLES[head], band)
    return "", "", ""


def _by_elimination(planes: list[Plane]) -> list[Plane]:
    """The image where no name says it: the primary one, or the only one that is no companion."""
    free = [plane for plane in planes if not plane.role]
    primary = [plane for plane in free if plane.hdu.index == 0]
    chosen = primary if primary else free
    if len(chosen) == 1:
        why = "the image of the primary HDU" if primary else "the only image that is no error, weight or mask"
        return [replace(plane, role="image", why=why) if plane is chosen[0] else plane for plane in planes]
    if not chosen:
        return planes
    listing = "; ".join(str(plane.hdu) for plane in chosen[:20])
    raise AmbiguousInputError(
        f"{planes[0].file.path}: {len(chosen)} images could be the data: {listing}. Choose one, for example --data-ext "
        f"{chosen[0].hdu.index}."
    )


def _with_primary(planes: list[Plane], options: ReadOptions) -> list[Plane]:
    """A primary image beside extensions that are called images is one of them, unless an option chose another."""
    if options.data_ext is not None or planes[0].role or planes[0].hdu.index != 0:
        return planes
    return [replace(planes[0], role="image", why="the image of the primary HDU"), *planes[1:]]


def _by_file_name(plane: Plane) -> Plane:
    """The only plane of a file, whose name may say that it holds errors or a mask."""
    for part in reversed(tokens(plane.file.name.upper())):
        role, kind = _ROLES.get(part, ("", ""))
        if role in _IN_FILE_NAMES:
            return replace(plane, role=role, kind=kind, why=f"the name of its file says {part.lower()}")
    return plane


def _chosen(planes: Sequence[Plane], wanted: str | int, option: str, like: Plane) -> list[Plane]:
    """The planes that an option names, in the file of `like` or beside it."""
    text = str(wanted).strip().upper()
    found = [plane for plane in planes if plane.hdu.name == text]
    if not found and text.isdigit():
        found = [plane for plane in planes if plane.hdu.index == int(text)]
    if not found:
        listing = "; ".join(str(plane.hdu) for plane in planes[:20]) or "no other image"
        raise ParameterError(f"{option} {wanted}: no such image in {like.file.path.name}; it holds {listing}.")
    return found


# ---------------------------------------------------------------- several bands in one file


def _pair(images: Sequence[Plane], others: Sequence[Plane], options: ReadOptions) -> list[list[Plane]]:
    """The companions of each image: by the bands that headers or names state, else by an order that is the same for all."""
    bands = [image.band.upper() for image in images]
    errors = () if _is_none(options.err_ext) else ("error", "weight")
    masks = () if _is_none(options.mask_ext) else ("mask",)
    used = [plane for plane in others if plane.role in (*errors, *masks)]
    if len(set(bands)) == len(bands) and all(plane.band.upper() in bands for plane in used):
        return [[plane for plane in used if plane.band.upper() == band] for band in bands]
    starts = [image.hdu.index for image in images]
    following = [[p for p in used if start < p.hdu.index < end] for start, end in pairwise([*starts, math.inf])]
    patterns = {tuple((p.role, p.kind, p.hdu.index - start) for p in own) for own, start in zip(following, starts, strict=True)}
    if len(patterns) != 1 or sum(map(len, following)) < len(used):
        listing = "; ".join(str(plane.hdu) for plane in sorted((*images, *used), key=lambda plane: plane.hdu.index)[:20])
        raise AmbiguousInputError(
            f"{images[0].file.path}: nothing tells which errors and masks belong to which image: {listing}. Add --err-ext none and "
            "--mask-ext none, or write one file per band."
        )
    return [[replace(plane, why=f"{plane.why}; it follows its image") for plane in own] for own in following]


# ---------------------------------------------------------------- errors and masks in files of their own


def _owner(plane: Plane, images: Sequence[Plane]) -> int:
    """Number of the image to which a file of errors or a mask belongs: by its name, or by the band in its header."""
    stem = _stem(plane.file)
    found = [i for i, image in enumerate(images) if _stem(image.file) == stem]
    if not found and plane.band:
        found = [i for i, image in enumerate(images) if image.band.upper() == plane.band.upper()]
    if len(found) == 1:
        return found[0]
    raise AmbiguousInputError(
        f"{plane.file.path} is taken for {plane.kind or plane.role} ({plane.why or 'it holds no image'}), but "
        f"{'no image' if not found else f'each of {len(found)} images'} of the set belongs to it: expected the name of an image but for "
        f"that part; leave it out, or add --data-ext {plane.hdu.index} to take it as an image."
    )


def _stem(file: FITSFile) -> tuple[str, ...]:
    """Parts of the file name without those that say what it holds."""
    return tuple(part for part in tokens(file.name.upper()) if _ROLES.get(part, ("", ""))[0] not in _IN_FILE_NAMES)


# ---------------------------------------------------------------- one band


def _band(image: Plane, planes: Sequence[Plane], options: ReadOptions) -> Band:
    """The image with its errors and its mask chosen among `planes`."""
    error, mask = _error(image, planes, options), _mask(image, planes, options)
    for plane in (error, mask):
        if plane is not None and plane.size != image.size:
            raise ShapeError(
                f"{plane} and {image} have other shapes: expected equal ones; choose with --err-ext and --mask-ext, or 'none'."
            )
    weights = [plane for plane in planes if plane.role == "weight" and plane.size == image.size]
    return Band(image, error, mask, weights[0] if weights and error is None else None)


def _error(image: Plane, planes: Sequence[Plane], options: ReadOptions) -> Plane | None:
    if _is_none(options.err_ext):
        return None
    found = [plane for plane in planes if plane.role == "error"]
    if options.err_ext is not None:
        found = [replace(plane, why="option --err-ext") for plane in _chosen(planes, options.err_ext, "--err-ext", image)]
    if not found:
        found = [plane for plane in planes if plane.role == "weight"]
    if len(found) > 1:
        listing = "; ".join(map(str, found))
        raise AmbiguousInputError(f"{len(found)} images fit as errors: {listing}. Choose one with --err-ext, or none with --err-ext none.")
    if not found:
        return None
    plane = found[0]
    if options.err_type is not None:
        return replace(plane, kind=options.err_type, stated=True, why=f"{plane.why}; option --err-type")
    if not plane.kind:
        raise AmbiguousInputError(
            f"{plane} holds weights, but nothing says of which kind (inverse variances, or exposure times): add --err-type ivar if they "
            "are 1/variance in the unit of the image, else --err-ext none."
        )
    return plane


def _mask(image: Plane, planes: Sequence[Plane], options: ReadOptions) -> Plane | None:
    if _is_none(options.mask_ext):
        return None
    found = [plane for plane in planes if plane.role == "mask"]
    if options.mask_ext is not None:
        chosen = _chosen(planes, options.mask_ext, "--mask-ext", image)
        found = [replace(plane, role="mask", why="option --mask-ext") for plane in chosen]
    if len(found) > 1:
        listing = "; ".join(map(str, found))
        raise AmbiguousInputError(f"{len(found)} images fit as mask: {listing}. Choose one with --mask-ext, or none with --mask-ext none.")
    return found[0] if found else None


def _is_none(wanted: str | int | None) -> bool:
    return str(wanted).strip().upper() == NONE if wanted is not None else False
