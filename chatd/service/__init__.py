"""What a client may ask of a node, on any transport; the node's start and its drain."""
