"""Merge methods by family: pure functions of tensors, registered by their decorator."""
