"""Training: the loop, its loss and optimiser, validation, and states that resume bit-exactly."""
