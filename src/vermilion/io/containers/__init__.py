"""What files other than FITS hold, before anybody says what it means: named arrays, their sizes, and how to get at them."""

from .variable import Variable, safe_name

__all__ = ["Variable", "safe_name"]
