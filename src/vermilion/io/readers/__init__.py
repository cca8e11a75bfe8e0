"""One file per instrument."""
