"""A broker in memory: for tests, and for a chat that need not survive a restart."""
