"""The verbs of billing, one file a subject: load, decide, save."""
