"""The commands, a file a subject. Heavy imports stay inside the functions: --help must be quick."""
