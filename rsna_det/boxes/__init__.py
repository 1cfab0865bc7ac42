"""Box geometry without learned parameters: pure functions."""
