"""Access modes as data: who may ask, how much, how long, by which clock; and which one fits."""
