"""Attacks, corruptions, the oracle between them and the engine, and the runner."""
