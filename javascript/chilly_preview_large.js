// What can be done with the merged picture, and any picture in large with its parameters.
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const preview = (chilly.preview ??= {});

  /** Keep, Open, Download: of the merged picture. */
  preview.actions = () => {
    const merged = () => preview.pictures.merged;
    const button = (text, act) => {
      const one = chilly.el("button", { class: "chilly-btn chilly-btn-s", type: "button" }, text);
      one.addEventListener("click", act);
      return one;
    };
    const box = chilly.el(
      "div",
      { class: "chilly-acts" },
      button("Keep", () => preview.keep()),
      button("Open large", () => preview.open(merged(), "Merged")),
      button("Download", () => preview.download(merged())),
    );
    const notes = chilly.el("p", { class: "chilly-note", hidden: "" });
    chilly.on("pictures", () => {
      box.hidden = !merged();
      const says = merged()?.says || [];
      notes.hidden = !says.length;
      notes.textContent = says.join(" ");
    });
    box.hidden = true;
    return chilly.el("div", {}, box, notes);
  };

  /** Opens a picture in large over the page. */
  preview.open = (picture, name) => {
    if (!picture) return;
    const el = chilly.el;
    const dialog = el("dialog", { class: "chilly-large", "aria-label": name });
    const image = el("span", {});
    preview.fill(image, picture, name);
    const button = (text, act) => {
      const one = el("button", { class: "chilly-btn chilly-btn-s", type: "button" }, text);
      one.addEventListener("click", () => act(one));
      return one;
    };
    const copy = async (one) => {
      const copied = await chilly.copy(picture.infotext || "");
      one.textContent = copied ? "Copied" : "Copying is not allowed here";
    };
    const row = el(
      "div",
      { class: "chilly-row" },
      button("Download", () => preview.download(picture)),
      button("Copy parameters", copy),
      button("Close", () => dialog.close()),
    );
    dialog.append(image, el("pre", {}, picture.infotext || ""), row);
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
    dialog.addEventListener("close", () => dialog.remove());
    document.querySelector(".chilly-page").append(dialog);
    dialog.showModal();
    row.lastChild.focus();
  };

  /** Text into the clipboard; false where the browser does not allow it. */
  chilly.copy ??= async (text) => {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch (error) {
      return false;
    }
  };
})();
