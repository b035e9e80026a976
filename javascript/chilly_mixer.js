// The mixer: the picture of the network is the control. This file puts it together and keeps it in step with the open step of the
// recipe; colours, layout, bars, strokes, pointer, keyboard, tools and numbers are in the files beside it.
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const mixer = (chilly.mixer ??= {});
  const EMPTY = { step: "", parameter: "", a: "A", b: "B", values: {}, layers: {}, linked: [], list: [], list_text: "", outside: [], addresses: [], alpha: 0.5 };
  const nets = new Map(); // architecture -> NET
  let root, title, pick, legend, scale, status, read, none, layerHint, undo, redo, body;
  mixer.shown = EMPTY;
  mixer.net = null;
  mixer.arms = [];
  mixer.current = "";

  /** Whether there is something to be changed. */
  mixer.ready = () => Boolean(mixer.net && mixer.shown.step);

  const netOf = async (architecture) => {
    if (!nets.has(architecture)) nets.set(architecture, await chilly.ask("net", { architecture }));
    return nets.get(architecture);
  };

  function makeHead() {
    const button = (text, act, icon) => {
      const node = chilly.el("button", { type: "button", class: "chilly-btn chilly-btn-s" }, chilly.el("span", {}, text));
      if (icon) node.prepend(chilly.icon(icon));
      node.addEventListener("click", act);
      return node;
    };
    title = chilly.el("h2", {}, "Block weights");
    pick = chilly.el("select", { class: "chilly-in chilly-address", "aria-label": "Which of the step's parameters the mixer shows" });
    pick.addEventListener("change", openAddress);
    undo = button("Undo", () => mixer.goBack(chilly.undo), "M5 2.5L2 5.5l3 3M2.4 5.5H9a3 3 0 010 6H6");
    redo = button("Redo", () => mixer.goBack(chilly.redo));
    return chilly.el("div", { class: "chilly-h" }, title, chilly.el("div", { class: "chilly-row" }, chilly.el("span", { class: "chilly-pick" }, pick), undo, redo));
  }

  function openAddress() {
    chilly.open(mixer.shown.step, pick.value);
  }

  function makeLegend() {
    scale = chilly.el("div", { class: "chilly-scale", "aria-hidden": "true" });
    const key = (name) => chilly.el("i", { class: `chilly-key chilly-key-${name}` });
    legend = { a: [chilly.el("span"), chilly.el("b")], b: [chilly.el("span"), chilly.el("b")] };
    const [left, right] = [chilly.el("span", {}, key("a"), legend.a), chilly.el("span", {}, legend.b, key("b"))];
    return chilly.el("div", { class: "chilly-legend" }, left, scale, right);
  }

  function makeHints() {
    const key = (...names) => names.flatMap((name) => [chilly.el("kbd", {}, name), " "]);
    const hint = (...parts) => chilly.el("span", {}, ...parts);
    return chilly.el(
      "div",
      { class: "chilly-keys", id: "chilly_mixer_keys" },
      hint("Drag to set, across bars to paint"),
      hint("Double-click to reset"),
      hint(...key("\u2190", "\u2192"), "change"),
      hint(...key("\u2191", "\u2193"), "next block"),
      (layerHint = hint(...key("Enter"), "opens a block's layers")),
      chilly.el("span", { class: "chilly-row chilly-keys-alike" }, chilly.el("i", { class: "chilly-dotkey" }), "how alike, %"),
    );
  }

  function make(into) {
    root = into;
    mixer.wires = chilly.svg("svg", { class: "chilly-wires", "aria-hidden": "true" });
    mixer.stage = chilly.el("div", { class: "chilly-stage", role: "group", "aria-label": "Block weights", "aria-describedby": "chilly_mixer_keys" }, mixer.wires);
    read = chilly.el("div", { class: "chilly-read chilly-note", "aria-hidden": "true", hidden: "" });
    status = chilly.el("div", { class: "chilly-err", hidden: "", role: "alert" });
    none = chilly.el("p", { class: "chilly-none", hidden: "" });
    body = chilly.el("div", { class: "chilly-mix" }, mixer.makePresets(), mixer.makeTools(), makeLegend(), status, none, mixer.stage, read, makeHints(), mixer.makeNumbers());
    root.append(makeHead(), body);
    mixer.listenPointer(mixer.stage);
    mixer.listenKeys(mixer.stage);
    recolour();
    new ResizeObserver(() => mixer.net && mixer.relayout()).observe(mixer.stage);
    chilly.on("view", sync);
    chilly.on("theme", recolour);
    chilly.on("alike", remeasure);
    chilly.on("undo", () => drawHead(chilly.view || {}, chilly.view && chilly.view.mixer));
    sync();
  }

  function recolour() {
    mixer.readColours(root);
    const keys = [0, 0.25, 0.5, 0.75, 1].map((share) => mixer.shade("key", share));
    scale.style.background = `linear-gradient(to right, ${keys.join(",")})`;
    if (!mixer.net) return;
    mixer.forgetPainted();
    mixer.relayout();
  }

  function remeasure() {
    if (!mixer.net) return;
    mixer.relayout();
    mixer.nameBars();
    mixer.readOut();
  }

  /** Lays everything out anew, after a change of width, net or layers that are shown. */
  mixer.relayout = () => {
    const lanes = mixer.sideLanes(mixer.net, mixer.shown.linked);
    const width = mixer.stage.clientWidth;
    if (!width) return; // hidden: the observer calls again
    const layout = mixer.layout(mixer.net, lanes, width, (name) => mixer.alike(name) !== null);
    const order = [...lanes.left, ...mixer.net.slots.slice(1).flatMap((slot) => [slot, ...mixer.openLayers(slot)]), ...lanes.right];
    const shape = JSON.stringify([mixer.net.name, order, layout.tight, Object.values(layout.bars).map((bar) => [bar.upright, bar.named, bar.slim])]);
    mixer.arms = layout.arms;
    const anew = mixer.shape !== shape;
    if (anew) rebuild(order, layout);
    mixer.shape = shape;
    mixer.placeBars(mixer.stage, layout);
    mixer.fitNumbers();
    mixer.repaint();
    if (anew) mixer.paintNow(); // no slider without its value, not even for a frame
  };

  function rebuild(order, layout) {
    const focused = [...mixer.bars.values()].some((bar) => bar.node === document.activeElement);
    mixer.makeBars(mixer.stage, order, layout);
    mixer.nameBars();
    const first = mixer.bars.has(mixer.current) ? mixer.current : mixer.net.slots[1] || order[0];
    if (focused) mixer.focusBar(first);
    else mixer.bars.get(first).node.tabIndex = 0;
    read.hidden = !hasSlim();
  }

  async function sync() {
    const view = chilly.view || {};
    const shown = view.unmixed ? null : (view.ok ? view.mixer : view.mixer || (chilly.good && chilly.good.mixer)) || null;
    const wanted = (shown && shown.net) || (!view.unmixed && view.architecture) || "sd1";
    const net = await netOf(wanted).catch(() => null);
    if (!net || view !== (chilly.view || view)) return; // overtaken
    const changed = net !== mixer.net;
    const placed = () => JSON.stringify([mixer.shown.linked, mixer.isMeasured()]);
    const before = placed();
    mixer.shown = shown || { ...EMPTY, linked: Object.keys(net.follows) };
    mixer.net = net;
    if (changed) {
      mixer.drawPresets();
      mixer.drawGroups();
      layerHint.hidden = !mixer.net.slots.some(mixer.hasLayers);
    }
    if (changed || before !== placed()) mixer.relayout();
    mixer.markLayers();
    drawHead(view, shown);
    mixer.markPreset();
    mixer.drawNumbers();
    mixer.repaint();
  }

  function drawLegend() {
    const { a, b, whole, parameter } = mixer.shown;
    const texts = mixer.mixes() ? [whole ? "0 leaves " : "0 is ", a, whole ? "1 adds " : "1 is ", b] : [`${parameter} `, "0", `${parameter} `, "1"];
    [...legend.a, ...legend.b].forEach((node, i) => (node.textContent = texts[i]));
  }

  function drawHead(view, shown) {
    const parameter = shown && shown.parameter !== "alpha" ? `, ${shown.parameter}` : "";
    title.textContent = shown ? `Block weights of ${shown.step}${parameter}` : "Block weights";
    none.hidden = Boolean(shown);
    body.classList.toggle("chilly-unmixed", Boolean(view.unmixed));
    if (view.unmixed) none.textContent = view.unmixed;
    else if (!view.step) none.textContent = "Every block of the network becomes a bar to drag.";
    else if (view.ok && view.architecture) none.textContent = `${view.step} has no weights to set.`;
    else none.textContent = `The weights of ${view.step} can be set once its models are found.`;
    body.classList.toggle("chilly-pale", !shown);
    for (const part of body.children) part.inert = !shown && part !== none;
    drawLegend();
    const parameters = mixer.shown.addresses.filter(({ step }) => step === mixer.shown.step).map((address) => address.parameter);
    pick.parentNode.hidden = parameters.length < 2;
    pick.replaceChildren(...parameters.map((name) => chilly.el("option", {}, name)));
    pick.value = mixer.shown.parameter;
    undo.disabled = !chilly.canUndo();
    redo.disabled = !chilly.canRedo();
  }

  // A net whose bars are too narrow for text, or one with layers that are.
  const hasSlim = () => [...mixer.bars.values()].some((bar) => bar.place.slim);

  /** The line below bars that are too narrow for text: the focused bar's name, weight and likeness. */
  mixer.readOut = () => {
    if (!mixer.net || !hasSlim()) return;
    const name = mixer.bars.has(mixer.current) ? mixer.current : "";
    const alike = name ? mixer.alike(name) : null;
    const text = name ? `${name} ${mixer.format(mixer.weight(name))}${alike == null ? "" : `, ${chilly.figure(alike)} % alike`}` : "Press a bar to read its name and value";
    if (read.textContent !== text) read.textContent = text;
  };

  /** Shows the engine's sentence at the mixer, or takes it away. */
  mixer.problem = (message) => {
    status.hidden = !message;
    status.textContent = message;
  };

  /** Says once what a stroke has done. */
  mixer.announce = (names) => {
    const [first] = names;
    if (names.length === 1) chilly.say(`${first} ${mixer.spoken(first)}.`);
    else chilly.say(`${names.length} blocks set, ${first} ${mixer.format(mixer.weight(first))} to ${names[names.length - 1]} ${mixer.format(mixer.weight(names[names.length - 1]))}.`);
  };

  (chilly.parts ??= {}).mixer = make;
})();
