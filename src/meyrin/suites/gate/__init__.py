"""Gates: a claim planned before the weights are opened, and a decision that replays."""
