/* A field for a model or an earlier step: a list to search in, and any other name may be typed. */
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const recipe = (chilly.recipe ??= {});
  const MOST = 200; // more lines than these nobody reads; typing narrows
  let count = 0;

  /** What an operand may name: the steps above `step` (all of them without one) and the models. */
  recipe.choices = (step) => {
    const above = [];
    for (const one of (chilly.view && chilly.view.steps) || []) {
      if (one.name === step) break;
      above.push({ name: one.name, says: "step" });
    }
    const models = ((chilly.start && chilly.start.models) || []).map((model) => ({
      name: model.name,
      says: [model.dtype, model.bytes ? chilly.bytes(model.bytes) : ""].filter(Boolean).join(", "),
    }));
    return above.concat(models);
  };

  const matching = (choices, query) => {
    const typed = query.trim().toLowerCase();
    const words = typed.split(/\s+/);
    const found = choices.filter((choice) => words.every((word) => choice.name.toLowerCase().includes(word)));
    const begins = (choice) => Number(choice.name.toLowerCase().startsWith(typed));
    return typed ? found.sort((a, b) => begins(b) - begins(a)) : found; // a stable sort: else in the order of the list
  };

  class Picker {
    constructor({ label, field, choices, onPick, placeholder }) {
      this.id = `chilly_pick_${++count}`;
      this.choices = choices;
      this.onPick = onPick;
      this.value = "";
      this.active = -1;
      this.input = chilly.el("input", {
        class: "chilly-in", type: "text", role: "combobox", autocomplete: "off", spellcheck: "false",
        "aria-expanded": "false", "aria-controls": this.id, "aria-autocomplete": "list", "aria-label": label,
        "data-field": field, placeholder: placeholder || "",
      });
      this.list = chilly.el("ul", { class: "chilly-choices", role: "listbox", id: this.id, "aria-label": label });
      this.list.hidden = true;
      this.node = chilly.el("span", { class: "chilly-pick" }, this.input, this.list);
      this.listen();
    }

    listen() {
      const { input } = this;
      input.addEventListener("input", () => this.open(input.value));
      input.addEventListener("click", () => (this.list.hidden ? this.open("") : null));
      input.addEventListener("focus", () => input.select());
      input.addEventListener("blur", () => this.leave());
      input.addEventListener("keydown", (event) => this.key(event));
      // The list must not take the focus, or the field would think that it was left.
      this.list.addEventListener("mousedown", (event) => event.preventDefault());
    }

    key(event) {
      const open = !this.list.hidden;
      if (event.key === "ArrowDown" || event.key === "ArrowUp") {
        event.preventDefault();
        if (!open) this.open("");
        else this.mark(this.active + (event.key === "ArrowDown" ? 1 : -1));
      } else if (event.key === "Enter") {
        event.preventDefault();
        const option = open ? this.options()[this.active] : null;
        this.pick(option ? option.dataset.name : this.input.value.trim());
      } else if (event.key === "Escape" && (open || this.input.value !== this.value)) {
        event.preventDefault();
        event.stopPropagation(); // a dialog around the field stays
        this.input.value = this.value;
        this.close();
      }
    }

    options() {
      return [...this.list.querySelectorAll('[role="option"]')];
    }

    /** Shows what there is, and again where files were put there since. */
    open(query) {
      if (this.list.hidden) chilly.lookForModels().then((others) => others && !this.list.hidden && this.show(this.query));
      this.show(query);
    }

    show(query) {
      this.query = query;
      const found = matching(this.choices(), query);
      const lines = found.slice(0, MOST).map((choice, place) => this.line(choice, place));
      if (found.length > MOST) lines.push(this.remark(`${found.length - MOST} more, type to narrow`));
      if (!found.length) lines.push(this.remark("No such model or step here. Enter takes the name as typed."));
      this.list.replaceChildren(...lines);
      this.list.hidden = false;
      this.input.setAttribute("aria-expanded", "true");
      const current = found.findIndex((choice) => choice.name === this.value);
      this.mark(query ? (found.length ? 0 : -1) : current);
    }

    line(choice, place) {
      const node = chilly.el(
        "li", { role: "option", id: `${this.id}_${place}`, "data-name": choice.name, "aria-selected": "false" },
        chilly.el("span", {}, choice.name), chilly.el("small", {}, choice.says),
      );
      node.addEventListener("click", () => this.pick(choice.name));
      return node;
    }

    remark(text) {
      return chilly.el("li", { class: "chilly-note", role: "presentation" }, text);
    }

    mark(place) {
      const options = this.options();
      this.active = options.length ? Math.max(-1, Math.min(options.length - 1, place)) : -1;
      options.forEach((option, index) => option.setAttribute("aria-selected", String(index === this.active)));
      const option = options[this.active];
      if (option) {
        this.input.setAttribute("aria-activedescendant", option.id);
        option.scrollIntoView({ block: "nearest" });
      } else {
        this.input.removeAttribute("aria-activedescendant");
      }
    }

    close() {
      this.list.hidden = true;
      this.list.replaceChildren();
      this.active = -1;
      this.input.setAttribute("aria-expanded", "false");
      this.input.removeAttribute("aria-activedescendant");
    }

    leave() {
      const typed = this.input.value.trim();
      const same = this.choices().find((choice) => choice.name.toLowerCase() === typed.toLowerCase());
      if (typed && typed !== this.value) this.pick(same ? same.name : typed);
      else this.input.value = this.value;
      this.close();
    }

    pick(name) {
      this.close();
      if (!name || name === this.value) {
        this.input.value = this.value;
        return;
      }
      this.value = this.input.value = name;
      this.onPick(name);
    }

    /** Shows a value that came from elsewhere, unless somebody is just typing here. */
    set(value, missing) {
      this.input.setAttribute("aria-invalid", String(Boolean(missing)));
      this.node.classList.toggle("chilly-missing", Boolean(missing));
      if (this.list.hidden || this.input !== document.activeElement) {
        this.value = this.input.value = value;
        this.input.title = value;
      }
    }
  }

  /** A field to pick a model or a step with: `{node, input, set(value, missing)}`. */
  recipe.picker = (options) => new Picker(options);
})();
