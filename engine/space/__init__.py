"""The feature space: who is near whom, and a map of it."""
