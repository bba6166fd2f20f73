"""Evaluation: scores per expression, metrics, and what the report shows of a model."""
