"""What every cloud adapter must do, run over each of them: an emulator behind it, or itself."""
