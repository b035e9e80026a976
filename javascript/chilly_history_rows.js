/* The entries of the history. What stands in them came from files and from strangers: it is text and nothing else. */
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const history = (chilly.history ??= {});

  const picture = (row) => {
    const known = /^data:image\/(png|jpeg|webp);base64,/.test(row.thumbnail || "");
    if (!known) return chilly.el("span", { class: "chilly-kept-pic chilly-kept-none" }, row.kind === "file" ? "File" : "No picture");
    return chilly.el("img", { class: "chilly-kept-pic", src: row.thumbnail, alt: row.prompt ? `Picture: ${row.prompt}` : "Picture of this merge", loading: "lazy" });
  };

  const facts = (row) => {
    const parts = [row.when, row.kind === "file" ? "saved file" : "picture"];
    if (row.file) parts.push(`${row.file.name}, ${chilly.bytes(row.file.bytes)}`);
    if (row.params && row.params.seed !== undefined) parts.push(`seed ${row.params.seed}`);
    return parts.join(" · ");
  };

  // What is in the way of a slip: the button asks once more, in its own place.
  const deleteButton = (row) => {
    const { button } = chilly.recipe;
    const box = chilly.el("span", { class: "chilly-row" });
    const ask = button({ text: "Delete", look: "chilly-link" }, () => {
      box.replaceChildren(chilly.el("span", {}, "Delete this entry?"), yes, no);
      no.focus();
    });
    const yes = button({ text: "Delete", look: "chilly-link chilly-bad-link" }, async () => {
      if (await history.change(row, { delete: true })) chilly.say(`${row.title} is no longer in the history.`);
    });
    const no = button({ text: "Keep", look: "chilly-link" }, () => {
      box.replaceChildren(ask);
      ask.focus();
    });
    box.append(ask);
    return box;
  };

  const noteField = (row) => {
    const input = chilly.el("input", { class: "chilly-in chilly-kept-note", type: "text", placeholder: "Add a note", "aria-label": `Note on ${row.title}`, value: row.note || "", maxlength: chilly.start.longest_note });
    input.addEventListener("change", () => history.change(row, { note: input.value.trim() }));
    input.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && input.value !== row.note) {
        input.value = row.note || "";
        event.stopPropagation();
      }
    });
    return input;
  };

  const foot = (row, chosen) => {
    const { button } = chilly.recipe;
    const box = chilly.el("input", { type: "checkbox", class: "chilly-check" });
    box.checked = chosen;
    box.addEventListener("change", () => history.choose(row, box.checked));
    return chilly.el(
      "div", { class: "chilly-row chilly-kept-foot" },
      button({ text: "Open recipe" }, () => history.open(row, false)),
      ...(chilly.start.no_pictures ? [] : [button({ text: "Run again" }, () => history.open(row, true))]),
      chilly.el("label", { class: "chilly-row" }, box, "Choose"),
      deleteButton(row),
    );
  };

  const entry = (row, chosen) => {
    const { button } = chilly.recipe;
    const pin = button(
      { icon: "pin", label: row.pinned ? `Unpin ${row.title}` : `Pin ${row.title}`, look: "chilly-ghost-btn chilly-pin", "aria-pressed": String(Boolean(row.pinned)) },
      () => history.change(row, { pinned: !row.pinned }),
    );
    const words = [chilly.el("h3", { title: row.title }, row.title), pin, chilly.el("p", { class: "chilly-note" }, facts(row))];
    if (row.prompt) words.push(chilly.el("p", { class: "chilly-kept-prompt" }, row.prompt));
    if (row.sources && row.sources.length) words.push(chilly.el("p", { class: "chilly-kept-prompt chilly-note" }, `From ${row.sources.join(", ")}`));
    return chilly.el(
      "li", { class: "chilly-kept-row", "data-id": row.id },
      picture(row), chilly.el("div", { class: "chilly-kept-words" }, ...words), noteField(row), foot(row, chosen),
    );
  };

  /** Draws the entries; those that did not change keep their nodes, so that the focus stays. */
  history.drawRows = (list, rows, chosen) => {
    const old = new Map([...list.children].map((node) => [node.dataset.id, node]));
    const focused = document.activeElement;
    const label = list.contains(focused) ? [focused.closest("li").dataset.id, focused.className] : null;
    const wanted = rows.map((row) => {
      const said = JSON.stringify(row);
      const same = old.get(String(row.id));
      if (same && same.chillySaid === said) return same;
      const node = entry(row, chosen.includes(row.id));
      node.chillySaid = said;
      return node;
    });
    if (wanted.length !== list.children.length || wanted.some((node, place) => list.children[place] !== node)) list.replaceChildren(...wanted);
    if (!label || list.contains(document.activeElement)) return;
    const again = wanted.find((node) => node.dataset.id === label[0]) || wanted[0];
    const next = again && ([...again.querySelectorAll("button, input")].find((node) => node.className === label[1]) || again.querySelector("button"));
    if (next) next.focus({ preventScroll: true });
  };
})();
