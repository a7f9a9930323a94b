"""What a client may ask of a node, on any transport; and the life of a node."""
