"""Check before any work: parameters against data against weights against the machine."""
