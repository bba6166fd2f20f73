"""Pretrained encoders from the Hugging Face Hub."""
