"""Compare recorded runs with the full model."""
