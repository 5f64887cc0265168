"""What owners are entitled to and what was delivered, month by month, with a door for comments."""
