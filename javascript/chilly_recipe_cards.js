/* The recipe's steps as cards: one is open, and the mixer shows that one. */
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const recipe = (chilly.recipe ??= {});

  class Card {
    constructor() {
      this.head = chilly.el("button", { type: "button", class: "chilly-step-head" });
      this.head.addEventListener("click", () => (this.dragged ? null : recipe.toggle(this.step.name)));
      this.up = recipe.button({ icon: "up", look: "chilly-ghost-btn" }, () => this.move(-1));
      this.down = recipe.button({ icon: "down", look: "chilly-ghost-btn" }, () => this.move(1));
      this.moves = chilly.el("span", { class: "chilly-moves" }, this.up, this.down);
      this.node = chilly.el("li", { class: "chilly-step" }, this.head, this.moves);
      this.body = null;
      recipe.draggable(this);
    }

    /** Moves this step by one place; Alt with an arrow key on the card's head does the same. */
    async move(by) {
      const to = this.place + by;
      if (to < 0 || to >= this.count) return;
      const name = this.step.name;
      if (await recipe.act({ do: "move", step: name, to }, this.head)) chilly.say(`${name} is step ${to + 1} now.`);
    }

    show(step, place, count, open) {
      Object.assign(this, { step, place, count });
      // While a stroke goes on, a view comes every 150 ms, and most cards stay as they are.
      const { line, start, end, ...said } = step;
      const stamp = open ? "" : JSON.stringify([said, place, count, recipe.mistakesOf(step).length]);
      if (stamp && stamp === this.stamp) return;
      this.stamp = stamp;
      this.node.dataset.open = String(open);
      this.node.dataset.step = step.name;
      this.showHead(open);
      this.showMoves(open);
      if (!open) {
        if (this.body) this.body.node.remove();
        this.body = null;
      } else if (!this.body || this.body.kind !== recipe.kindOf(step)) {
        const next = recipe.cardBody(step);
        if (this.body) this.body.node.remove();
        this.node.append(next.node);
        this.body = next;
      }
      if (this.body) this.body.update(step);
      if (this.line) this.line.remove();
      this.line = recipe.mixLine(step);
      this.node.append(this.line);
    }

    showHead(open) {
      const { step } = this;
      const wrong = recipe.mistakesOf(step).length > 0 || step.operands.some((operand) => operand.missing);
      const name = chilly.el("span", { class: "chilly-step-name", title: step.name }, chilly.el("i", {}, String(this.place + 1)), step.name);
      if (wrong) name.append(chilly.el("em", { class: "chilly-step-wrong" }, "mistake"));
      else if (step.used === false) name.append(chilly.el("em", { class: "chilly-step-unused" }, "not used"));
      this.head.setAttribute("aria-expanded", String(open));
      this.head.replaceChildren(name, chilly.el("span", { class: "chilly-step-m" }, step.title || step.method), recipe.formula(step));
      this.node.classList.toggle("chilly-step-bad", wrong);
    }

    showMoves(open) {
      this.moves.hidden = !open || this.count < 2;
      for (const [button, word, can] of [[this.up, "up", this.place > 0], [this.down, "down", this.place < this.count - 1]]) {
        button.setAttribute("aria-label", `Move ${this.step.name} ${word}`);
        button.title = `Move ${word} (Alt with the arrow key)`;
        button.disabled = !can;
      }
    }
  }

  const constantRow = (constant) => {
    const input = recipe.entry(
      { class: "chilly-in chilly-num", "aria-label": `Constant ${constant.name}`, "data-field": `constant ${constant.name}` },
      (typed) => recipe.act({ do: "constant", name: constant.name, value: typed }, input),
    );
    const row = chilly.el("label", { class: "chilly-constant" }, chilly.el("span", {}, constant.name), input);
    return { row, input };
  };

  // Fields are kept by name, so that the one in which somebody types stays where it is.
  const drawConstants = (box, rows, constants) => {
    for (const constant of constants) {
      if (!rows.has(constant.name)) rows.set(constant.name, constantRow(constant));
      rows.get(constant.name).input.show(constant.text);
    }
    const wanted = constants.map((constant) => rows.get(constant.name).row);
    if (wanted.some((row, place) => box.children[place] !== row) || box.children.length !== wanted.length) {
      box.replaceChildren(...wanted);
    }
    box.hidden = !wanted.length;
  };

  /** Which view the cards show: the newest that tells enough, else the last good one. */
  recipe.shown = () => {
    const { view, good } = chilly;
    if (!view) return good;
    if (view.ok || !good) return view;
    return view.steps.length >= good.steps.length ? view : good;
  };

  // Where a card is built anew, the field that had the focus has it again.
  const keepingFocus = (list, draw) => {
    const active = list.contains(document.activeElement) ? document.activeElement : null;
    const name = active && active.dataset.field;
    draw();
    if (!active || list.contains(document.activeElement)) return;
    const open = list.querySelector('[data-open="true"]');
    const same = open && name && [...open.querySelectorAll("[data-field]")].find((node) => node.dataset.field === name);
    const next = same || (open || list).querySelector(".chilly-step-head");
    if (next) next.focus({ preventScroll: true });
  };

  /** The list of cards with the constants above: `{node, draw()}`. */
  recipe.cards = () => {
    const cards = new Map();
    const rows = new Map();
    const constants = chilly.el("div", { class: "chilly-constants", role: "group", "aria-label": "Constants" });
    const notice = chilly.el("div", { class: "chilly-stale" });
    const list = chilly.el("ol", { class: "chilly-steps", "aria-label": "Steps" });
    const adding = recipe.addStep();
    const general = chilly.el("div", { "aria-live": "polite" }); // mistakes of no card: a file that is gone, two architectures
    const node = chilly.el("div", { class: "chilly-cards" }, notice, general, constants, list, adding);
    const drawList = (view, open) => {
      const wanted = view.steps.map((step, place) => {
        const card = cards.get(step.name) || new Card();
        cards.set(step.name, card);
        card.show(step, place, view.steps.length, step.name === open);
        return card.node;
      });
      for (const [name] of cards) if (!view.steps.some((step) => step.name === name)) cards.delete(name);
      if (wanted.some((one, place) => list.children[place] !== one) || list.children.length !== wanted.length) {
        list.replaceChildren(...wanted);
      }
    };
    const draw = () => {
      const view = recipe.shown();
      if (!view) return;
      notice.replaceChildren(...(view === chilly.view ? [] : recipe.staleNotice()));
      const placeless = ((chilly.view && chilly.view.errors) || []).filter((error) => error.end <= error.start);
      general.replaceChildren(...placeless.map((error) => recipe.mistake(error)));
      drawConstants(constants, rows, view.constants || []);
      const open = recipe.closed ? null : view.steps.some((step) => step.name === chilly.step) ? chilly.step : view.result;
      keepingFocus(list, () => drawList(view, open));
    };
    return { node, draw };
  };
})();
