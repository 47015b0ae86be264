"""The daemon on GPU hosts. Ships as kernel + node_agent, with nothing of the brain."""
