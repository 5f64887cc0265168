"""Meyrin: many clusters, each under its own rules, as one facility."""
