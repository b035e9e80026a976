"""A stand-in for the webui's `modules`: the names, signatures and behaviours that ChillyMerge builds on, with a model that is a
table of tensors and pictures that are drawn from their digests. Each trap that the real one has is here too."""
