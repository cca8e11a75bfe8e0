"""Closed-form block solver for bilinear Gaussian problems: no autograd, few reads of Y."""
