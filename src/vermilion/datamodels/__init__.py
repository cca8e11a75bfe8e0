"""Frozen records: no torch, no files, no pictures, no conversions."""

from .cube import Cube
from .frame import Frame
from .matrix import Matrix
from .psf import PSF
from .result import History, Result, Status
from .scene import SceneResult, SceneSource

__all__ = ["PSF", "Cube", "Frame", "History", "Matrix", "Result", "SceneResult", "SceneSource", "Status"]
