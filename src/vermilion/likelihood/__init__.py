"""Scores of a prediction against data and weights."""

from .gaussian import Gaussian

__all__ = ["Gaussian"]
