/* Two entries of the history beside each other: the recipes line by line, and what they come to. */
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const history = (chilly.history ??= {});

  const cell = (text, tag = "td") => chilly.el(tag, text === null || text === undefined ? { class: "chilly-none" } : {}, text === null || text === undefined ? "not there" : text);

  const table = (title, rows, left, right) => {
    const head = chilly.el("tr", {}, chilly.el("td", {}), chilly.el("th", { scope: "col" }, left), chilly.el("th", { scope: "col" }, right));
    const lines = rows.map((row) => {
      const same = row.same === undefined ? row.left === row.right : row.same;
      const name = chilly.el("th", { scope: "row" }, row.name);
      if (!same) name.append(chilly.el("span", { class: "chilly-differs" }, "differs"));
      return chilly.el("tr", { class: same ? "chilly-same" : "chilly-different" }, name, cell(row.left), cell(row.right));
    });
    return chilly.el("table", { class: "chilly-compare" }, chilly.el("caption", {}, title), chilly.el("thead", {}, head), chilly.el("tbody", {}, ...lines));
  };

  /** Opens the comparison of two entries. */
  history.showComparison = (left, right, { lines, fold, says }) => {
    const names = [left, right].map((row) => `${row.title}, ${row.when}`);
    const different = lines.filter((line) => !line.same).length;
    const summary = different ? `${different} of ${lines.length} lines differ.` : "The recipes are the same.";
    const content = [
      chilly.el("p", { class: "chilly-note" }, [summary, ...(says || [])].join(" ")),
      table("Recipe", lines, ...names),
      ...(fold && fold.length ? [table("Folded to files", fold, ...names)] : []),
    ];
    const actions = [
      { text: "Open the left one", run: () => history.open(left, false) },
      { text: "Open the right one", run: () => history.open(right, false) },
      { text: "Close", autofocus: true },
    ];
    chilly.dialog({ title: "Two recipes compared", content, actions }).node.classList.add("chilly-dialog-wide");
  };
})();
