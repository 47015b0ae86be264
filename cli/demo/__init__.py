"""``ganglion demo``: the product's main job from end to end, told as it goes."""
