// The bars: made once for a net, placed when the width changes, painted one by one when their weight does. A bar's weight is the
// engine's, or, while a stroke goes on, the pointer's; painting touches only bars that changed, once per frame.
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const mixer = (chilly.mixer ??= {});
  const BASE = "text encoders"; // no lane of its own: it stands for those that follow it
  const bars = new Map(); // name -> bar
  const dirty = new Set();
  let frame = 0;
  mixer.bars = bars;
  mixer.stroked = new Map(); // name -> weight, while a stroke is not yet in the engine's view

  /** The engine's number of a lane, or of a transformer layer that does not have its block's; else undefined. */
  mixer.known = (name) => mixer.shown.values[name] ?? mixer.shown.layers[name];

  /** What a lane, or a layer, follows until it is moved. */
  mixer.leader = (name) => mixer.net.follows[name] ?? mixer.blockOf(name);

  /** The weight that a bar stands at. What follows moves with the bar that it follows. */
  mixer.weight = (name) => {
    if (mixer.stroked.has(name)) return mixer.stroked.get(name);
    const leader = mixer.leader(name);
    if (mixer.linked(name) && mixer.stroked.has(leader)) return mixer.stroked.get(leader);
    return mixer.known(name) ?? mixer.shown.values[leader] ?? mixer.shown.alpha ?? 0;
  };

  /** Whether a lane beside the blocks, or a layer of a block, follows another bar. */
  mixer.linked = (name) => {
    if (name === "BASE" || mixer.stroked.has(name)) return false;
    return mixer.blockOf(name) ? !(name in mixer.shown.layers) : mixer.shown.linked.includes(name);
  };

  /** A weight as text: two decimals, more where these would say 0 or 1 of a weight that is neither. */
  mixer.format = (weight) => {
    const rounded = weight.toFixed(2);
    const fine = Number.isInteger(Number(rounded)) && Number(rounded) !== weight;
    return (fine ? String(+weight.toFixed(4)) : rounded).replace("-", "\u2212");
  };

  const says = (name) => {
    if (mixer.blockOf(name)) return "transformer layer";
    return name === "BASE" ? BASE : (mixer.net.lanes.find((lane) => lane.name === name) || { says: "" }).says;
  };

  function text(name, place) {
    const kind = place.slim ? (place.named ? name : "") : place.lane ? says(name) : place.layer ? name.slice(name.indexOf(".")) : name;
    const lead = place.lane && !place.upright ? `${name} ` : "";
    const label = chilly.el("span", {}, lead + kind);
    const follows = chilly.el("em");
    const figure = chilly.el("b");
    const node = chilly.el("div", { class: "chilly-bar-x" });
    if (kind) node.append(label);
    if (place.lane) label.append(follows);
    if (!place.slim) node.append(figure);
    return { node, follows, figure };
  }

  function make(name, place) {
    const under = text(name, place);
    const over = text(name, place);
    const fill = chilly.el("div", { class: "chilly-bar-f" }, over.node);
    const kind = `${place.upright ? " chilly-bar-v" : ""}${place.slim ? " chilly-bar-n" : ""}${place.layer ? " chilly-bar-l" : ""}`;
    const node = chilly.el("div", { class: `chilly-bar${kind}`, role: "slider", tabindex: "-1", "data-lane": name }, under.node, fill, chilly.el("i", { class: "chilly-bar-k" }));
    node.setAttribute("aria-orientation", place.upright ? "vertical" : "horizontal");
    return { name, node, texts: [under, over], place, stamp: "" };
  }

  /** Makes the bars of a layout anew, in the order of the data flow, and gives them to the stage. */
  mixer.makeBars = (stage, order, layout) => {
    bars.clear();
    for (const name of order) if (layout.bars[name]) bars.set(name, make(name, layout.bars[name]));
    stage.replaceChildren(mixer.wires, ...[...bars.values()].map((bar) => bar.node), ...mixer.makeChevrons());
  };

  /** Puts the bars and the drawing behind them where the layout has them. */
  mixer.placeBars = (stage, layout) => {
    stage.style.height = `${layout.height}px`;
    stage.classList.toggle("chilly-tight", layout.tight);
    for (const bar of bars.values()) {
      bar.place = layout.bars[bar.name];
      const { x, y, w, h } = bar.place;
      Object.assign(bar.node.style, { left: `${x}px`, top: `${y}px`, width: `${w}px`, height: `${h}px` });
    }
    for (const old of stage.querySelectorAll(".chilly-cap-abs")) old.remove();
    for (const { x, y, w, text: words } of layout.captions) {
      const node = chilly.el("div", { class: "chilly-cap-abs", "aria-hidden": "true" }, words);
      Object.assign(node.style, { left: `${x}px`, top: `${y}px`, width: `${w}px` });
      stage.append(node);
    }
    mixer.placeChevrons(layout);
    mixer.drawWires(layout);
  };

  /** Whether the weights say how much there is of A and of B. */
  mixer.mixes = () => ["alpha", "beta"].includes(mixer.shown.parameter);

  function meaning(weight) {
    const { a, b, whole, parameter } = mixer.shown;
    if (!mixer.mixes()) return parameter;
    if (whole) return weight === 0 ? `only ${a}` : `${a} and ${mixer.format(weight)} of ${b}`;
    if (weight === 0) return `all ${a}`;
    if (weight === 1) return `all ${b}`;
    if (weight < 0 || weight > 1) return "outside 0 to 1";
    if (weight === 0.5) return "half and half";
    return `mostly ${weight < 0.5 ? a : b}`;
  }

  /** A bar's weight in words, for those who hear it. */
  mixer.spoken = (name) => {
    const weight = mixer.weight(name);
    const follows = mixer.linked(name) ? `, follows ${mixer.leader(name)}` : "";
    return `${+weight.toFixed(4)}, ${meaning(weight)}${follows}`;
  };

  function paint(bar) {
    const weight = mixer.weight(bar.name);
    const linked = mixer.linked(bar.name);
    const chosen = mixer.inGroup(bar.name);
    const stamp = `${weight} ${linked} ${chosen} ${mixer.shown.a} ${mixer.shown.b}`;
    if (bar.stamp === stamp) return;
    bar.stamp = stamp;
    const { node, place } = bar;
    const { style } = node;
    const share = mixer.clamp(weight);
    style.setProperty("--c", mixer.shade(linked ? "linked" : "fill", weight));
    style.setProperty("--e", mixer.shade("edge", weight));
    style.setProperty("--t", mixer.shade("track", weight));
    const rest = `${(1 - share) * 100}%`;
    style.setProperty("--clip", place.upright ? `inset(${rest} 0 0 0)` : `inset(0 ${rest} 0 0)`);
    style.setProperty("--k", `clamp(2px, calc(${(place.upright ? 1 - share : share) * 100}% - 1.5px), calc(100% - 5px))`);
    const figure = mixer.format(weight);
    for (const part of bar.texts) {
      part.figure.textContent = figure;
      part.follows.textContent = linked ? `, as ${mixer.leader(bar.name)}` : "";
    }
    node.dataset.link = linked;
    node.dataset.group = chosen;
    node.dataset.outside = weight > 1 ? "over" : weight < 0 ? "under" : "";
    node.setAttribute("aria-valuemin", Math.min(0, weight));
    node.setAttribute("aria-valuemax", Math.max(1, weight));
    node.setAttribute("aria-valuenow", +weight.toFixed(4));
    node.setAttribute("aria-valuetext", mixer.spoken(bar.name));
  }

  /** Paints these bars, or all, in the next frame. */
  mixer.repaint = (names) => {
    for (const name of names || bars.keys()) dirty.add(name);
    frame = frame || requestAnimationFrame(() => {
      frame = 0;
      mixer.paintNow();
    });
  };

  /** Paints what waits to be painted. */
  mixer.paintNow = () => {
    for (const name of dirty) if (bars.has(name)) paint(bars.get(name));
    dirty.clear();
    mixer.readOut();
  };

  /** Forgets what was painted, after a change of colours. */
  mixer.forgetPainted = () => bars.forEach((bar) => (bar.stamp = ""));

  /** Names every bar for screen readers: what the block is and how alike the two models are there. */
  mixer.nameBars = () => {
    for (const { name, node } of bars.values()) {
      const alike = mixer.alike(name);
      const label = [name, says(name), alike == null ? "" : `${chilly.figure(alike)} % alike`].filter(Boolean).join(", ");
      node.setAttribute("aria-label", label);
    }
  };
})();
