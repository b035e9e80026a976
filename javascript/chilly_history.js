/* The history: what was made and kept, to find, note, compare and go back to. */
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const history = (chilly.history ??= {});
  const PAGE = 30;
  const PAUSE = 200; // milliseconds without a key before the engine is asked
  const state = { rows: [], more: false, pinned: false, chosen: [], shown: false, search: "", says: [] };
  const nodes = {};

  const complain = (error) => {
    nodes.problem.replaceChildren(...(error ? [chilly.el("div", { class: "chilly-err", role: "alert" }, chilly.el("span", {}, error.message))] : []));
  };

  /** Asks something of the history; its problem is said above the list, and null comes back. */
  history.ask = async (name, given, lane = null) => {
    try {
      const reply = await chilly.ask(name, given, lane);
      complain(null);
      return reply;
    } catch (error) {
      complain(error);
      return null;
    }
  };

  // The newest search wins; one that it overtakes gets nothing.
  const load = async (older) => {
    const last = older && state.rows[state.rows.length - 1];
    const given = { search: state.search, pinned: state.pinned, before: last ? last.id : null, count: PAGE };
    const reply = await history.ask("history", given, "history");
    if (!reply) return;
    const before = state.rows.length;
    state.rows = older ? state.rows.concat(reply.rows) : reply.rows;
    state.more = reply.more;
    state.says = reply.says || [];
    state.chosen = state.chosen.filter((id) => state.rows.some((row) => row.id === id));
    draw();
    if (older && nodes.list.children[before]) nodes.list.children[before].querySelector("button").focus();
  };

  /** Changes an entry: its note, its pin, or away with it. True if it was done. */
  history.change = async (row, change) => {
    const reply = await history.ask("history_change", { id: row.id, ...change });
    if (!reply && (!change.delete || nodes.problem.children.length)) return false;
    state.rows = change.delete ? state.rows.filter((one) => one.id !== row.id) : state.rows.map((one) => (one.id === row.id ? reply : one));
    draw();
    if (change.delete) chilly.emit("forgotten", row);
    return true;
  };

  // The same picture once more: its own seed, not a new one.
  const runAgain = (row) => {
    if (!chilly.preview) return;
    chilly.preview.fixed = true;
    chilly.setParams(row.params || {});
    chilly.preview.update();
  };

  /** Makes an entry's recipe the page's; with `again` its picture's settings too, and the picture is made anew. */
  history.open = async (row, again) => {
    if (!(await chilly.look(row.recipe, { step: null }))) return;
    chilly.show("mix");
    if (again) runAgain(row);
    chilly.say(`The recipe of ${row.title} is open. Undo brings back the one before.`);
  };

  /** Chooses an entry for a comparison or an export, or no longer. */
  history.choose = (row, yes) => {
    state.chosen = state.chosen.filter((id) => id !== row.id).concat(yes ? [row.id] : []);
    drawTools();
  };

  const exportRows = async () => {
    const reply = await history.ask("history_export", { ids: state.chosen.length ? state.chosen : null });
    if (!reply) return;
    chilly.download(reply.text, reply.name, "application/json");
    chilly.say(`${reply.name} is in your downloads.`);
  };

  const compare = async () => {
    const [left, right] = state.chosen.map((id) => state.rows.find((row) => row.id === id));
    const reply = await history.ask("history_compare", { ids: [left.id, right.id] });
    if (reply) history.showComparison(left, right, reply);
  };

  const drawTools = () => {
    const count = state.chosen.length;
    nodes.compare.disabled = count !== 2;
    nodes.hint.textContent = count === 2 || !state.rows.length ? "" : `To compare, choose two entries${count ? ` (${count} chosen)` : ""}.`;
    nodes.export.textContent = count ? `Export ${count} chosen` : "Export all";
    nodes.export.disabled = !state.rows.length;
    nodes.pinned.setAttribute("aria-pressed", String(state.pinned));
  };

  const emptyWords = () => {
    if (state.search || state.pinned) return "Nothing here fits. Search looks at titles, notes, prompts, models and recipes.";
    return "Nothing is kept yet. Every file that you save stands here, and every picture that you keep.";
  };

  const draw = () => {
    history.drawRows(nodes.list, state.rows, state.chosen);
    nodes.empty.textContent = state.rows.length ? "" : emptyWords();
    nodes.says.textContent = state.says.join(" ");
    nodes.more.hidden = !state.more;
    drawTools();
  };

  const searchField = () => {
    let timer = 0;
    const input = chilly.el("input", { class: "chilly-in", type: "search", id: "chilly_history_search", placeholder: "Search", "aria-label": "Search the history", autocomplete: "off", spellcheck: "false" });
    input.addEventListener("input", () => {
      clearTimeout(timer);
      timer = setTimeout(() => {
        state.search = input.value.trim();
        load(false);
      }, PAUSE);
    });
    return input;
  };

  const mount = (root) => {
    const { button } = chilly.recipe;
    nodes.compare = button({ text: "Compare two", id: "chilly_history_compare" }, compare);
    nodes.export = button({ text: "Export all", id: "chilly_history_export" }, exportRows);
    nodes.pinned = button({ text: "Pinned", icon: "pin" }, () => {
      state.pinned = !state.pinned;
      load(false);
    });
    nodes.hint = chilly.el("span", { class: "chilly-note" });
    nodes.problem = chilly.el("div", {});
    nodes.says = chilly.el("p", { class: "chilly-note" });
    nodes.list = chilly.el("ul", { class: "chilly-kept", "aria-label": "Entries" });
    nodes.empty = chilly.el("p", { class: "chilly-note chilly-kept-empty", role: "status" });
    nodes.more = button({ text: "Show older" }, () => load(true));
    const tools = chilly.el("div", { class: "chilly-row chilly-kept-tools" }, searchField(), nodes.pinned, nodes.compare, nodes.export, nodes.hint);
    root.append(chilly.el("div", { class: "chilly-h" }, chilly.el("h2", {}, "History")), tools, nodes.problem, nodes.says, nodes.list, nodes.empty, nodes.more);
    chilly.on("show", (name) => {
      state.shown = name === "history";
      if (state.shown) load(false);
    });
    for (const event of ["saved", "kept"]) chilly.on(event, () => (state.shown ? load(false) : null));
    nodes.more.hidden = true;
  };
  (chilly.parts ??= {}).history = mount;
})();
