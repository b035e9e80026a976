"""Where ChillyMerge runs: `base` is what it asks of a host, `standalone` is the host without a webui."""
