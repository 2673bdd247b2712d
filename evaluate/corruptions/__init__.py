"""ImageNet-C corruptions, seedable per image."""
