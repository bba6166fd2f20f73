"""The fusion of one stage: S²RM in its three steps, and the baselines with the same interface."""
