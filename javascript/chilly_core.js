/* What all parts of the page stand on: making elements, asking the server, the recipe's state, undo. See docs/page-protocol.md.
   Files are loaded in alphabetical order, so each begins with the line that makes window.chilly and uses it only when called. */
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});

  const KEPT = "chilly.page"; // in sessionStorage: what a reload goes on with
  const OPEN = "chilly.open"; // there, too, while a page is: a tab that was duplicated has got it with all else
  const MOST_UNDO = 100;
  const SVG = "http://www.w3.org/2000/svg";

  Object.assign(chilly, { text: "", view: null, good: null, step: null, parameter: null, params: null, start: null, page: "" });
  const past = [];
  const future = [];
  const handlers = new Map();
  const own = {}; // name of a part to what it alone goes on with after a reload
  const underWay = new Set(); // looks and edits that are not answered
  let turn = Promise.resolve(); // the end of the last undo or redo
  let strokeStart = null; // text and step before the gesture that goes on

  // ---- elements ----

  const fill = (node, attributes, children) => {
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (name.startsWith("on") && typeof value === "function") node.addEventListener(name.slice(2), value);
      else if (name === "style" && typeof value === "object") {
        for (const [property, said] of Object.entries(value)) node.style.setProperty(property, said);
      } else if (name === "value" && "value" in node) node.value = value;
      else node.setAttribute(name, value === true ? "" : String(value));
    }
    node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
    return node;
  };

  /** An HTML element: attributes, `onclick` and the like as functions, `style` as text or object; children are nodes or texts. */
  chilly.el = (tag, attributes, ...children) => {
    const node = document.createElement(tag);
    // The value of a select is one of its children, which must be there first.
    const { value, ...rest } = attributes || {};
    fill(node, rest, children);
    return value === undefined ? node : fill(node, { value }, []);
  };

  /** The same for what is drawn. */
  chilly.svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

  // ---- events ----

  /** Call `handler(value)` at each event of that name; gives a function that ends it. */
  chilly.on = (event, handler) => {
    if (!handlers.has(event)) handlers.set(event, new Set());
    handlers.get(event).add(handler);
    return () => handlers.get(event).delete(handler);
  };

  /** Tell all who listen; what one of them does wrong does not keep the others from it. */
  chilly.emit = (event, value) => {
    for (const handler of [...(handlers.get(event) || [])]) {
      try {
        handler(value);
      } catch (error) {
        setTimeout(() => {
          throw error;
        });
      }
    }
  };

  // ---- the recipe ----

  const mark = () => ({ text: chilly.text, step: chilly.step });

  const remember = (before) => {
    if (before.text === chilly.text) return;
    past.push(before);
    if (past.length > MOST_UNDO) past.shift();
    future.length = 0;
  };

  const show = (view) => {
    chilly.text = view.text;
    chilly.view = view;
    if (view.ok) chilly.good = view;
    chilly.step = view.step || chilly.step;
    chilly.parameter = view.mixer ? view.mixer.parameter : null;
    keep();
    chilly.emit("view", view);
    return view;
  };

  // A problem is told to whoever shows it; null is what the asker gets.
  const told = (error) => {
    chilly.emit("problem", { message: error.message, field: error.field });
    return null;
  };

  // What an undo must wait for.
  const noted = (answered) => {
    underWay.add(answered);
    answered.finally(() => underWay.delete(answered));
    return answered;
  };

  /** Ask for the view of a text; null when it was overtaken by a newer one or refused (event `problem`). */
  chilly.look = (text, options) => noted(askLook("look", () => text, options));

  // `text` is called when the question's turn comes.
  const askLook = async (lane, text, { step = chilly.step, parameter = chilly.parameter, undo = true } = {}) => {
    try {
      const view = await chilly.ask("look", () => ({ text: text(), step, parameter, current: true }), lane);
      if (!view) return null;
      const before = strokeStart || mark();
      strokeStart = null;
      chilly.text = view.text;
      if (undo) remember(before);
      return show(view);
    } catch (error) {
      return told(error);
    }
  };

  /** Ask for an edit of the text as it stands when the edit's turn comes. With `passing`, which the gesture's last edit has
      not, the whole gesture is one undo; of passing edits that wait only the newest is sent, so each says all of its stroke. */
  chilly.edit = (edit, { passing = false } = {}) => noted(askEdit(edit, passing));

  const askEdit = async (edit, passing) => {
    try {
      const given = () => {
        if (!strokeStart) strokeStart = mark();
        return { text: chilly.text, step: chilly.step, edit: { parameter: chilly.parameter, ...edit } };
      };
      const view = await chilly.ask("edit", given, passing ? "passing" : null);
      if (!view) return null;
      chilly.text = view.text;
      if (!passing) endStroke();
      return show(view);
    } catch (error) {
      endStroke();
      return told(error);
    }
  };

  const endStroke = () => {
    if (strokeStart) remember(strokeStart);
    strokeStart = null;
  };

  /** Open another step, or another of its parameters: the mixer and the preview follow. */
  chilly.open = (step, parameter = null) => noted(askLook("open", () => chilly.text, { step, parameter, undo: false }));

  // One after the other, and after all that is under way: what is undone is the last thing that was done.
  const inTurn = (from, to) => (turn = turn.then(() => goBack(from, to)));

  const goBack = async (from, to) => {
    while (underWay.size) await Promise.allSettled([...underWay]);
    if (!from.length) return null;
    const now = mark();
    const target = from.pop();
    const view = await chilly.look(target.text, { step: target.step, undo: false });
    if (view) to.push(now);
    else from.push(target);
    if (view) chilly.emit("undo", { canUndo: past.length > 0, canRedo: future.length > 0 });
    return view;
  };

  /** One stroke or edit back; and forth again. */
  chilly.undo = () => inTurn(past, future);
  chilly.redo = () => inTurn(future, past);
  chilly.canUndo = () => past.length > 0;
  chilly.canRedo = () => future.length > 0;

  /** Change some of the picture's parameters. */
  chilly.setParams = (some) => {
    chilly.params = { ...chilly.params, ...some };
    keep();
    chilly.emit("params", chilly.params);
  };

  // ---- what a reload goes on with ----

  const keep = () => {
    const { text, step, params, page } = chilly;
    try {
      sessionStorage.setItem(KEPT, JSON.stringify({ text, step, params, page, own, past: past.slice(-20) }));
    } catch (error) {
      // Private windows and full stores: then a reload begins anew.
    }
  };

  /** What a part alone goes on with after a reload; `some` of it is other now. */
  chilly.own = (part, some) => {
    if (some) {
      own[part] = { ...own[part], ...some };
      keep();
    }
    return own[part] || {};
  };

  const markOpen = () => sessionStorage.setItem(OPEN, "1");

  /** What the page had before it was loaded again; an empty object the first time. A duplicate of a tab has another name. */
  chilly.kept = () => {
    try {
      const { page, ...kept } = JSON.parse(sessionStorage.getItem(KEPT)) || {};
      const name = sessionStorage.getItem(OPEN) ? {} : { page };
      markOpen();
      window.addEventListener("pagehide", () => sessionStorage.removeItem(OPEN));
      window.addEventListener("pageshow", (event) => event.persisted && markOpen());
      return { ...kept, ...name };
    } catch (error) {
      return {};
    }
  };

  /** Go on with what was kept. */
  chilly.restore = (kept) => {
    past.push(...(kept.past || []));
    Object.assign(own, kept.own);
    chilly.params = { ...chilly.start.params, ...(kept.params || {}) };
  };
})();
