"""The one loop for torch optimizers."""
