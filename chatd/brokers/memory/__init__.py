"""The broker ``memory:``, for tests and for chats that need not survive a restart."""
