/* What the open step comes to: each file's factor as a bar, the sum, the formula, and what the engine has to say. */
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const recipe = (chilly.recipe ??= {});

  const MOST_OPEN = 16; // of more factors than these, groups of lanes begin closed
  const MOST_GROUPS = 8; // more than these stand behind one line

  const minus = (text) => text.replace(/^-/, "−");

  // Both signs start at the middle; a negative factor is hatched too, so that its side is not the only sign of it.
  const bar = (value, largest) => {
    const piece = chilly.el("i", value < 0 ? { class: "chilly-minus" } : {});
    const width = largest ? (Math.abs(value) * 50) / largest : 0;
    piece.style.left = `${value < 0 ? 50 - width : 50}%`;
    piece.style.width = `${width}%`;
    return chilly.el("span", { class: "chilly-cbar", "aria-hidden": "true" }, piece);
  };

  const factors = (rows, largest) =>
    rows.map((row) =>
      chilly.el(
        "li", {},
        chilly.el("span", { class: "chilly-coef-name", title: row.name }, row.name),
        bar(row.value, largest),
        chilly.el("span", { class: "chilly-coef-value" }, minus(row.text)),
      ),
    );

  const sumRow = (sum) =>
    chilly.el(
      "li", { class: sum === "1" ? "" : "chilly-coef-odd" },
      chilly.el("span", { class: "chilly-note" }, "Sum"), chilly.el("span", {}), chilly.el("span", { class: "chilly-coef-value" }, minus(sum)),
    );

  // Lanes with the same factors; all bars of a fold have one scale. `turned` are those that somebody opened or closed.
  const lanes = (group, largest, open, turned) => {
    const list = chilly.el("ul", { class: "chilly-coef" }, ...factors(group.rows, largest));
    const node = chilly.el("details", { class: "chilly-lanes" }, chilly.el("summary", {}, group.lanes), list);
    node.open = turned.has(group.lanes) ? turned.get(group.lanes) : open;
    node.firstChild.addEventListener("click", () => turned.set(group.lanes, !node.open));
    return node;
  };

  const drawFold = (fold, list, groups, turned) => {
    const grouped = (fold && fold.lanes) || [];
    const rows = fold ? fold.rows : [];
    const all = rows.concat(...grouped.map((group) => group.rows));
    const largest = Math.max(0, ...all.map((row) => Math.abs(row.value)));
    list.replaceChildren(...factors(rows, largest), ...(fold && fold.sum ? [sumRow(fold.sum)] : []));
    list.hidden = !list.children.length;
    const nodes = grouped.map((group) => lanes(group, largest, !rows.length && all.length <= MOST_OPEN, turned));
    groups.replaceChildren(...(nodes.length > MOST_GROUPS ? [together(nodes, turned)] : nodes));
  };

  const together = (nodes, turned) => {
    const node = chilly.el("details", { class: "chilly-lanes" }, chilly.el("summary", {}, `The factors in ${nodes.length} groups of blocks`), ...nodes);
    node.open = Boolean(turned.get(together));
    node.firstChild.addEventListener("click", () => turned.set(together, !node.open));
    return node;
  };

  const remarks = (view) => [
    ...view.warnings.map((text) => chilly.el("li", { class: "chilly-remark-warn" }, recipe.icon("warning"), chilly.el("span", {}, text))),
    ...view.notes.map((text) => chilly.el("li", {}, text)),
  ];

  /** The fold of the open step: `{node, draw()}`. */
  recipe.fold = () => {
    const turned = new Map();
    const title = chilly.el("h3", {});
    const list = chilly.el("ul", { class: "chilly-coef" });
    const groups = chilly.el("div", {});
    const formula = chilly.el("p", { class: "chilly-formula" });
    const notes = chilly.el("ul", { class: "chilly-remarks" });
    const inner = chilly.el("div", { class: "chilly-fold-in" }, chilly.el("div", {}, title, list, groups), chilly.el("div", {}, formula, notes));
    const node = chilly.el("div", { class: "chilly-fold" }, inner);
    const draw = () => {
      const { view } = chilly;
      const old = view && !view.fold && !view.ok && chilly.good; // the last recipe that could be read goes on to count
      const fold = view && (old || view).fold;
      node.hidden = !view || (!fold && !view.warnings.length && !view.notes.length);
      if (node.hidden) return;
      title.textContent = fold ? `${fold.of}, folded to its files${old ? ", before the mistake" : ""}` : "Notes";
      drawFold(fold, list, groups, turned);
      formula.textContent = fold ? fold.formula : "";
      notes.replaceChildren(...remarks(view));
      notes.hidden = !notes.children.length;
    };
    return { node, draw };
  };
})();
