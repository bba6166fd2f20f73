"""The encoders of images (a timm backbone) and of expressions (BERT)."""
