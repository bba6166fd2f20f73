"""Define, load and describe the parameters and the benchmarks."""
