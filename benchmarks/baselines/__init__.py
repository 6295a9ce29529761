"""Other ways to cluster features: what SPICE's stages are compared with."""
