"""Figures of what happens inside a trained model for one expression."""
