"""Sites, their partitions and offers, who operates them, whether they answer."""
