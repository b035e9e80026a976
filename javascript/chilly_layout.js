// The page's frame: header, columns, the change between mixing and history, and the host's theme.
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});

  /** A line drawing in the colour of the text; never read aloud, so its button needs a name. */
  chilly.icon = (path, size = 14) => {
    const drawing = { width: size, height: size, viewBox: "0 0 14 14", fill: "none", stroke: "currentColor", "aria-hidden": "true" };
    const ends = { "stroke-width": "1.6", "stroke-linejoin": "round", "stroke-linecap": "round" };
    return chilly.svg("svg", { ...drawing, ...ends }, chilly.svg("path", { d: path }));
  };

  /** Bytes as people say them: 2.13 GB. */
  chilly.bytes = (count) => {
    const units = ["bytes", "kB", "MB", "GB", "TB"];
    const power = Math.max(0, Math.min(4, Math.floor(Math.log10(Math.max(1, count)) / 3)));
    const number = count / 1000 ** power;
    return `${power === 0 || number >= 100 ? Math.round(number) : number.toPrecision(3)} ${units[power]}`;
  };

  /** Whether so many bytes are read without being asked for. */
  chilly.isSmall = (bytes) => bytes > 0 && bytes <= 512e6;

  /** A text as a file in the browser's downloads. */
  chilly.download = (text, name, type) => {
    const link = chilly.el("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };

  /** Draws the frame into `main`, which lies in `page`, and returns the element of each part. */
  chilly.layout = (page, main) => {
    const el = chilly.el;
    settle(page);
    followTheme(page);
    const column = (name, label) => el("section", { class: `chilly-col ${name}`, "aria-label": label });
    const parts = {
      recipe: column("chilly-col-recipe", "Recipe"),
      mixer: column("chilly-col-mix", "Block weights"),
      preview: column("chilly-col-preview", "Preview"),
      alike: el("section", { class: "chilly-sec", "aria-label": "How alike the models are" }),
      health: el("section", { class: "chilly-sec chilly-health chilly-row", "aria-label": "Health of the models" }),
      many: el("section", { class: "chilly-sec chilly-many", "aria-label": "Several models compared" }),
      save: el("section", { class: "chilly-save", "aria-label": "Save" }),
      history: el("section", { class: "chilly-col chilly-history", id: "chilly_history", "aria-label": "History", hidden: "" }),
    };
    const { history, ...mix } = parts;
    const root = el("div", { class: "chilly-root", "data-empty": "true" }, ...Object.values(mix));
    const button = historyButton();
    main.replaceChildren(header(button), root, history);
    chilly.show = (name) => {
      history.hidden = name !== "history";
      root.hidden = !history.hidden;
      button.setAttribute("aria-expanded", String(!history.hidden));
      button.lastChild.textContent = history.hidden ? "History" : "Back to mixing";
      chilly.emit("show", name);
    };
    chilly.on("view", () => markEmpty(root));
    return parts;
  };

  /** Makes room in gradio's containers. `.prose` and `.gradio-style` are its looks for articles, which bend ours; by itself the
      page has the whole window, in a webui the tab. */
  function settle(page) {
    const alone = typeof window.gradioApp !== "function";
    document.documentElement.classList.toggle("chilly-alone", alone);
    page.dataset.host = alone ? "own" : "guest";
    for (let holder = page.parentElement; holder && holder !== document.body; holder = holder.parentElement) {
      holder.classList.remove("prose", "gradio-style");
      if (alone) holder.classList.add("chilly-holder");
    }
  }

  function header(button) {
    const title = chilly.el("h1", {}, "ChillyMerge");
    chilly.on("ready", ({ version }) => title.append(chilly.el("span", { class: "chilly-note" }, version || "")));
    return chilly.el("header", { class: "chilly-top" }, title, button);
  }

  function historyButton() {
    const button = chilly.el("button", { class: "chilly-btn chilly-btn-s", type: "button", id: "chilly_history_button" });
    button.append(chilly.icon("M2 7a5 5 0 1 0 1.6-3.7M2 2v2.6h2.6M7 4.5V7l2 1.3"), chilly.el("span", {}, "History"));
    button.setAttribute("aria-expanded", "false");
    button.setAttribute("aria-controls", "chilly_history");
    button.addEventListener("click", () => chilly.show(document.getElementById("chilly_history").hidden ? "history" : "mix"));
    return button;
  }

  /** The start page stands while there is no recipe; it must not come back under the hands of who clears the text to write anew. */
  function markEmpty(root) {
    const writing = document.activeElement?.matches?.("textarea") && root.contains(document.activeElement);
    const empty = !(chilly.text || "").trim();
    if (!empty || !writing) root.dataset.empty = String(empty);
  }

  /** The host's `.dark`, wherever it puts it, decides; a change is told to those that compute colours. */
  function followTheme(page) {
    const hosts = [document.documentElement, document.body];
    const read = () => {
      const theme = hosts.some((host) => host.classList.contains("dark")) || page.closest(".dark") ? "dark" : "light";
      if (page.dataset.theme === theme) return;
      page.dataset.theme = theme;
      chilly.theme = theme;
      chilly.emit?.("theme", theme);
    };
    const watcher = new MutationObserver(read);
    hosts.forEach((host) => watcher.observe(host, { attributes: true, attributeFilter: ["class"] }));
    read();
  }
})();
