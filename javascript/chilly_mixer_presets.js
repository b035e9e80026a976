// The presets, drawn as curves: a row of well-known ones, and all others in a list that can be searched.
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const mixer = (chilly.mixer ??= {});
  const FIRST = ["GRAD_V", "GRAD_A", "COSINE", "WRAP12", "MID12_50", "OUT12_5", "RING08_5", "FLAT_75"];
  const NEAR = 0.006; // weights are shown and painted in hundredths
  let row, list, search, more, buttons;
  let active = null; // the preset of the list that the button to the list shows

  /** Numbers from 0 to 1 as a small curve. */
  mixer.curve = (numbers, width = 60, height = 22) => {
    const x = (i) => (((i + 0.5) * width) / numbers.length).toFixed(1);
    const y = (weight) => (height - 3 - mixer.clamp(weight) * (height - 6)).toFixed(1);
    const line = `M${numbers.map((weight, i) => `${x(i)} ${y(weight)}`).join("L")}`;
    const area = `${line}L${x(numbers.length - 1)} ${height}L${x(0)} ${height}Z`;
    return chilly.svg(
      "svg",
      { viewBox: `0 0 ${width} ${height}`, width, height, preserveAspectRatio: "none", "aria-hidden": "true" },
      chilly.svg("path", { d: area, class: "chilly-curve-area" }),
      chilly.svg("path", { d: line, class: "chilly-curve-line" }),
    );
  };

  function button(name, numbers) {
    const node = chilly.el("button", { type: "button", class: "chilly-pre", title: name, "aria-label": `Preset ${name}`, "aria-pressed": "false" });
    node.append(mixer.curve(numbers.slice(1)), chilly.el("span", {}, name));
    node.addEventListener("click", () => {
      if (mixer.ready()) mixer.send({ do: "preset", name }, (problem) => problem || chilly.say(`Preset ${name}.`));
    });
    buttons.set(name, { node, numbers });
    return node;
  }

  const dots = () =>
    chilly.svg("svg", { viewBox: "0 0 60 22", "aria-hidden": "true" }, ...[22, 30, 38].map((cx) => chilly.svg("circle", { cx, cy: 11, r: 2, fill: "currentColor" })));

  function open(on) {
    list.hidden = !on;
    more.setAttribute("aria-expanded", String(on));
    if (on) search.focus();
    else {
      search.value = "";
      sift();
    }
  }

  function sift() {
    const wanted = search.value.trim().toLowerCase();
    for (const [name, { node }] of buttons) {
      if (list.contains(node)) node.hidden = !name.toLowerCase().includes(wanted);
    }
  }

  /** Draws the presets of the net. */
  mixer.drawPresets = () => {
    const { presets } = mixer.net;
    const names = Object.keys(presets);
    const known = FIRST.filter((name) => name in presets);
    const others = names.filter((name) => !known.includes(name));
    buttons = new Map();
    active = null;
    more = chilly.el("button", { type: "button", class: "chilly-pre", "aria-expanded": "false", "aria-controls": "chilly_mixer_presets" });
    more.append(dots(), chilly.el("span", {}, `${others.length} more`));
    more.addEventListener("click", () => open(list.hidden));
    more.hidden = !others.length;
    row.replaceChildren(...known.map((name) => button(name, presets[name])), more);
    list.lastChild.replaceChildren(...others.map((name) => button(name, presets[name])));
    open(false);
  };

  /** Shows which preset the engine's numbers are. */
  mixer.markPreset = () => {
    const numbers = mixer.shown.on ? mixer.shown.list : [];
    let hidden = "";
    for (const [name, { node, numbers: preset }] of buttons) {
      const same = numbers.length === preset.length && preset.every((weight, i) => Math.abs(weight - numbers[i]) < NEAR);
      node.setAttribute("aria-pressed", String(same));
      if (same && list.contains(node)) hidden = name;
    }
    if (hidden === active) return;
    active = hidden;
    more.firstChild.replaceWith(hidden ? mixer.curve(mixer.net.presets[hidden].slice(1)) : dots());
    more.lastChild.textContent = hidden || `${list.lastChild.childElementCount} more`;
    more.classList.toggle("chilly-pre-on", Boolean(hidden));
    more.setAttribute("aria-label", hidden ? `${hidden} is active; more presets` : `${list.lastChild.childElementCount} more presets`);
  };

  /** Makes the place for the presets. */
  mixer.makePresets = () => {
    row = chilly.el("div", { class: "chilly-presets", role: "group", "aria-label": "Presets" });
    search = chilly.el("input", { class: "chilly-in", type: "search", placeholder: "Find a preset", "aria-label": "Find a preset" });
    list = chilly.el("div", { class: "chilly-pre-list", id: "chilly_mixer_presets", hidden: "" }, search, chilly.el("div", { class: "chilly-presets" }));
    search.addEventListener("input", sift);
    list.addEventListener("keydown", (event) => {
      if (event.key !== "Escape") return;
      event.stopPropagation();
      open(false);
      more.focus();
    });
    return chilly.el("div", { class: "chilly-tools" }, row, list);
  };
})();
