"""From the prepared tables and the images to batches: what the model takes, and how it is made."""
