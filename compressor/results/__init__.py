"""What stages return and a report holds: typed, and without a word of how it looks."""
