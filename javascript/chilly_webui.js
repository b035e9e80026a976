/* What the page does in the webui alone: its shortcuts, its list of models, its dropdown. */
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const preview = (chilly.preview ??= {});

  const byId = (id) => chilly.host().querySelector(`#${id}`);

  /** The webui's Ctrl+Enter, Alt+Enter and Escape look for buttons with these names in the tab that is open. */
  const shortcuts = () => {
    const button = (name, act) => chilly.el("button", { id: `chilly_${name}`, type: "button", tabindex: "-1", onclick: act }, name);
    const interrupt = button("interrupt", () => preview.stop());
    interrupt.style.display = "none";
    const box = chilly.el("div", { hidden: true }, button("generate", () => preview.update()), interrupt);
    box.append(button("skip", () => preview.stop()));
    byId("chilly_page").append(box);
    // It presses "interrupt" only while that is shown, and then waits until it is not.
    chilly.on("pictures", () => (interrupt.style.display = preview.status().action === "stop" ? "block" : "none"));
  };

  /** The dropdown above all tabs shows a file that was saved now, and the model that was loaded. */
  const dropdown = () => {
    chilly.on("saved", () => byId("refresh_sd_model_checkpoint")?.click());
    chilly.on("loaded", ({ title }) => byId("change_checkpoint") && window.selectCheckpoint?.(title));
  };

  /** A merge may be used without a file; it is gone when another model is chosen or the webui ends. */
  const unsaved = () => {
    const button = chilly.el("button", { class: "chilly-btn chilly-btn-s", type: "button" }, "Use it unsaved");
    button.title = "The webui's current model, in memory, until another one is chosen";
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        const { text, step } = preview.basis();
        const done = await chilly.job((await chilly.ask("use", { text, step })).job);
        if (done.state !== "done") throw new Error(done.problem?.message || done.text);
        byId("refresh_sd_model_checkpoint")?.click();
        chilly.emit("loaded", done.report);
        chilly.say(`${done.report.title} is the webui's model now. It is not on the disk.`);
      } catch (error) {
        chilly.complain(error.message);
      }
      button.disabled = false;
    });
    chilly.host().querySelector("#chilly_page .chilly-acts")?.append(button);
  };

  chilly.on("ready", (start) => {
    if (start.host !== "webui") return;
    shortcuts();
    unsaved();
    dropdown();
  });
})();
