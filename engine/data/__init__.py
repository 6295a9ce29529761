"""Images as uint8, and ground truth, if any, separate from them."""
