"""What a node counts."""
