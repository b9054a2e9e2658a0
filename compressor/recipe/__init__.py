"""What a user asks for, and what of it cannot work."""
