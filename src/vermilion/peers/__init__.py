"""The same problem handed to other packages, as a cross-check; import the peer's own module."""
