"""Labels out: what the run says of every image, as people and other tools take it."""
