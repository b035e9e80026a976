/* The fields of the open card. They are built once for a kind of step and then kept up to date,
   so that a field keeps its focus while the recipe around it changes. */
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const recipe = (chilly.recipe ??= {});

  const field = (text, control, side) => {
    const label = chilly.el("span", { class: "chilly-label" });
    if (side) label.append(chilly.el("i", { class: `chilly-key chilly-key-${side}` }));
    label.append(text);
    return chilly.el("label", {}, label, control);
  };

  // A field that somebody types in keeps what is typed until it is left.
  const show = (input, value) => {
    if (input !== document.activeElement || !input.dataset.typing) input.value = value;
  };

  /** A line of text that is taken when it is left or with Enter; Escape brings back what was there. */
  recipe.entry = (attributes, onTake) => {
    const input = chilly.el("input", { class: "chilly-in", type: "text", autocomplete: "off", spellcheck: "false", ...attributes });
    let before = "";
    const take = () => {
      const typed = input.value.trim();
      if (!input.dataset.typing) return;
      delete input.dataset.typing;
      if (typed && typed !== before) onTake(typed, input);
      else input.value = before;
    };
    input.addEventListener("input", () => (input.dataset.typing = "1"));
    input.addEventListener("change", take);
    input.addEventListener("blur", take);
    input.addEventListener("keydown", (event) => {
      if (event.key === "Enter") take();
      if (event.key === "Escape" && input.dataset.typing) {
        delete input.dataset.typing;
        input.value = before;
        event.stopPropagation();
      }
    });
    input.show = (value) => {
      show(input, value);
      if (!input.dataset.typing) before = value;
    };
    return input;
  };

  const nameField = (name) => {
    const input = recipe.entry({ "data-field": "name" }, (typed) =>
      recipe.act({ do: "rename", step: name(), name: typed }, input),
    );
    return { node: field("Name", input), update: (step) => input.show(step.name) };
  };

  const methodField = (name) => {
    const select = chilly.el("select", { class: "chilly-in", "data-field": "method" });
    const methods = (chilly.start && chilly.start.methods) || [];
    select.append(...methods.map((method) => chilly.el("option", { value: method.name, title: method.says || "" }, method.title)));
    const other = chilly.el("option", { value: "expression" }, "expression");
    select.addEventListener("change", () => recipe.act({ do: "method", step: name(), method: select.value }, select));
    const update = (step) => {
      // "expression" is what a step is, never what one makes of it.
      if (methods.some((method) => method.name === step.method)) other.remove();
      else {
        other.value = step.method;
        other.textContent = step.title || step.method;
        select.prepend(other);
      }
      select.value = step.method;
      select.title = (methods.find((method) => method.name === step.method) || {}).says || "";
    };
    return { node: chilly.el("div", { class: "chilly-pick chilly-pick-select" }, field("Method", select)), update };
  };

  const operandField = (name, index, step) => {
    const role = step.operands[index].role;
    const two = step.operands.length === 2 && role.length === 1;
    const picker = recipe.picker({
      label: two ? `Model ${role}` : role,
      field: `operand ${index}`,
      choices: () => recipe.choices(name()),
      onPick: (picked) => recipe.act({ do: "operand", step: name(), index, name: picked }, picker.input),
    });
    return {
      node: field(role, picker.node, two ? "ab"[index] : null),
      update: (now) => picker.set(now.operands[index].text, now.operands[index].missing),
    };
  };

  const operandFields = (name, step) => {
    const fields = step.operands.map((_, index) => operandField(name, index, step));
    const two = fields.length <= 2;
    const node = chilly.el("div", { class: two ? "chilly-two" : "chilly-three" }, ...fields.map((one) => one.node));
    const parts = [node];
    const method = ((chilly.start && chilly.start.methods) || []).find((one) => one.name === step.method);
    if (two && fields.length === 2) {
      const swap = recipe.button(
        { icon: "swap", label: "Swap A and B", look: "chilly-ghost-btn chilly-swap", "data-field": "swap" },
        () => recipe.act({ do: "swap", step: name() }, node),
      );
      node.append(swap);
    }
    if (method && method.any_number) parts.push(manyRow(name, fields.length, method.named, node));
    return { node: chilly.el("div", {}, ...parts), update: (now) => fields.forEach((one) => one.update(now)) };
  };

  // Means take any number of models: one more at the end, or one less. Operands with a name of their own stand behind them.
  const manyRow = (name, count, named, node) => {
    const more = recipe.picker({
      label: "One more model",
      field: "operand more",
      placeholder: "Add a model",
      choices: () => recipe.choices(name()),
      onPick: (picked) => recipe.act({ do: "operand", step: name(), index: count, name: picked }, more.input),
    });
    const row = chilly.el("div", { class: "chilly-row chilly-operand-more" }, more.node);
    const last = count - named - 1;
    if (last > 0) {
      row.append(recipe.button({ text: "Drop last", look: "chilly-link" }, () =>
        recipe.act({ do: "operand", step: name(), index: last, name: null }, node)));
    }
    return row;
  };

  // What no method says is edited as it is written; the rest of the line, such as its comment, stays.
  const expressionField = () => {
    const area = chilly.el("textarea", { class: "chilly-in chilly-expression", rows: 2, spellcheck: "false", "data-field": "expression" });
    let now = null;
    const take = () => {
      if (!area.dataset.typing) return;
      delete area.dataset.typing;
      const line = chilly.text.slice(now.start, now.end);
      const at = line.lastIndexOf(now.expression);
      const typed = area.value.trim();
      if (at < 0 || !typed || typed === now.expression) return void (area.value = now.expression);
      const written = line.slice(0, at) + typed + line.slice(at + now.expression.length);
      recipe.look(chilly.text.slice(0, now.start) + written + chilly.text.slice(now.end), area);
    };
    area.addEventListener("input", () => (area.dataset.typing = "1"));
    area.addEventListener("change", take);
    area.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey) return;
      event.preventDefault();
      take();
    });
    const update = (step) => {
      now = step;
      show(area, step.expression);
    };
    return { node: field("Expression", area), update };
  };

  /** The fields of one step: `{node, kind, update(step)}`; they stand for as long as `kind` stays the same. */
  recipe.cardBody = (step) => {
    let current = step;
    const name = () => current.name;
    const top = nameField(name);
    const method = methodField(name);
    const operands = step.method === "expression" ? expressionField() : operandFields(name, step);
    const parameters = recipe.parameterFields(name, step);
    const mistakes = chilly.el("div", { class: "chilly-card-mistakes", "aria-live": "polite" });
    const node = chilly.el(
      "div", { class: "chilly-step-body" },
      chilly.el("div", { class: "chilly-two" }, top.node, method.node),
      operands.node, parameters.node, mistakes,
    );
    const update = (now) => {
      current = now;
      for (const part of [top, method, operands, parameters]) part.update(now);
      mistakes.replaceChildren(...recipe.mistakesOf(now).map((error) => recipe.mistake(error)));
    };
    return { node, kind: recipe.kindOf(step), update };
  };

  /** What decides which fields a card has. */
  recipe.kindOf = (step) =>
    JSON.stringify([step.method, step.operands.map((one) => one.role), step.parameters.map((one) => one.name)]);

  /** Those of some mistakes that stand in a step's lines; one without a place stands in none. */
  recipe.mistakesOf = (step, errors = (chilly.view && chilly.view.errors) || []) =>
    errors.filter((error) => error.end > error.start && error.start >= step.start && error.start <= step.end);
})();
