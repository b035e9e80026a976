"""ChillyMerge: merge Stable Diffusion checkpoints from a recipe in one exact streaming pass.

Importing this package imports neither torch nor a host; see `lib_chilly.engine` for the way in.
"""

__version__ = "0.1.0"
