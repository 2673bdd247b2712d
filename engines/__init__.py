"""Runtimes that execute a model file, and the proof of what they run."""
