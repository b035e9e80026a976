/* What the page does in the webui alone: its shortcuts, its list of models, its dropdown, what other tabs send and get. */
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const preview = (chilly.preview ??= {});

  const byId = (id) => chilly.host().querySelector(`#${id}`);

  /** The webui's Ctrl+Enter, Alt+Enter and Escape look for buttons with these names in the tab that is open, and its script fails
      where there are none: without pictures they do nothing. */
  const shortcuts = (page) => {
    if (!window.onUiTabChange) return; // no webui
    const canDo = () => page.dataset.state === "ready" && !chilly.start.no_pictures;
    const button = (name, act) => chilly.el("button", { id: `chilly_${name}`, type: "button", tabindex: "-1", onclick: () => canDo() && act() }, name);
    const interrupt = button("interrupt", () => preview.stop());
    interrupt.style.display = "none";
    const box = chilly.el("div", { hidden: true }, button("generate", () => (preview.commit(), preview.update())), interrupt);
    box.append(button("skip", () => preview.stop()));
    page.after(box); // what is within is drawn anew when the page begins
    // It presses "interrupt" only while that is shown, and then waits until it is not.
    chilly.on("pictures", () => (interrupt.style.display = canDo() && preview.status().action === "stop" ? "block" : "none"));
    // Keys in a dialog are not for the tab behind it: Escape would stop its pictures, and the dialog would stay.
    document.body.addEventListener("keydown", (event) => page.querySelector("dialog[open]") && event.stopPropagation());
  };

  /** The dropdown above all tabs shows a file that was saved now, and the model that was loaded. */
  const dropdown = () => {
    chilly.on("saved", () => (byId("refresh_sd_model_checkpoint") || byId("forge_refresh_checkpoint"))?.click());
    chilly.on("loaded", ({ title }) => {
      const own = byId("chilly_show_chosen"); // where the webui's way may choose another model of a like name
      if (own) setTimeout(() => own.click(), 100); // gradio hears no click while it ends the event before
      else if (byId("change_checkpoint")) window.selectCheckpoint?.(title);
    });
  };

  /** A merge may be used without a file; it is gone when another model is chosen or the webui ends. */
  const unsaved = () => {
    const button = chilly.el("button", { class: "chilly-btn chilly-btn-s", type: "button" }, "Use it unsaved");
    button.title = "The webui's current model, in memory, until another one is chosen";
    button.addEventListener("click", async () => {
      button.disabled = true;
      try {
        const { text, step } = preview.pictures.merged.of; // what is seen, not what was changed since: without it there is no button
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

  let arrived = null; // an infotext of another tab that nobody has seen here yet
  let sent = null;
  let sending = null; // {tab, text, image} until gradio has them
  let known = []; // the text and the image that gradio has

  /** A dialog in a tab that is not seen would block the page: what arrives is shown for review when ours is. */
  const review = () => {
    const page = byId("chilly_page");
    if (arrived === null || !page || page.dataset.state !== "ready" || page.offsetParent === null) return;
    const text = arrived;
    arrived = null;
    chilly.recipe.paste({ text }, page);
  };

  /** Called when the webui pastes an infotext with a recipe, or PNG Info sends one. */
  chilly.arrived = (text) => {
    const { infotext, wanted } = JSON.parse(text || "{}");
    const back = !wanted && infotext === sent; // what was sent from here is pasted there
    if (infotext && !back) arrived = infotext;
    sent = null;
    review();
  };

  const put = (id, text) => {
    const area = byId(id).querySelector("textarea, input");
    area.value = text;
    window.updateInput(area);
  };

  /** The merge's picture and its parameters for another tab. */
  const send = (tab) => {
    const { image, infotext } = chilly.preview.pictures.merged;
    sent = infotext;
    sending = { tab, text: infotext, image: tab === "img2img" ? image : "" };
    put("chilly_sent_text", sending.text);
    put("chilly_sent_image", sending.image);
    chilly.taken(...known); // nothing changes where they are those of the time before
  };

  /** Called by gradio when one of the two has changed, with what it has then of both: the other tab gets them on the click. */
  chilly.taken = (...now) => {
    known = now;
    if (!sending || now[0] !== sending.text || now[1] !== sending.image) return;
    const { tab } = sending;
    sending = null;
    byId(`chilly_send_${tab}`).click();
  };

  const exchange = ({ no_pictures: none }) => {
    if (!byId("chilly_sent_text")) return;
    for (const tab of none ? [] : ["txt2img", "img2img"]) {
      const button = chilly.el("button", { class: "chilly-btn chilly-btn-s", type: "button", onclick: () => send(tab) }, `Send to ${tab}`);
      byId("chilly_page").querySelector(".chilly-acts").append(button);
    }
    window.onUiTabChange?.(review);
    review();
  };

  // The webui calls these by their names, which it makes of the tab's.
  window.switch_to_chillymerge = (...given) => {
    const tabs = [...chilly.host().querySelectorAll("#tabs > .tabitem")];
    const place = tabs.findIndex((tab) => tab.id === "tab_chillymerge");
    chilly.host().querySelectorAll("#tabs > .tab-nav > button")[place]?.click();
    return given;
  };
  window.recalculate_prompts_chillymerge = (...given) => given;

  chilly.on("found", shortcuts);
  chilly.on("ready", (start) => {
    if (start.host !== "webui") return;
    if (!start.no_pictures) unsaved();
    dropdown();
    exchange(start);
  });
})();
