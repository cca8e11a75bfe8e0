"""Scenes to unmix, each with the name of its ground truth, the order of its pixels and the checksum of its file."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from functools import partial
from importlib import metadata
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CorruptFileError, InputWarning, MissingFileError, ParameterError
from ..io.containers.mat_file import read_mat
from ..io.memory import available_memory
from ..simulate import add_noise, hyperspectral_scene, missing_values

__all__ = ["DATASETS", "GROUPS", "DataFile", "Dataset", "Goal", "Scene", "find_file", "load", "resolve"]

Array = NDArray[np.float64]
Arrays = Mapping[str, NDArray[Any]]

DATA_VARIABLE = "VERMILION_TEST_DATA"
_WHEEL, _WHEEL_VERSION = "polyfacet", "1.0.0"
_WHEEL_FOLDER = "polyfacet/datasets/_bundled"
_BY_COLUMN = "columns (MATLAB): pixel y + Ny x"
_IMAGE = "images (band, y, x)"


@dataclass(frozen=True)
class DataFile:
    """A file that data come from.

    Attributes
    ----------
    name : str
    sha256 : str
        Of the version that the figures were made with.
    wheel : bool
        It comes inside the wheel polyfacet 1.0.0; else from a folder that the user names.
    """

    name: str
    sha256: str
    wheel: bool = False

    @property
    def origin(self) -> str:
        """How to get it, one sentence."""
        if self.wheel:
            return f"pip install --no-deps {_WHEEL}=={_WHEEL_VERSION}"
        return f"name the folder that holds {self.name} (or hsi/{self.name}) with --data, or in {DATA_VARIABLE}"


@dataclass(frozen=True, kw_only=True)
class Goal:
    """What this project set itself for the default method; None: nothing.

    Parameters
    ----------
    sad : float, optional
        Largest mean spectral angle distance, in rad.
    rmse : float, optional
        Largest abundance RMSE, in per cent.
    rmse_over_oracle : float, optional
        Largest ratio of the RMSE to that of the oracle, seed by seed.
    """

    sad: float | None = None
    rmse: float | None = None
    rmse_over_oracle: float | None = None

    def __str__(self) -> str:
        parts = (
            ("SAD ≤ {:g}", self.sad),
            ("RMSE ≤ {:g} %", self.rmse),
            ("RMSE ≤ {:g} × oracle", self.rmse_over_oracle),
        )
        return ", ".join(text.format(value) for text, value in parts if value is not None)


@dataclass(frozen=True, eq=False, kw_only=True)
class Scene:
    """What a method gets, and the truth that it is judged by.

    Parameters
    ----------
    data : ndarray, shape (B, Ny, Nx)
        NaN where missing.
    weights : ndarray, shape (B, Ny, Nx), optional
        Inverse variances, 0 = absent; None: all alike.
    spectra : ndarray, shape (B, K), optional
        True endmembers; None: nobody knows them.
    abundances : ndarray, shape (K, Ny, Nx), optional
    n_endmembers : int
    sha256 : mapping of str to str
        Checksums of the files that were read.
    description : str
    convention : str
        What abundances mean in the truth.
    """

    data: Array
    weights: Array | None = None
    spectra: Array | None = None
    abundances: Array | None = None
    n_endmembers: int
    sha256: Mapping[str, str] = field(default_factory=dict)
    description: str = ""
    convention: str = "fclsu"


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """A scene, or a family of scenes by seed, as an entry of the registry.

    `convention` says what abundances mean in the truth, by the names of `vermilion.unmixing.convention`: the one in which the true
    endmembers reproduce it.

    Parameters
    ----------
    name : str
    version : str
        Of the ground truth, in a word; "exact" where the scene was simulated from it.
    truth : str
        What it is, in one sentence.
    reference : str
        Paper.
    files : tuple of DataFile
        Empty: wholly simulated.
    pixel_order : str
        How the pixels run in the file.
    random : str
        What changes with the seed; empty: nothing but the method's own start.
    goal : Goal
    make : callable
        From the arrays of the files and a seed to the scene.
    """

    name: str
    version: str
    truth: str
    reference: str
    files: tuple[DataFile, ...] = ()
    pixel_order: str = _IMAGE
    random: str = ""
    convention: str = "fclsu"
    goal: Goal = Goal()
    make: Callable[[Arrays, int], Scene] = field(repr=False)

    @property
    def is_exact(self) -> bool:
        """Whether the scene was made from the truth, and not the truth from the scene."""
        return self.version == "exact"

    @property
    def origin(self) -> str:
        """How to get it, one sentence."""
        return "; ".join(dict.fromkeys(file.origin for file in self.files)) or "simulated by the command itself"


def load(name: str, *, data: Path | None = None, seed: int = 0, any_version: bool = False) -> Scene:
    """The scene of a name.

    Parameters
    ----------
    name : str
        Key of `DATASETS`.
    data : Path, optional
        Folder with the files; None: the environment variable VERMILION_TEST_DATA.
    seed : int
        Of noise and simulated scenes.
    any_version : bool
        Take files of another checksum with an `InputWarning` instead of refusing them.

    Returns
    -------
    Scene

    Raises
    ------
    ParameterError
        If there is no data set of this name.
    MissingFileError
        If a file is not there; the sentence says how to get it.
    CorruptFileError
        If a file is another version, or not what its name says.
    """
    dataset = DATASETS[resolve([name])[0]]
    arrays: dict[str, NDArray[Any]] = {}
    sums = {}
    for file in dataset.files:
        path = find_file(file, data)
        if path is None:
            raise MissingFileError(f"data set {name} needs {file.name}: {file.origin}.")
        sums[file.name] = _checked_sum(path, file, any_version)
        arrays.update(_read(path))
    try:
        scene = dataset.make(arrays, seed)
    except (KeyError, ValueError) as error:
        raise CorruptFileError(f"the files of data set {name} do not hold what they should: {error}; fetch them again.") from None
    return replace(scene, sha256=sums, convention=dataset.convention)


def find_file(file: DataFile, data: Path | None = None) -> Path | None:
    """Where a file lies, None if it is nowhere."""
    if file.wheel:
        try:
            candidates = [Path(str(metadata.distribution(_WHEEL).locate_file(f"{_WHEEL_FOLDER}/{file.name}")))]
        except metadata.PackageNotFoundError:
            candidates = []
    else:
        named = data if data is not None else os.environ.get(DATA_VARIABLE)
        candidates = [] if not named else [Path(named) / file.name, Path(named) / "hsi" / file.name]
    return next((path for path in candidates if path.is_file()), None)


def resolve(names: list[str]) -> list[str]:
    """Names of data sets, groups replaced by their members, each once.

    Raises
    ------
    ParameterError
        If one is neither a data set nor a group.
    """
    found: list[str] = []
    for name in names:
        if name not in GROUPS and name not in DATASETS:
            near = get_close_matches(name, [*GROUPS, *DATASETS], n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(GROUPS)}, or a name that --dry-run lists."
            raise ParameterError(f"there is no data set {name!r}: {hint}")
        found += GROUPS.get(name, (name,))
    return list(dict.fromkeys(found))


def _checked_sum(path: Path, file: DataFile, any_version: bool) -> str:
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != file.sha256:
        message = f"{path} has the SHA-256 {found}, the published figures belong to {file.sha256}"
        if not any_version:
            raise CorruptFileError(f"{message}: another version; add --any-version to use it all the same.")
        warnings.warn(f"{message}: another version.", InputWarning, stacklevel=3)
    return found


def _read(path: Path) -> dict[str, NDArray[Any]]:
    """Numeric arrays in a .mat or .npz file."""
    if path.suffix == ".mat":
        return {variable.name: variable.read() for variable in read_mat(path, available_memory()) if variable.is_real}
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files if arrays[name].dtype.kind in "fiu"}


# ---------------------------------------------------------------- scenes from files


def _from_images(arrays: Arrays, seed: int, *, spectra: str = "M", abundances: str = "A") -> Scene:
    A = np.asarray(arrays[spectra], dtype=np.float64)
    S = np.asarray(arrays[abundances], dtype=np.float64)
    return Scene(data=np.asarray(arrays["Y"], dtype=np.float64), spectra=A, abundances=S, n_endmembers=A.shape[1])


def _from_columns(arrays: Arrays, seed: int, *, data: str, scale: str | None = None) -> Scene:
    """Matrices (bands, pixels) whose pixels run down the columns of the image."""
    shape = int(arrays["nRow"].item()), int(arrays["nCol"].item())
    Y, A, S = (np.asarray(arrays[name], dtype=np.float64) for name in (data, "M", "A"))
    Y = Y / (1.0 if scale is None else float(arrays[scale].item()))
    return Scene(data=_unfold(Y, shape), spectra=A, abundances=_unfold(S, shape), n_endmembers=A.shape[1])


def _moffett_without_truth(arrays: Arrays, seed: int) -> Scene:
    return Scene(data=_unfold(np.asarray(arrays["X"], dtype=np.float64), (50, 50)), n_endmembers=3)


def _unfold(values: Array, shape: tuple[int, int]) -> Array:
    return np.ascontiguousarray(values.reshape(len(values), *shape, order="F"))


def _noisy(arrays: Arrays, seed: int, *, snr_db: float, missing: float = 0.0, blocks: tuple[float, float] = (0.0, 0.2)) -> Scene:
    """A scene without noise, with white noise of this seed and with values missing."""
    clean = _from_images(arrays, seed)
    noise_seed, mask_seed = np.random.SeedSequence(seed).spawn(2)
    data, _ = add_noise(clean.data, snr_db=snr_db, seed=np.random.default_rng(noise_seed))
    mask = missing_values(data.shape, share=missing, blocks=blocks, seed=np.random.default_rng(mask_seed))
    data[mask] = np.nan
    return Scene(
        data=data,
        weights=(~mask).astype(np.float64) if mask.any() else None,
        spectra=clean.spectra,
        abundances=clean.abundances,
        n_endmembers=clean.n_endmembers,
        description=f"white noise of SNR {snr_db:g} dB, {mask.mean():.1%} of the values missing",
    )


def _simulated(arrays: Arrays, seed: int, **parameters: Any) -> Scene:
    scene = hyperspectral_scene(shape=(64, 64), seed=seed, **parameters)
    return Scene(
        data=np.asarray(scene.cube.data, dtype=np.float64),
        spectra=scene.spectra,
        abundances=scene.abundances,
        n_endmembers=scene.spectra.shape[1],
        description=scene.description,
    )


# ---------------------------------------------------------------- registry

_SAMSON = DataFile("samson.npz", "63aa9344b63ba5372aba425c1c4e77f7e52ddf9bd71f1a471755338bd70d87c9")
_MOFFETT = DataFile("moffett.npz", "f7b72fa27801db7c47ddce25a387db8d95e0c0298dddab60c394fe3e2cef4e9c")
_SIM1 = DataFile("sim1_clean.npz", "b490152fb262dd425b5531255121c21531cb7ec8824ba3e6867d0a4cb09ffe0b")
_DC1 = DataFile("dc1_clean.npz", "2485517b74a130b34d7a293ecae7c130a15d36b573eaf6445575220934b1a461")
_SAMSON_WHEEL = (
    DataFile("samson_1.mat", "1ebacaf7cd32bfc31c0ee3fd56c63a7f29a434893a8b45705fb59cd8a0c8beb6", wheel=True),
    DataFile("samson_end3.mat", "ce768182ce5292390180f827ff5769112cf3d299f4e64ab43e950a310b7ec9fa", wheel=True),
)
_JASPER_WHEEL = (
    DataFile("jasper_ridge.mat", "0e4118a6452f6044978a8ca3762fb0f791115467904936d463c4e111e56e682e", wheel=True),
    DataFile("jasper_end4.mat", "92f5697b43705802b904fd13ba99b6ce65a3d203682864abc3fbec922beec374", wheel=True),
)
_MOFFETT_WHEEL = (DataFile("moffett.mat", "6488a9820176f9d8a87c81e286c05a0e5c43166dd673aa4dbc6d2ba0e00d18db", wheel=True),)

_ZHU = "Zhu 2017, arXiv:1708.05125"
_DOBIGEON = "Dobigeon et al. 2009, IEEE Transactions on Signal Processing 57, 4355"
_MISICNET = "Rasti et al. 2022, MiSiCNet, IEEE Transactions on Geoscience and Remote Sensing 60"
_SUNAA = "Rasti et al. 2023, SUnAA, IEEE Geoscience and Remote Sensing Letters 20"


_NOISY_GOALS = {
    "sim1-30dB": Goal(sad=0.035, rmse_over_oracle=4),
    "sim1-20dB": Goal(sad=0.06, rmse_over_oracle=4),
    "dc1-30dB": Goal(sad=0.0075, rmse_over_oracle=1.15),
    "dc1-20dB": Goal(rmse_over_oracle=1.15),
}


def _real() -> Iterator[Dataset]:
    yield Dataset(
        name="samson-zhu",
        version="Zhu",
        truth="endmembers scaled to a largest value of 1; abundances agree with NNLS with them, divided by their sum",
        reference=_ZHU,
        files=_SAMSON_WHEEL,
        pixel_order=_BY_COLUMN,
        convention="nnls-renormalized",
        goal=Goal(sad=0.030, rmse=2.0),
        make=partial(_from_columns, data="V"),
    )
    yield Dataset(
        name="samson-rasti",
        version="Rasti",
        truth="endmembers in the unit of the data, abundances by FCLS with them (the oracle is 0 by construction)",
        reference=_MISICNET,
        files=(_SAMSON,),
        goal=Goal(sad=0.051, rmse=7.8),
        make=_from_images,
    )
    yield Dataset(
        name="jasper-zhu",
        version="Zhu",
        truth="abundances agree with NNLS with the endmembers scaled to a largest value of 1, divided by their sum",
        reference=_ZHU,
        files=_JASPER_WHEEL,
        pixel_order=_BY_COLUMN,
        convention="nnls-renormalized",
        goal=Goal(sad=0.060, rmse=5.5),
        make=partial(_from_columns, data="Y", scale="maxValue"),
    )
    yield Dataset(
        name="moffett",
        version="FCLS",
        truth="184 bands; order of the endmembers taken from their spectra, abundances by FCLS with them",
        reference=_DOBIGEON,
        files=(_MOFFETT,),
        goal=Goal(sad=0.039, rmse=2.6),
        make=_from_images,
    )
    yield Dataset(
        name="moffett-159",
        version="none",
        truth="159 bands of the same pixels, only the reconstruction is judged",
        reference=_DOBIGEON,
        files=_MOFFETT_WHEEL,
        pixel_order=_BY_COLUMN,
        make=_moffett_without_truth,
    )


def _with_noise() -> Iterator[Dataset]:
    """Published scenes without noise, to which noise is added."""
    scenes = (("sim1", _SIM1, _MISICNET, "no pixel purer than 0.75"), ("dc1", _DC1, _SUNAA, "pure pixels"))
    extras: tuple[tuple[str, dict[str, Any], str], ...] = (
        ("", {}, ""),
        ("-missing", {"missing": 0.2}, ", 20 % of the values missing"),
        ("-blocks", {"blocks": (0.5, 0.2)}, ", a fifth of the bands missing in half of the pixels"),
    )
    for (scene, file, reference, what), snr_db, (suffix, missing, lack) in product(scenes, (20, 30, 40), extras):
        if suffix and (scene, snr_db) != ("sim1", 30):
            continue
        yield Dataset(
            name=f"{scene}-{snr_db}dB{suffix}",
            version="exact",
            truth=f"simulated, {what}{lack}",
            reference=reference,
            files=(file,),
            random="noise and missing values" if suffix else "noise",
            goal=_NOISY_GOALS.get(f"{scene}-{snr_db}dB{suffix}", Goal()),
            make=partial(_noisy, snr_db=float(snr_db), **missing),
        )


def _wholly_simulated() -> Iterator[Dataset]:
    """3 to 9 endmembers, with and without pure pixels, three levels of white and colored noise."""
    for n_endmembers, pure, snr_db, noise in product((3, 6, 9), (True, False), (20, 30, 40), ("white", "colored")):
        yield Dataset(
            name=f"k{n_endmembers}-{'pure' if pure else 'mixed'}-{snr_db}dB-{noise}",
            version="exact",
            truth=f"simulated, {'pure pixels' if pure else 'no pixel purer than 0.8'}",
            reference="vermilion.simulate.hyperspectral_scene, 224 bands of 64 x 64 pixels",
            random="everything: endmembers, abundances and noise",
            make=partial(_simulated, n_endmembers=n_endmembers, pure_pixels=pure, snr_db=float(snr_db), noise=noise),
        )


DATASETS: dict[str, Dataset] = {one.name: one for one in (*_real(), *_with_noise(), *_wholly_simulated())}
GROUPS: dict[str, tuple[str, ...]] = {
    "standard": ("sim1-30dB", "sim1-20dB", "dc1-30dB", "dc1-20dB", "moffett", "samson-zhu", "samson-rasti", "jasper-zhu"),
    "real": tuple(one.name for one in _real()),
    "noisy": tuple(one.name for one in _with_noise()),
    "simulated": tuple(one.name for one in _wholly_simulated()),
    "all": tuple(DATASETS),
}
