"""Constrained factorization of spectral cubes, multi-band images and hyperspectral scenes.

The names below are loaded when they are first used, so that ``import vermilion`` needs neither torch nor matplotlib.
"""

import logging
import sys
from importlib import import_module
from types import ModuleType
from typing import Any

__version__ = "0.1.0"

_ROOMS = (
    "datamodels",
    "diagnose",
    "errors",
    "initialize",
    "io",
    "likelihood",
    "measure",
    "models",
    "optim",
    "plot",
    "observation",
    "prox",
    "rank",
    "renderers",
    "simulate",
    "unmixing",
)
_HOME = {
    "Cube": ".datamodels",
    "Frame": ".datamodels",
    "History": ".datamodels",
    "Matrix": ".datamodels",
    "PSF": ".datamodels",
    "Result": ".datamodels",
    "SceneResult": ".datamodels",
    "Status": ".datamodels",
    "deblend": ".deblend",
    "estimate_rank": ".rank",
    "factorize": ".factorize",
    "fit": ".fit",
    "read": ".io",
    "separate": ".pipeline",
    "unmix": ".unmix",
    "write": ".pipeline",
}

__all__ = ["__version__", *sorted(_HOME), *_ROOMS]


# messages go nowhere unless the program that imports this sets up logging
logging.getLogger(__name__).addHandler(logging.NullHandler())


class _Package(ModuleType):
    """Importing the submodule `deblend`, `factorize`, `fit` or `unmix` binds the function of that name, not the module."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _HOME and isinstance(value, ModuleType):
            value = getattr(value, name)
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def __getattr__(name: str) -> Any:
    if name in _ROOMS:
        return import_module(f".{name}", __name__)
    if name in _HOME:
        return getattr(import_module(_HOME[name], __name__), name)
    raise AttributeError(f"module 'vermilion' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
