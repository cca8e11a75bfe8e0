"""How many components, and how stable they are."""

from .stability import Stability, Start, stability

__all__ = ["Stability", "Start", "stability"]
