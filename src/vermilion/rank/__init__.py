"""How many components, and how stable they are."""
