"""The small capability suite: sums, orders and successors in plain words."""
