/* Begins the page: finds its place, asks for what it starts with, lets every part draw, goes on where a reload interrupted. */
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});

  const LEARN_PAUSE = 3000;
  let speaker = null;
  let complaint = null;
  let looking = null; // for models

  /** Say a sentence to those who cannot see the page. */
  chilly.say = (sentence) => {
    if (speaker) speaker.textContent = sentence;
  };

  /** Show a problem that belongs to no field, until it is dismissed or something goes well. */
  chilly.complain = (message) => {
    complaint.hidden = !message;
    const close = { class: "chilly-link", type: "button", onclick: () => chilly.complain("") };
    complaint.replaceChildren(...(message ? [chilly.el("span", {}, message), chilly.el("button", close, "Dismiss")] : []));
  };

  const frame = (root) => {
    speaker = chilly.el("div", { class: "chilly-vh", role: "status", id: "chilly_say" });
    complaint = chilly.el("div", { class: "chilly-problem", role: "alert", id: "chilly_problem", hidden: true });
    const main = chilly.el("div", { class: "chilly-main", id: "chilly_main" });
    root.replaceChildren(complaint, main, speaker);
    return chilly.layout(root, main);
  };

  const pageName = () => [...crypto.getRandomValues(new Uint32Array(3))].map((number) => number.toString(36)).join("");

  // Of thousands of models what their headers say comes bit by bit.
  const learn = async () => {
    do {
      if (chilly.start.more) await new Promise((resolve) => setTimeout(resolve, LEARN_PAUSE));
      Object.assign(chilly.start, await chilly.ask("models"));
    } while (chilly.start.more);
  };

  /** Look at the models' folders again; whether there are others now. Not twice at once. */
  chilly.lookForModels = () =>
    (looking ??= chilly
      .ask("models", { again: true })
      .then((found) => {
        const before = JSON.stringify(chilly.start.models);
        Object.assign(chilly.start, found);
        return JSON.stringify(found.models) !== before;
      })
      .catch(() => false)
      .finally(() => (looking = null)));

  const listen = () => {
    chilly.on("problem", ({ message }) => chilly.complain(message));
    chilly.on("view", () => chilly.complain(""));
    // A file that was saved may be one of the models now.
    chilly.on("saved", () => learn().catch(() => {}));
  };

  const begin = async (root) => {
    root.classList.add("chilly-page");
    document.getElementById("chilly_before")?.remove();
    root.dataset.state = "waiting";
    const places = frame(root);
    const kept = chilly.kept();
    chilly.page = kept.page || pageName();
    try {
      chilly.start = await chilly.ask("start");
    } catch (error) {
      chilly.complain(error.message);
      return;
    }
    chilly.restore(kept);
    listen();
    for (const [name, draw] of Object.entries(chilly.parts || {})) if (places[name]) draw(places[name]);
    const text = kept.text === undefined ? chilly.start.recipe : kept.text;
    await chilly.look(text, { step: kept.step || null, undo: false });
    root.dataset.state = "ready";
    chilly.emit("ready", chilly.start);
    if (chilly.start.more) learn().catch(() => {}); // who asks next is told
  };

  // gradio draws when it likes, and the webui's tab is one of many: wait until all is there.
  const isThere = () => {
    const root = chilly.host().querySelector("#chilly_page");
    if (!root || !chilly.host().querySelector("#chilly_go")) return false;
    if (!root.dataset.state) beginWhenSeen(root);
    return true;
  };

  /** A tab of the webui that nobody opens asks for nothing: no model is looked at, nothing of the engine is imported. */
  const beginWhenSeen = (root) => {
    root.dataset.state = "unseen";
    chilly.emit("found", root);
    const watcher = new IntersectionObserver((entries) => {
      if (!entries.some((entry) => entry.isIntersecting)) return;
      watcher.disconnect();
      begin(root);
    }, { rootMargin: "100000px" }); // anywhere on the page, if only it is drawn
    watcher.observe(root);
  };
  let isWatching = false;
  const watch = () => {
    if (isWatching || isThere()) return;
    isWatching = true;
    const watcher = new MutationObserver(() => isThere() && watcher.disconnect());
    watcher.observe(document, { childList: true, subtree: true });
  };
  // Once all files are here: deferred ones run one after another while the document is "interactive", before DOMContentLoaded,
  // which comes not at all for those that are added later.
  if (document.readyState === "complete") setTimeout(watch);
  else for (const [where, event] of [[document, "DOMContentLoaded"], [window, "load"]]) where.addEventListener(event, watch);
})();
