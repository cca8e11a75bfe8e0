"""Scores of a prediction against data and weights."""
