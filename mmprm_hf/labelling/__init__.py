"""Search trees of step labels, the resumable driver, and trees to training rows."""
