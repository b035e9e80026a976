/* Small drawings of the Recipe pane and the history: icons, curves, mix lines, sentences about mistakes. */
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const recipe = (chilly.recipe ??= {});

  const ICONS = {
    plus: "M7 2v10M2 7h10",
    undo: "M5 3L2 6l3 3M2.4 6H9a3 3 0 010 6H6",
    redo: "M9 3l3 3-3 3M11.6 6H5a3 3 0 000 6h3",
    up: "M3 8.5l4-4 4 4",
    down: "M3 5.5l4 4 4-4",
    swap: "M1.5 5h10l-3-3M12.5 9h-10l3 3",
    cross: "M3 3l8 8M11 3l-8 8",
    clock: "M7 1.6a5.4 5.4 0 100 10.8A5.4 5.4 0 007 1.6M7 4v3.2l2.2 1.3",
    pin: "M5 1.8h4M5.6 1.8v4L3.4 8.2h7.2L8.4 5.8v-4M7 8.2v4",
    warning: "M7 1.5l6 11H1zM7 6v3M7 10.6v.6",
  };

  /** One of the pane's line drawings. */
  recipe.icon = (name) => chilly.icon(ICONS[name]);

  /** A button; `look` is its class, `icon` the drawing before its words (or alone, with `label` for screen readers). */
  recipe.button = ({ text, icon, label, look, ...attributes }, onClick) => {
    const node = chilly.el("button", { type: "button", class: look || "chilly-btn chilly-btn-s", ...attributes });
    if (icon) node.append(recipe.icon(icon));
    if (text) node.append(text);
    if (label) {
      node.setAttribute("aria-label", label);
      node.title = label;
    }
    node.addEventListener("click", onClick);
    return node;
  };

  /** The curve of some weights, as a thumbnail. */
  recipe.thumb = (values, width = 34, height = 14) => {
    const clamped = values.map((value) => Math.min(1, Math.max(0, value)));
    const point = (value, place) =>
      `${(((place + 0.5) * width) / clamped.length).toFixed(1)} ${(height - 3 - value * (height - 6)).toFixed(1)}`;
    const line = "M" + clamped.map(point).join("L");
    const last = (((clamped.length - 0.5) * width) / clamped.length).toFixed(1);
    const first = ((0.5 * width) / clamped.length).toFixed(1);
    return chilly.svg(
      "svg",
      { viewBox: `0 0 ${width} ${height}`, width, height, preserveAspectRatio: "none", "aria-hidden": "true" },
      chilly.svg("path", { d: `${line}L${last} ${height}L${first} ${height}Z`, fill: "currentColor", opacity: 0.16 }),
      chilly.svg("path", { d: line, fill: "none", stroke: "currentColor", "stroke-width": 1.5, "stroke-linejoin": "round" }),
    );
  };

  /** The line under a card: A's share and B's share, striped where A stays whole. */
  recipe.mixLine = (step) => {
    const node = chilly.el("span", { class: "chilly-mixline", "aria-hidden": "true" });
    if (step.whole) {
      node.append(chilly.el("i", { class: "chilly-mixline-whole" }));
    } else if (step.share !== null && step.share !== undefined) {
      const share = Math.min(1, Math.max(0, step.share));
      for (const [side, part] of [["a", 1 - share], ["b", share]]) {
        const piece = chilly.el("i", { class: `chilly-mixline-${side}` });
        piece.style.width = `${part * 100}%`;
        node.append(piece);
      }
    }
    return node;
  };

  /** A step's formula on one line; names are bold. */
  recipe.formula = (step) => {
    const node = chilly.el("span", { class: "chilly-step-f" });
    for (const [text, isName] of step.formula || [[step.expression, false]]) {
      node.append(isName ? chilly.el("b", {}, text) : text);
    }
    return node;
  };

  /** One mistake: its sentence and a button for each of its fixes. */
  recipe.mistake = (error, onShow) => {
    const sentence = chilly.el("span", {}, error.message);
    const node = chilly.el("div", { class: "chilly-err" }, sentence);
    for (const fix of error.fixes || []) {
      node.append(recipe.button({ text: fix.label }, () => recipe.look(fix.text, node)));
    }
    if (onShow) {
      sentence.className = "chilly-err-place";
      sentence.addEventListener("click", onShow);
    }
    return node;
  };
})();
