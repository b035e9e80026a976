"""The webui's way into ChillyMerge: it runs this file when it starts, and again when its page is loaded anew.

The extension's folder is importable only while this file runs; once `lib_chilly` is imported, all below it is.
"""

from lib_chilly.host import webui_entry

webui_entry.register()
