/* Paste anything: into the page or the dashed field, as text or as a file. Nothing is replaced before the review. */
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const recipe = (chilly.recipe ??= {});
  const HEAD = 8 * 1024 * 1024; // enough for a picture's chunks and a checkpoint's header

  const base64 = (blob) =>
    new Promise((resolve, reject) => {
      const reader = new FileReader();
      reader.onload = () => resolve(String(reader.result).split(",")[1] || "");
      reader.onerror = () => reject(new Error("The browser could not read this file. Choose it again."));
      reader.readAsDataURL(blob);
    });

  /** Asks what a text or a file is, and shows the answer for review. */
  recipe.paste = async ({ text, file }, at) => {
    try {
      const what = file ? { file: { name: file.name, head: await base64(file.slice(0, HEAD)) } } : { text };
      const into = chilly.text.trim() && chilly.step ? { into: { text: chilly.text, step: chilly.step } } : {}; // for numbers alone
      recipe.review(await chilly.ask("paste", { ...what, ...into }));
    } catch (error) {
      recipe.refuse(error, at);
    }
  };

  const isField = (node) => Boolean(node.closest && node.closest("input, textarea, select, [contenteditable]"));

  const files = (transfer) => (transfer && transfer.files ? [...transfer.files] : []);

  // The host's other tabs have pastes of their own: ours are those in our page, while it can be seen.
  const ours = (root, target) => {
    const page = root.closest(".chilly-page") || root;
    return page.contains(target) || (target === document.body && page.offsetParent !== null);
  };

  const take = (transfer, at) => {
    const [file] = files(transfer);
    const text = transfer ? transfer.getData("text/plain") : "";
    if (file) recipe.paste({ file }, at);
    else if (text.trim()) recipe.paste({ text }, at);
    return Boolean(file || text.trim());
  };

  const onPaste = (root) => (event) => {
    if (!ours(root, event.target) || event.defaultPrevented) return;
    if (isField(event.target) && !files(event.clipboardData).length) return; // text for that field
    if (take(event.clipboardData, root)) event.preventDefault();
  };

  const onDrop = (page, root) => {
    const carries = (event) => {
      const types = [...((event.dataTransfer && event.dataTransfer.types) || [])];
      return types.includes("Files") || (types.includes("text/plain") && !isField(event.target));
    };
    const over = (event) => {
      if (!carries(event)) return;
      event.preventDefault();
      page.dataset.dropping = "true";
    };
    page.addEventListener("dragenter", over);
    page.addEventListener("dragover", over);
    page.addEventListener("dragleave", (event) => {
      if (!page.contains(event.relatedTarget)) delete page.dataset.dropping;
    });
    page.addEventListener("drop", (event) => {
      delete page.dataset.dropping;
      if (!carries(event)) return;
      event.preventDefault();
      take(event.dataTransfer, root);
    });
  };

  /** Begins to listen for what is pasted into or dropped on the page. */
  recipe.listenForPaste = (root) => {
    const page = root.closest(".chilly-page") || root;
    document.addEventListener("paste", onPaste(root));
    onDrop(page, root);
  };

  /** The dashed field: paste into it, drop on it, or choose a file. */
  recipe.pasteField = () => {
    const area = chilly.el("textarea", { class: "chilly-paste-area", rows: 1, spellcheck: "false", "aria-label": "Paste anything: a recipe, another merger's settings or a list of numbers" });
    const chooser = chilly.el("input", { type: "file", accept: ".png,.safetensors,.json,.txt,.chilly,.yaml,.yml,image/png,text/plain,application/json", tabindex: "-1", "aria-hidden": "true" });
    chooser.hidden = true;
    const node = chilly.el(
      "div", { class: "chilly-paste" },
      chilly.el("span", {}, chilly.el("b", {}, "Paste anything"), ": a recipe, another merger's settings, 26 numbers, or drop a picture made with a merge. "),
      area,
      recipe.button({ text: "Choose a file", look: "chilly-link" }, () => chooser.click()),
      chooser,
    );
    const send = () => {
      const text = area.value;
      area.value = "";
      node.dataset.typed = "false";
      if (text.trim()) recipe.paste({ text }, node);
    };
    // What is pasted goes at once; what is typed (or put here by a phone's keyboard) with Enter.
    area.addEventListener("input", (event) => {
      node.dataset.typed = String(Boolean(area.value));
      if (event.inputType === "insertFromPaste" || event.inputType === "insertFromDrop") send();
    });
    area.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey) return;
      event.preventDefault();
      send();
    });
    chooser.addEventListener("change", () => {
      if (chooser.files[0]) recipe.paste({ file: chooser.files[0] }, node);
      chooser.value = "";
    });
    return node;
  };
})();
