"""Our script among those that the webui asks before and after each picture. It does nothing where none of our axes is used."""

from __future__ import annotations

from typing import Any

from modules import scripts

from .webui_request import cell_of, text_given


class MergeOfPicture(scripts.Script):
    """Merges for a cell of the X/Y/Z plot, or for a request to the API that brings a recipe.

    Attributes:
        takes_recipe: says that its one argument is the text of a recipe.
    """

    takes_recipe = True
    create_group = False  # nothing is drawn

    def title(self) -> str:
        return "ChillyMerge"

    def show(self, is_img2img: bool) -> Any:
        return scripts.AlwaysVisible

    def ui(self, is_img2img: bool) -> list[Any]:
        """A field that is not drawn: its value comes with requests to the API."""
        import gradio as gr

        text = gr.Textbox(value="", label="recipe", visible=False, elem_id=self.elem_id("chilly_recipe"))
        text.do_not_save_to_config = True
        return [text]

    def before_process(self, p: Any, *given: Any) -> None:
        """Merge, and choose the merge as the picture's model: the one moment at which it can still be chosen."""
        if cell_of(p) or text_given(p):
            from .webui_cells import take_merge

            take_merge(p)

    def postprocess_batch(self, p: Any, *given: Any, **amid: Any) -> None:
        """Look whether what was drawn now is of the merge."""
        if cell_of(p) or text_given(p):
            from .webui_cells import check_batch

            check_batch(p)

    def postprocess(self, p: Any, processed: Any, *given: Any) -> None:
        """Take back a picture that is of another model."""
        if cell_of(p) or text_given(p):
            from .webui_cells import check_picture

            check_picture(p, processed)
