"""Attacks on an engine, all on the uint8 grid."""
