"""The two suites that Meyrin brings: small, generated, and within reach of a tiny model."""
