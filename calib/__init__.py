"""Activation ranges from images, in constant memory."""
