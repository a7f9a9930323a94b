"""What the operator decides: options, their values, and the checks before a start."""
