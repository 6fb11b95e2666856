"""People to learn from, their photographs, and the road of both into training."""
