/* A step's parameters: a slider with its number, and the chip that turns block weights on. */
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const recipe = (chilly.recipe ??= {});
  let count = 0;

  const title = (name) => name.charAt(0).toUpperCase() + name.slice(1).replaceAll("_", " ");

  const slider = (name, parameter) => {
    const input = chilly.el("input", {
      type: "range", class: "chilly-range", min: parameter.low, max: parameter.high,
      step: (parameter.high - parameter.low) / 100, "data-field": `${parameter.name} slider`,
    });
    // Of the edits that wait while the thumb moves, the core sends the newest alone.
    const send = (passing) =>
      recipe.act({ do: "set", step: name(), parameter: parameter.name, value: input.value }, input, { passing });
    const fill = () => {
      const share = (input.value - input.min) / (input.max - input.min);
      input.style.setProperty("--p", `${share * 100}%`);
    };
    input.addEventListener("input", () => {
      fill();
      input.dataset.moving = "1";
      send(true);
    });
    input.addEventListener("change", () => {
      delete input.dataset.moving;
      send(false);
    });
    const update = (value) => {
      if (input.dataset.moving) return; // the hand is faster than the reply
      input.value = value === null ? parameter.low : value;
      fill();
    };
    return { node: input, update };
  };

  const parameterField = (name, parameter) => {
    const id = `chilly_parameter_${++count}`;
    const label = chilly.el("label", { class: "chilly-label", for: id });
    const number = recipe.entry(
      { class: "chilly-in chilly-num", id, inputmode: "decimal", "data-field": parameter.name },
      (typed) => recipe.act({ do: "set", step: name(), parameter: parameter.name, value: typed }, number),
    );
    const node = chilly.el("div", { class: "chilly-parameter" }, chilly.el("div", { class: "chilly-row" }, label, number));
    const bounded = Number.isFinite(parameter.low) && Number.isFinite(parameter.high) && parameter.high > parameter.low;
    const range = bounded ? slider(name, parameter) : null;
    if (range) {
      range.node.setAttribute("aria-label", title(parameter.name));
      node.append(range.node);
    }
    const update = (now) => {
      label.textContent = now.blocks ? `${title(now.name)}, overridden by block weights` : title(now.name);
      const single = now.blocks && recipe.mixerOf(name(), now.name);
      const value = single ? single.alpha : now.value;
      number.show(single ? String(single.alpha) : now.blocks && now.text.length > 12 ? "blocks" : now.text);
      number.title = now.text;
      if (range) range.update(value);
    };
    return { node, update };
  };

  /** The mixer's description of a step, where it is that step's `parameter` which the mixer shows. */
  recipe.mixerOf = (step, parameter) => {
    const mixer = chilly.view && chilly.view.mixer;
    return mixer && mixer.step === step && (!parameter || mixer.parameter === parameter) ? mixer : null;
  };

  const blocksChip = (name, parameter) => {
    let on = false;
    const chip = chilly.el("button", { type: "button", class: "chilly-chip", "data-field": `${parameter} blocks` });
    chip.addEventListener("click", () => recipe.act({ do: "blocks", step: name(), parameter, on: !on }, chip));
    const update = (now) => {
      on = Boolean(now.blocks);
      const mixer = recipe.mixerOf(name(), parameter);
      chip.setAttribute("aria-pressed", String(on));
      chip.classList.toggle("chilly-chip-on", on);
      chip.replaceChildren(...(on && mixer ? [recipe.thumb(mixer.list.slice(1))] : []), on ? "Block weights on" : "Block weights");
    };
    return { node: chip, update };
  };

  /** The fields of a step's parameters and the row below them: `{node, update(step)}`. */
  recipe.parameterFields = (name, step) => {
    const fields = step.parameters.map((parameter) => parameterField(name, parameter));
    const first = step.parameters.find((parameter) => parameter.per_block);
    const chip = first ? blocksChip(name, first.name) : null;
    const links = chilly.el(
      "span", { class: "chilly-row chilly-card-links" },
      recipe.button({ text: "Duplicate", look: "chilly-link", "data-field": "duplicate" }, (event) =>
        recipe.act({ do: "duplicate", step: name() }, event.target)),
      recipe.button({ text: "Remove", look: "chilly-link", "data-field": "remove" }, (event) =>
        recipe.act({ do: "remove", step: name() }, event.target)),
    );
    const foot = chilly.el("div", { class: "chilly-row chilly-card-foot" }, ...(chip ? [chip.node] : []), links);
    const node = chilly.el("div", { class: "chilly-step-parameters" }, ...fields.map((one) => one.node), foot);
    const update = (now) => {
      now.parameters.forEach((parameter, index) => fields[index].update(parameter));
      if (chip) chip.update(now.parameters.find((parameter) => parameter.name === first.name));
    };
    return { node, update };
  };
})();
