// What lies behind the bars: the band of the U, the skip lines, the rails, and how alike the two models are, as dots and figures.
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const mixer = (chilly.mixer ??= {});

  /** Whether it was measured how alike the two models are that the bars mix. */
  mixer.isMeasured = () => {
    const of = chilly.good?.mixer;
    return Boolean(chilly.alike?.unit && of) && of.a === mixer.shown.a && of.b === mixer.shown.b;
  };

  /** How alike A and B are in a block, in per cent, or null where nothing was measured. */
  mixer.alike = (name) => (mixer.isMeasured() ? (chilly.alike.blocks[name] ?? null) : null);

  function dot({ name, x, y, r = 4.5, text }, tight) {
    const alike = mixer.alike(name);
    if (alike == null) return [];
    const parts = [chilly.svg("circle", { cx: x, cy: y, r, class: "chilly-dot", fill: mixer.heat(alike) })];
    if (text === "none" || tight) return parts;
    const start = text === "start";
    const label = { x: x + (start ? 9 : -9), y: y + 4, class: "chilly-dot-t", "text-anchor": text };
    const figure = alike < 100 ? Math.min(99, Math.round(alike)) : 100; // 100 says that they are the same
    return [...parts, chilly.svg("text", label, String(figure))];
  }

  /** Draws everything behind the bars anew. */
  mixer.drawWires = (layout) => {
    const rails = layout.rails.map(({ x, y, w, h }) => chilly.svg("rect", { x, y, width: w, height: h, rx: 8, class: "chilly-band" }));
    const band = layout.band ? [chilly.svg("path", { d: layout.band, class: "chilly-band chilly-band-u" })] : [];
    const skips = layout.skips.map(({ d, of }) => chilly.svg("path", { d, class: "chilly-skip", "data-of": of.join(" ") }));
    const flow = layout.flow.map((d) => chilly.svg("path", { d, class: "chilly-flow" }));
    const ticks = layout.ticks.map(({ x, y, text }) => chilly.svg("text", { x, y, class: "chilly-dot-t", "text-anchor": "middle" }, text));
    const dots = layout.dots.flatMap((one) => dot(one, layout.tight));
    mixer.wires.replaceChildren(...band, ...rails, ...skips, ...flow, ...ticks, ...dots);
    mixer.stage.classList.toggle("chilly-measured", dots.length > 0);
    if (mixer.stage.contains(document.activeElement)) mixer.light(mixer.current);
  };

  /** Lights the skip line of a block, or none. */
  mixer.light = (name) => {
    for (const line of mixer.wires.querySelectorAll(".chilly-skip")) {
      line.classList.toggle("chilly-lit", Boolean(name) && line.dataset.of.split(" ").includes(name));
    }
  };
})();
