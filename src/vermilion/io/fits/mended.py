"""A FITS file whose headers or images are set right in memory before they are read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from typing import Any

from astropy.io import fits

from .preflight import FITSFile, damage_reported

__all__ = ["MendedFile", "mended"]

Mend = Callable[[fits.HDUList], None]


@dataclass(eq=False)
class MendedFile(FITSFile):
    """A file that `mend` changes, in memory, each time it is opened.

    Attributes
    ----------
    mend : callable
        Takes the open HDUList.
    """

    mend: Mend | None = None

    @contextmanager
    def open(self) -> Iterator[fits.HDUList]:
        """The file as astropy sees it, mended."""
        with super().open() as hdulist:
            if self.mend is not None:
                with damage_reported(f"{self.path}"):
                    self.mend(hdulist)
            yield hdulist


def mended(
    file: FITSFile,
    index: int,
    cards: Mapping[str, Any],
    *,
    without: tuple[str, ...] = (),
    shape: tuple[int, ...] | None = None,
    image: Callable[[fits.HDUList], Any] | None = None,
) -> MendedFile:
    """`file` with other cards, and perhaps another image, in one of its HDUs; the file on disk stays as it is.

    Parameters
    ----------
    file : FITSFile
    index : int
        Number of the HDU.
    cards : mapping
        Cards to set.
    without : tuple of str, optional
        Cards to leave out.
    shape : tuple of int, optional
        Shape of the other image, in numpy order.
    image : callable, optional
        Gives that image of the open HDUList.
    """
    hdu = file.hdus[index]
    header = hdu.header.copy()
    _set(header, cards, without)
    if shape is not None:
        header["NAXIS"] = len(shape)
        for axis, n in enumerate(reversed(shape), 1):
            header[f"NAXIS{axis}"] = n
    described = replace(hdu, header=header, shape=hdu.shape if shape is None else shape)
    hdus = (*file.hdus[:index], described, *file.hdus[index + 1 :])
    before = file.mend if isinstance(file, MendedFile) else None

    def mend(hdulist: fits.HDUList) -> None:
        if before is not None:
            before(hdulist)
        if image is not None:
            hdulist[index].data = image(hdulist)
        _set(hdulist[index].header, cards, without)

    given = {field.name: getattr(file, field.name) for field in fields(FITSFile)}
    return MendedFile(**{**given, "hdus": hdus}, mend=mend)


def _set(header: fits.Header, cards: Mapping[str, Any], without: tuple[str, ...]) -> None:
    for key in without:
        header.remove(key, ignore_missing=True)
    for key, value in cards.items():
        header[key] = value
