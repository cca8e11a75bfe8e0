"""First values from the data."""
