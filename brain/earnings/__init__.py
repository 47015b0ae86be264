"""What providers earn: pending and matured, by node and day, and how busy their GPUs are."""
