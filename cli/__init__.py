"""One file per subcommand: parses, composes, prints; no arithmetic."""
