"""Score the predictions of any model by the project's protocols. Needs the prepared data, no torch."""
