"""The published archives of the benchmarks: catalog, store, verification, unpacking."""
