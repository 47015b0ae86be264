"""What the Docker hand is made of: the life of a container, its images, network and limits."""
