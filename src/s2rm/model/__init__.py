"""The network: encoders, fusion by S²RM, decoder CASG. Tensors in, tensors out."""
