"""Brings raw data and pretrained encoders onto this machine."""
