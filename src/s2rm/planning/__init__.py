"""What a training will need, before there is a GPU: batches, memory, time, disk."""
