"""Scripts: those that are chosen and run in place of a picture, and those that are asked before and after every picture."""

import importlib.util
import os
import sys
from collections import namedtuple

from modules import errors, script_callbacks

AlwaysVisible = object()
ScriptClassData = namedtuple("ScriptClassData", ["script_class", "path", "basedir", "module"])
scripts_data = []


class PostprocessImageArgs:
    def __init__(self, image):
        self.image = image


class Script:
    name = section = filename = args_from = args_to = infotext_fields = None
    alwayson, create_group, is_txt2img, is_img2img = False, True, False, False

    def title(self):
        raise NotImplementedError

    def show(self, is_img2img):
        return True

    def ui(self, is_img2img):
        pass

    def run(self, p, *args):
        pass

    def before_process(self, p, *args):
        pass

    def postprocess_batch(self, p, *args, **kwargs):
        pass

    def postprocess_image(self, p, pp, *args):
        pass

    def postprocess(self, p, processed, *args):
        pass

    def elem_id(self, item_id):
        return f"script_txt2img_{self.title().lower()}_{item_id}"


def load_script(path, base):
    """Run a file by its path, under a name with a dot, its extension's folder importable meanwhile; take its scripts."""
    before, sys.path = sys.path, [base, *sys.path]
    try:
        spec = importlib.util.spec_from_file_location(os.path.basename(path), path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
    finally:
        sys.path = before
    for each in vars(module).values():
        if isinstance(each, type) and issubclass(each, Script):
            scripts_data.append(ScriptClassData(each, path, base, module))


def load_scripts(paths):
    scripts_data.clear()
    script_callbacks.clear_callbacks()
    for path, base in paths:
        load_script(path, base)


class ScriptRunner:
    def __init__(self):
        self.selectable_scripts, self.alwayson_scripts, self.titles, self.inputs = [], [], [], [None]

    def initialize_scripts(self, is_img2img):
        self.selectable_scripts, self.alwayson_scripts = [], []
        for data in scripts_data:
            script = data.script_class()
            script.filename = data.path
            script.is_txt2img, script.is_img2img = not is_img2img, is_img2img
            shown = script.show(is_img2img)
            script.alwayson = shown is AlwaysVisible
            if shown:
                (self.alwayson_scripts if script.alwayson else self.selectable_scripts).append(script)

    def setup_ui(self):
        self.inputs = [None]
        for script in (*self.alwayson_scripts, *self.selectable_scripts):
            controls = script.ui(script.is_img2img) or []
            script.args_from, script.args_to = len(self.inputs), len(self.inputs) + len(controls)
            self.inputs += controls
        self.titles = [script.title() for script in self.selectable_scripts]

    def run(self, p, *args):
        if not args[0]:
            return None
        script = self.selectable_scripts[args[0] - 1]
        return script.run(p, *args[script.args_from : script.args_to])

    def _ask(self, name, p, *given, **named):
        for script in self.alwayson_scripts:
            try:
                getattr(script, name)(p, *given, *p.script_args[script.args_from : script.args_to], **named)
            except Exception:
                errors.report(f"{script.filename} failed in {name}", exc_info=True)

    def before_process(self, p):
        self._ask("before_process", p)

    def postprocess_batch(self, p, images, **kwargs):
        self._ask("postprocess_batch", p, images=images, **kwargs)

    def postprocess_image(self, p, pp):
        self._ask("postprocess_image", p, pp)

    def postprocess(self, p, processed):
        self._ask("postprocess", p, processed)


scripts_txt2img, scripts_img2img = ScriptRunner(), ScriptRunner()
