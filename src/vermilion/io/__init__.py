"""Files to records and back."""

from .registry import read

__all__ = ["read"]
