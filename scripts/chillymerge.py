"""The webui's way into ChillyMerge: it runs this file when it starts, and again when its page is loaded anew.

The extension's folder is importable only while this file runs; once `lib_chilly` is imported, all below it is.
"""

from lib_chilly.host import webui_axes, webui_entry
from lib_chilly.host.webui_script import MergeOfPicture  # noqa: F401  the webui takes every script that it finds here

webui_entry.register()
webui_axes.register()
