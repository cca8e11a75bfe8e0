"""What the telescope records of a model cube."""
