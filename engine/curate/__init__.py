"""From pseudo-labels to curated labels: people's decisions, and what is derived from them."""
