"""The feature space: nearest neighbours, and maps."""
