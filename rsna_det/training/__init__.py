"""Around the training step: losses, validation, callbacks, schedules, checkpoints."""
