"""The decoders from the fused maps to the masks: CASG, and a feature pyramid as its baseline."""
