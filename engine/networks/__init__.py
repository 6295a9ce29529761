"""Networks that were trained elsewhere: their weights, what they expect of an image, and what they learned from."""
