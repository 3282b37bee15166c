"""What an experiment publishes: its result as a file, and the comparison of a second run with it."""
