"""The page: what it shows and what its buttons do; only tab.py knows gradio."""
