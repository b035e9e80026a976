// The layout of models without skips (SD 3, Flux): rails of upright bars, left to right in the order in which data flows.
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const mixer = (chilly.mixer ??= {});
  const TITLES = {
    J: "Joint blocks: text and picture together",
    D: "Double blocks: text and picture side by side",
    S: "Single blocks: one stream",
  };

  /** Adds rails to a layout; returns where they end. */
  mixer.layoutRails = (layout, net, frame) => {
    const rails = net.rails.filter((rail) => rail.length);
    const one = rails.length < 2;
    const height = one ? 330 : 160;
    rails.forEach((names, i) => placeRail(layout, names, frame, { y: frame.top + 20 + i * (height + 70), height, one }));
    layout.arms = rails;
    if (!rails.length) return frame.top + 200; // a VAE alone has nothing but lanes
    return frame.top + 20 + rails.length * height + Math.max(0, rails.length - 1) * 70 + 48;
  };

  function placeRail(layout, names, frame, rail) {
    const gap = names.length > 30 ? 2 : 3;
    const span = frame.right - frame.left;
    const width = (span - gap * (names.length - 1)) / names.length;
    const every = rail.one ? 4 : 5;
    const named = rail.one && width >= 13;
    layout.captions.push({ x: frame.left, y: rail.y - 24, w: span, text: TITLES[names[0].replace(/\d+$/, "")] || "Blocks" });
    layout.rails.push({ x: frame.left - 8, y: rail.y - 6, w: span + 16, h: rail.height + 12 });
    names.forEach((name, i) => {
      const x = frame.left + i * (width + gap);
      const centre = x + width / 2;
      layout.bars[name] = { x, y: rail.y, w: width, h: rail.height, upright: true, slim: true, named };
      layout.dots.push({ name, x: centre, y: rail.y + rail.height + 14, r: Math.min(4, width / 2.6), text: "none" });
      const last = i === names.length - 1;
      const crowded = !last && names.length - 1 - i < every && (names.length - 1 - i) * (width + gap) < 26;
      if ((i % every === 0 && !crowded) || last) layout.ticks.push({ x: centre, y: rail.y + rail.height + 33, text: name });
    });
  }
})();
