"""Fakes that ship, for our tests and for those who build on Meyrin."""
