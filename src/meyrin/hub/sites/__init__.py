"""Sites and their clusters, partitions and offers."""
