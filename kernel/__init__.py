"""Ground floor: values only. No I/O, no framework; everything above may import it."""
