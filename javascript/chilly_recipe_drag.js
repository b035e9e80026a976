/* Cards are reordered by dragging their heads, and a step is added below them. */
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const recipe = (chilly.recipe ??= {});
  const UNSTEADY = 6; // pixels that a hand may move without dragging

  // The card below the pointer, and whether the pointer is in its second half. Cards may stand two by two.
  const under = (list, event) => {
    const cards = [...list.children];
    const hit = cards.find((card) => {
      const box = card.getBoundingClientRect();
      return event.clientY >= box.top && event.clientY <= box.bottom && event.clientX >= box.left && event.clientX <= box.right;
    });
    if (!hit) return null;
    const box = hit.getBoundingClientRect();
    const besides = cards.some((card) => card !== hit && card.getBoundingClientRect().top === box.top);
    const after = besides ? event.clientX > box.left + box.width / 2 : event.clientY > box.top + box.height / 2;
    return { place: cards.indexOf(hit), after };
  };

  const mark = (list, target) => {
    for (const card of list.children) delete card.dataset.drop;
    if (target) list.children[target.place].dataset.drop = target.after ? "after" : "before";
  };

  /** Lets a card be dragged by its head; with touch by its number, so that the page still scrolls. */
  recipe.draggable = (card) => {
    let from = null;
    let target = null;
    const end = () => {
      if (from && from.moving) mark(card.node.parentElement || card.node, null);
      card.node.classList.remove("chilly-dragged");
      from = target = null;
    };
    card.head.addEventListener("pointerdown", (event) => {
      if (event.button || card.count < 2) return;
      if (event.pointerType === "touch" && !event.target.closest("i")) return;
      from = { x: event.clientX, y: event.clientY, moving: false };
    });
    card.head.addEventListener("pointermove", (event) => {
      if (!from) return;
      if (!from.moving) {
        if (Math.hypot(event.clientX - from.x, event.clientY - from.y) < UNSTEADY) return;
        from.moving = true;
        card.head.setPointerCapture(event.pointerId);
        card.node.classList.add("chilly-dragged");
      }
      target = under(card.node.parentElement, event);
      mark(card.node.parentElement, target);
    });
    card.head.addEventListener("pointerup", () => {
      if (!from || !from.moving) return end();
      const to = target ? target.place + (target.after ? 1 : 0) : card.place;
      card.dragged = true; // the click that follows is not one
      setTimeout(() => (card.dragged = false));
      end();
      card.move((to > card.place ? to - 1 : to) - card.place);
    });
    card.head.addEventListener("pointercancel", end);
    card.head.addEventListener("keydown", (event) => {
      if (!event.altKey || (event.key !== "ArrowUp" && event.key !== "ArrowDown")) return;
      event.preventDefault();
      card.move(event.key === "ArrowUp" ? -1 : 1);
    });
  };

  const newStep = (close) => {
    const last = () => (recipe.shown() && recipe.shown().result) || "";
    const chosen = { a: last(), b: "" };
    const add = async () => {
      if (!chosen.a || !chosen.b) return;
      if (await recipe.act({ do: "add", a: chosen.a, b: chosen.b }, node)) close();
    };
    const side = (key, label) => {
      const picker = recipe.picker({
        label: `Model ${label}`, field: `new ${key}`, placeholder: "Choose", choices: () => recipe.choices(null),
        onPick: (name) => {
          chosen[key] = name;
          add();
        },
      });
      picker.set(chosen[key]);
      const words = chilly.el("span", { class: "chilly-label" }, chilly.el("i", { class: `chilly-key chilly-key-${key}` }), label);
      return { picker, node: chilly.el("label", {}, words, picker.node) };
    };
    const sides = [side("a", "A"), side("b", "B")];
    const node = chilly.el("div", { class: "chilly-new" }, chilly.el("div", { class: "chilly-two" }, ...sides.map((one) => one.node)));
    node.append(recipe.button({ text: "Cancel", look: "chilly-link" }, close));
    node.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      close();
    });
    return { node, focus: () => sides[chosen.a ? 1 : 0].picker.input.focus() };
  };

  /** The button "Add step"; it asks for the two models that the step mixes. */
  recipe.addStep = () => {
    const box = chilly.el("div", { class: "chilly-add" });
    const close = () => {
      box.replaceChildren(button);
      button.focus();
    };
    const open = () => {
      const form = newStep(close);
      box.replaceChildren(form.node);
      form.focus();
    };
    const button = recipe.button({ text: "Add step", icon: "plus", id: "chilly_add_step" }, open);
    box.append(button);
    return box;
  };
})();
