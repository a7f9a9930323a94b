"""Who is in which room, on all nodes."""
