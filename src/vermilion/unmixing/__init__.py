"""What a hyperspectral scene is made of: endmember spectra and the share of each in every pixel."""

from .blind import Unmixed, unmix_matrix
from .fclsu import fclsu, fclsu_gram
from .least_squares import least_squares
from .nnls import nnls, nnls_gram
from .sparse import sparse

__all__ = ["Unmixed", "fclsu", "fclsu_gram", "least_squares", "nnls", "nnls_gram", "sparse", "unmix_matrix"]
