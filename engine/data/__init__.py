"""Images as uint8, with ground truth, if any, kept separate."""
