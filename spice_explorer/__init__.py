"""The app: pages over the engine."""
