"""`s2rm compare`: two models, or two groups of trainings, on the same expressions."""
