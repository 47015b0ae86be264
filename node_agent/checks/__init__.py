"""What the agent does to be believed: a look at its own machine, and seeded checks of its GPUs."""
