/* What the page does in the webui alone: its shortcuts, its list of models, its dropdown. */
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});

  const byId = (id) => chilly.host().querySelector(`#${id}`);

  /** The webui's Ctrl+Enter, Alt+Enter and Escape look for buttons with these names in the tab that is open. */
  const shortcuts = () => {
    const button = (name, act) => chilly.el("button", { id: `chilly_${name}`, type: "button", tabindex: "-1", onclick: act }, name);
    const interrupt = button("interrupt", () => chilly.preview.stop());
    interrupt.style.display = "none";
    const box = chilly.el("div", { hidden: true }, button("generate", () => chilly.preview.update()), interrupt);
    box.append(button("skip", () => chilly.preview.stop()));
    byId("chilly_page").append(box);
    // It presses "interrupt" only while that is shown, and then waits until it is not.
    chilly.on("pictures", () => (interrupt.style.display = chilly.preview.status().action === "stop" ? "block" : "none"));
  };

  /** The dropdown above all tabs shows a file that was saved now, and the model that was loaded. */
  const dropdown = () => {
    chilly.on("saved", () => byId("refresh_sd_model_checkpoint")?.click());
    chilly.on("loaded", ({ title }) => byId("change_checkpoint") && window.selectCheckpoint?.(title));
  };

  chilly.on("ready", (start) => {
    if (start.host !== "webui") return;
    shortcuts();
    dropdown();
  });
})();
