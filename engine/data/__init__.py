"""Images in, as uint8; ground truth, where it exists, apart from them."""
