"""numpy and the standard library only; every other folder may import it, it imports none."""
