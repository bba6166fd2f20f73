"""Errors, files, the environment and the process: what every other part may import."""
