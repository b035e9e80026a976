/* The Recipe pane: cards and text are two views of one text, and the text is what is saved. */
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const recipe = (chilly.recipe ??= {});
  const state = { view: "cards", parts: [], area: null, root: null, refusal: null };

  // The core tells what was refused as an event; here it belongs to the field that asked.
  const asking = async (ask, at) => {
    forget();
    let refused = null;
    const end = chilly.on("problem", (problem) => (refused = problem));
    const view = await ask();
    end();
    if (refused) recipe.refuse(refused, at);
    return view ? true : refused ? false : null;
  };

  /** Asks for the view of a text, as an action that can be undone; true if it came, false if it was refused, null if overtaken. */
  recipe.look = (text, at) => asking(() => chilly.look(text), at);

  /** Asks for an edit; what is refused is said below `at`, and the field shows its old value again. True if it was done. */
  recipe.act = (edit, at, options) => asking(() => chilly.edit(edit, options), at);

  const forget = () => {
    if (state.refusal) state.refusal.remove();
    state.refusal = null;
  };

  /** Says why something was refused, at its place, until the next action. */
  recipe.refuse = (error, at) => {
    forget();
    if (chilly.complain) chilly.complain(""); // it is said here, once
    state.refusal = chilly.el("div", { class: "chilly-err", role: "alert" }, chilly.el("span", {}, error.message));
    const field = at && at.isConnected ? at.closest(".chilly-two, .chilly-parameter, .chilly-card-foot, .chilly-constant, .chilly-new") : null;
    const head = at && at.isConnected ? at.closest(".chilly-step-head") : null;
    if (field || head) (field || head).after(state.refusal);
    else state.area.prepend(state.refusal);
    draw();
  };

  /** Opens a step, or closes the card of the one that is open. */
  recipe.toggle = (name) => {
    const open = !recipe.closed && name === chilly.step;
    recipe.closed = open;
    forget();
    if (open || name === chilly.step) draw();
    else chilly.open(name);
  };

  /** What is said above the cards while the text cannot be read. */
  recipe.staleNotice = () => [
    chilly.el("span", {}, "The text has a mistake. The cards show the last recipe that could be read."),
    recipe.button({ text: "Show text" }, () => recipe.show("text", true)),
  ];

  const draw = () => state.parts.forEach((part) => part.draw());

  const head = () => {
    const undo = recipe.button({ icon: "undo", label: "Undo", look: "chilly-ghost-btn", id: "chilly_undo_recipe" }, () => chilly.undo());
    const redo = recipe.button({ icon: "redo", label: "Redo", look: "chilly-ghost-btn", id: "chilly_redo_recipe" }, () => chilly.redo());
    const cards = recipe.button({ text: "Cards", look: "", id: "chilly_view_cards" }, () => recipe.show("cards"));
    const text = recipe.button({ text: "Text", look: "", id: "chilly_view_text" }, () => recipe.show("text"));
    const choice = chilly.el("div", { class: "chilly-seg", role: "group", "aria-label": "Recipe view" }, cards, text);
    const node = chilly.el(
      "div", { class: "chilly-h" }, chilly.el("h2", {}, "Recipe"), chilly.el("div", { class: "chilly-row" }, undo, redo, choice),
    );
    const show = () => {
      // Dimmed, not disabled: a button that has the focus keeps it.
      undo.setAttribute("aria-disabled", String(!chilly.canUndo()));
      redo.setAttribute("aria-disabled", String(!chilly.canRedo()));
      cards.setAttribute("aria-pressed", String(state.view === "cards"));
      text.setAttribute("aria-pressed", String(state.view === "text"));
    };
    return { node, draw: show };
  };

  const main = () => {
    const cards = recipe.cards();
    const editor = recipe.editor();
    const fold = recipe.fold();
    const top = head();
    state.editor = editor;
    state.area = chilly.el("div", { class: "chilly-recipe-views" }, cards.node, editor.node);
    const views = {
      draw: () => {
        cards.node.hidden = state.view !== "cards";
        editor.node.hidden = state.view !== "text";
      },
    };
    state.parts.push(top, views, cards, editor, fold);
    return chilly.el("div", { class: "chilly-recipe" }, top.node, state.area, recipe.pasteField(), fold.node);
  };

  /** Changes between cards and text; what was typed last is asked about first. */
  recipe.show = async (view, focus) => {
    await state.editor.send();
    state.view = view;
    recipe.begin(false);
    draw();
    if (focus && view === "text") state.editor.area.focus();
  };

  /** Takes away the start page (or lets it come), though there is no recipe yet. */
  recipe.begin = (empty) => {
    const page = state.root.closest(".chilly-root");
    if (page) page.dataset.empty = String(empty);
  };

  // Undo in the pane: where a field has no typing of its own to take back.
  const keys = (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.altKey || event.key.toLowerCase() !== "z") return;
    if (event.target.tagName === "TEXTAREA" || event.target.dataset.typing) return;
    event.preventDefault();
    if (event.shiftKey) chilly.redo();
    else chilly.undo();
  };

  const mount = (root) => {
    state.root = root;
    const pane = main();
    const start = recipe.startPage();
    state.parts.push(start);
    root.append(start.node, pane);
    root.addEventListener("keydown", keys);
    recipe.listenForPaste(root);
    chilly.on("view", () => {
      if (recipe.lastStep !== chilly.step) recipe.closed = false;
      recipe.lastStep = chilly.step;
      forget();
      draw();
    });
    chilly.on("undo", draw);
    draw();
  };
  (chilly.parts ??= {}).recipe = mount;
})();
