"""Pure decisions on plain values: admission, order, placement, explanation. No clock, no files."""
