// What moves together, the curve tools, and random weights within limits.
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const mixer = (chilly.mixer ??= {});
  const ICONS = {
    Smooth: "M1 10C4 10 4 3 7 3s3 7 6 7",
    Ramp: "M1 11L13 2",
    Mirror: "M7 1v11M5 4L1 10h4zM9 4l4 6H9z",
    Invert: "M4 12V2M2 4l2-2 2 2M10 2v10M8 10l2 2 2-2",
    Random: "M1 4h2c4 0 3 6 7 6h2M1 10h2c1.6 0 2.4-1 3-2.2M8 5.6C8.5 4.6 9 4 10 4h2M10.5 2.5l1.7 1.5-1.7 1.5M10.5 8.5l1.7 1.5-1.7 1.5",
  };
  const SAYS = {
    Smooth: "Each weight nears its neighbours'",
    Ramp: "A straight line from the first to the last",
    Mirror: "The order reversed",
    Invert: "A and B changed over: 1 minus each weight",
  };
  let group = "One";
  let choices, panel, opener;

  /** The bars that move together, in the order of the list of numbers. */
  mixer.groupNames = () => {
    if (group === "One") return [];
    return group === "All" ? mixer.net.slots : mixer.net.groups[group] || [];
  };

  /** Whether a bar is one of those that move together. */
  mixer.inGroup = (name) => group !== "One" && mixer.groupNames().includes(name);

  // With One, tools act on every block but not on BASE.
  const scope = () => (group === "One" ? mixer.net.slots.slice(1) : mixer.groupNames());

  function choose(name) {
    group = name;
    for (const button of choices.children) button.setAttribute("aria-pressed", String(button.dataset.group === name));
    mixer.repaint();
  }

  /** Draws the groups of the net. */
  mixer.drawGroups = () => {
    const names = ["One", "All", ...Object.keys(mixer.net.groups)];
    choices.replaceChildren(
      ...names.map((name) => {
        const button = chilly.el("button", { type: "button", "data-group": name }, name);
        button.addEventListener("click", () => choose(name));
        return button;
      }),
    );
    choose(names.includes(group) ? group : "One");
  };

  function tool(name, act) {
    const button = chilly.el("button", { type: "button", class: "chilly-btn chilly-btn-s" });
    if (SAYS[name]) button.title = SAYS[name];
    button.append(chilly.icon(ICONS[name]), chilly.el("span", {}, name));
    button.addEventListener("click", () => mixer.ready() && act());
    return button;
  }

  const sayDone = (what) => (problem) => problem || chilly.say(`${what}: ${group === "One" ? "every block" : group}.`);

  function curve(name) {
    return tool(name, () => mixer.send({ do: "curve", curve: name.toLowerCase(), lanes: scope() }, sayDone(name)));
  }

  function number(label, attributes) {
    const input = chilly.el("input", { class: "chilly-in chilly-num", type: "number", ...attributes });
    return { input, node: chilly.el("label", { class: "chilly-row" }, chilly.el("span", { class: "chilly-cap" }, label), input) };
  }

  function random() {
    const seed = number("Seed", { value: "1", min: "0", step: "1" });
    const low = number("from", { value: "0", step: "0.05" });
    const high = number("to", { value: "1", step: "0.05" });
    const roll = chilly.el("button", { type: "button", class: "chilly-btn chilly-btn-s" }, "Set");
    const next = chilly.el("button", { type: "button", class: "chilly-btn chilly-btn-s" }, "Next seed");
    const apply = () => {
      if (!mixer.ready()) return;
      const values = { seed: Number(seed.input.value), low: Number(low.input.value), high: Number(high.input.value) };
      mixer.send({ do: "random", ...values, lanes: scope() }, sayDone(`Random weights, seed ${values.seed}`));
    };
    roll.addEventListener("click", apply);
    next.addEventListener("click", () => {
      seed.input.value = String(Number(seed.input.value) + 1);
      apply();
    });
    panel = chilly.el("div", { class: "chilly-random", id: "chilly_mixer_random", role: "group", "aria-label": "Random weights", hidden: "" });
    panel.append(chilly.el("span", { class: "chilly-cap" }, "Random weights"), seed.node, low.node, high.node, roll, next);
    panel.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && event.target.matches("input")) apply();
      if (event.key !== "Escape") return;
      event.stopPropagation();
      toggle();
    });
    return panel;
  }

  function toggle() {
    panel.hidden = !panel.hidden;
    opener.setAttribute("aria-expanded", String(!panel.hidden));
    (panel.hidden ? opener : panel.querySelector("input")).focus();
  }

  /** Makes the row of groups and tools. */
  mixer.makeTools = () => {
    choices = chilly.el("div", { class: "chilly-seg", role: "group", "aria-label": "Blocks that move together" });
    opener = tool("Random", toggle);
    opener.lastChild.className = "chilly-vh"; // the row is full
    opener.title = "Random weights";
    opener.setAttribute("aria-expanded", "false");
    opener.setAttribute("aria-controls", "chilly_mixer_random");
    const tools = ["Smooth", "Ramp", "Mirror", "Invert"].map(curve);
    return chilly.el(
      "div",
      { class: "chilly-tools" },
      chilly.el("div", { class: "chilly-row" }, chilly.el("span", { class: "chilly-cap" }, "Move"), choices),
      chilly.el("div", { class: "chilly-row chilly-curves", role: "group", "aria-label": "Curve tools" }, ...tools, opener),
      random(),
    );
  };
})();
