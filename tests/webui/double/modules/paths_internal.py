"""Where the stand-in lies: CHILLY_DOUBLE names its folder."""

import os

script_path = data_path = os.environ["CHILLY_DOUBLE"]
models_path = os.path.join(data_path, "models")
extensions_dir = os.path.join(data_path, "extensions")
