"""Referring image segmentation with S²RM + CASG."""
