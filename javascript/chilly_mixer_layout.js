// Where everything of the mixer stands, as plain numbers: nothing here touches the page. A layout is
// {height, tight, bars: {name: {x, y, w, h, upright}}, captions, band, rails, skips, flow, dots, ticks, arms, chevrons}.
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const mixer = (chilly.mixer ??= {});
  const ROW = 29; // a bar's height
  const GAP = 5; // between bars
  const LEVEL = 17; // more between two resolutions, room for their caption
  const TOP = 22;
  const MARGIN = 7; // of the band round the bars
  const CHEVRON = 24; // room for what opens a block's layers
  const LAYER = 34; // a layer's height
  const NAMED = 56; // a layer's width that has room for text

  /** The lanes beside the blocks: {left, right}. Text encoders have one bar, BASE, until a recipe sets one apart. */
  mixer.sideLanes = (net, linked) => {
    const outside = net.lanes.filter((lane) => !net.slots.includes(lane.name));
    const last = net.slots[net.slots.length - 1];
    const apart = outside.filter((lane) => lane.slot === "BASE" && lane.name !== "VAE" && !linked.includes(lane.name));
    const rest = outside.filter((lane) => lane.slot !== "BASE");
    const names = (lanes) => lanes.map((lane) => lane.name);
    return {
      left: ["BASE", ...names(apart), ...names(rest.filter((lane) => lane.slot !== last))],
      right: [...names(rest.filter((lane) => lane.slot === last)), ...names(outside.filter((lane) => lane.name === "VAE"))],
    };
  };

  /** The layout for a stage of this width; measured(name) says whether a dot stands beside a block. */
  mixer.layout = (net, lanes, width, measured) => {
    const count = lanes.left.length + lanes.right.length;
    const rows = width < 300 + 33 * count; // a phone: lanes lie above and below, so the blocks have the whole width
    const tight = width < 500;
    const lane = tight ? 26 : 32;
    const beside = (count) => (rows ? 11 : count * (lane + 7) + (tight ? 4 : 12));
    const frame = {
      width, rows, tight, lane, measured,
      left: beside(lanes.left.length),
      right: width - beside(lanes.right.length),
      top: TOP + (rows ? lanes.left.length * (ROW + GAP) : 0),
    };
    const layout = { tight, bars: {}, captions: [], rails: [], skips: [], flow: [], dots: [], ticks: [], arms: [], chevrons: [], band: "" };
    const bottom = net.kind === "u" ? unet(layout, net, frame) : mixer.layoutRails(layout, net, frame);
    layout.height = placeLanes(layout, lanes, frame, bottom);
    return layout;
  };

  function placeLanes(layout, lanes, frame, bottom) {
    const { width, lane } = frame;
    if (frame.rows) {
      const row = (name, y) => (layout.bars[name] = { x: 0, y, w: width, h: ROW, lane: true });
      lanes.left.forEach((name, i) => row(name, i * (ROW + GAP)));
      lanes.right.forEach((name, i) => row(name, bottom + 14 + i * (ROW + GAP)));
      return bottom + 14 + lanes.right.length * (ROW + GAP);
    }
    const column = (name, x) => {
      layout.bars[name] = { x, y: TOP, w: lane, h: bottom - TOP, upright: true, lane: true };
      layout.captions.push({ x: x - 6, y: 0, w: lane + 12, text: name });
    };
    lanes.left.forEach((name, i) => column(name, i * (lane + 7)));
    [...lanes.right].reverse().forEach((name, i) => column(name, width - lane - i * (lane + 7)));
    return bottom + 12;
  }

  // The U of SD 1, SD 2 and SDXL: each row holds a skip pair, each resolution one step of the band.
  function unet(layout, net, frame) {
    const span = frame.right - frame.left;
    const starts = net.resolutions.map((level) => level.after);
    const depth = Math.max(1, starts.length - 1);
    const chevron = Object.keys(net.layers).length ? CHEVRON : 0;
    const arm = frame.tight ? Math.floor((span - 8 * depth - 66) / 2) : Math.min(230, Math.round(span * 0.345));
    const u = {
      ...frame, span, starts, chevron, arm, bar: arm - chevron,
      indent: frame.tight ? 4 : mixer.clamp((span - arm * 2 - 90) / (2 * depth), 4, 15),
      mirror: (x) => frame.left + frame.right - x,
      level: (row) => starts.filter((start) => start <= row).length - 1,
    };
    const below = (blocks) => (blocks.some((block) => mixer.openLayers(block).length) ? LAYER + GAP : 0);
    const grown = net.rows.map((_, row) => net.rows.slice(0, row).reduce((sum, pair) => sum + below(pair), 0));
    u.rowY = (row) => frame.top + row * (ROW + GAP) + Math.max(0, u.level(row)) * LEVEL + grown[row];
    u.last = u.rowY(net.rows.length - 1) + ROW + below(net.rows[net.rows.length - 1]);
    u.middle = u.last + 26;
    u.bottom = u.middle + ROW + below(["M00"]);
    layout.arms = [net.rows.map((pair) => pair[0]), net.rows.map((pair) => pair[1])];
    net.rows.forEach((pair, row) => placePair(layout, u, pair, row));
    placeBlock(layout, u, "M00", { x: (frame.left + frame.right - u.arm) / 2, y: u.middle });
    layout.dots.push({ name: "M00", x: (frame.left + frame.right + u.arm) / 2 + 14, y: u.middle + ROW / 2, text: "start" });
    captions(layout, u, net);
    layout.band = band(u);
    layout.flow = flow(u);
    return u.bottom + (frame.rows ? 8 : 0);
  }

  // A block's bar with its chevron on the outer side and, where they are open, its layers below both.
  function placeBlock(layout, u, name, { x, y, mirrored = false }) {
    layout.bars[name] = { x: x + (mirrored ? 0 : u.chevron), y, w: u.bar, h: ROW };
    if (!mixer.hasLayers(name)) return;
    layout.chevrons.push({ name, x: mirrored ? x + u.bar : x, y, w: u.chevron, h: ROW });
    const layers = mixer.openLayers(name);
    const w = (u.arm + 2) / layers.length - 2;
    const place = { y: y + ROW + GAP, w, h: LAYER, upright: true, layer: true, slim: w < NAMED };
    layers.forEach((layer, i) => (layout.bars[layer] = { ...place, x: x + i * (w + 2) }));
    layout.arms.push(layers);
  }

  function placePair(layout, u, [input, output], row) {
    const shift = u.level(row) * u.indent;
    const left = u.left + shift;
    const y = u.rowY(row);
    const right = u.mirror(left) - u.arm;
    placeBlock(layout, u, input, { x: left, y });
    placeBlock(layout, u, output, { x: right, y, mirrored: true });
    const room = (name) => (u.measured(name) ? (u.tight ? 22 : 42) : 5); // a figure has up to three digits
    const from = left + u.arm + MARGIN + room(input);
    const to = right - MARGIN - room(output);
    const middle = y + ROW / 2;
    if (u.measured(input)) layout.dots.push({ name: input, x: left + u.arm + MARGIN + 9.5, y: middle, text: "start" });
    if (u.measured(output)) layout.dots.push({ name: output, x: right - MARGIN - 9.5, y: middle, text: "end" });
    if (to > from + 8) layout.skips.push({ of: [input, output], d: `M${from} ${middle}H${to}M${to - 4} ${middle - 3}l4 3l-4 3` });
  }

  function captions(layout, u, net) {
    const inner = { x: u.left + u.arm, w: u.span - u.arm * 2 };
    layout.captions.push({ x: u.left, y: u.top - TOP, w: u.arm, text: "IN ↓" });
    layout.captions.push({ x: u.right - u.arm, y: u.top - TOP, w: u.arm, text: "↑ OUT" });
    net.resolutions.forEach((level, i) => {
      layout.captions.push({ ...inner, y: i ? u.rowY(level.after) - LEVEL - 3 : u.top - TOP, text: level.text });
    });
  }

  // One stepped outline round both arms and the middle; walked once on the left, mirrored on the right.
  function band(u) {
    const edge = (level) => (level ? u.rowY(u.starts[level]) - (LEVEL + GAP) / 2 : u.top - 6);
    const steps = u.starts.map((_, level) => ({
      outer: u.left - MARGIN + level * u.indent,
      inner: u.left + u.arm + MARGIN + level * u.indent,
      y: edge(level),
      end: level + 1 < u.starts.length ? edge(level + 1) : 0,
    }));
    const outer = steps.flatMap((s) => [[s.outer, s.y], [s.outer, s.end || u.bottom + 8]]);
    const inner = steps.flatMap((s) => [[s.inner, s.y], [s.inner, s.end || u.middle - 9]]);
    const mirrored = (points) => points.map(([x, y]) => [u.mirror(x), y]);
    const path = [...outer, ...mirrored(outer).reverse(), ...mirrored(inner), ...inner.reverse()];
    return `M${path.map((point) => point.join(" ")).join("L")}Z`;
  }

  // The arrows from the last IN block through the middle to the first OUT block.
  function flow(u) {
    const x = u.left + (u.starts.length - 1) * u.indent + u.arm / 2;
    const centre = (u.left + u.right) / 2;
    const y = u.middle + ROW / 2;
    const to = centre - u.arm / 2 - 6;
    if (to <= x + 14) return [];
    const up = u.mirror(x);
    const room = u.measured("M00") ? (u.tight ? 24 : 46) : 6;
    const from = Math.min(centre + u.arm / 2 + room, up - 6);
    return [
      `M${x} ${u.last + 4}V${y - 6}Q${x} ${y} ${x + 6} ${y}H${to}M${to - 5} ${y - 4}l5 4l-5 4`,
      `M${from} ${y}H${up - 6}Q${up} ${y} ${up} ${y - 6}V${u.last + 5}M${up - 4} ${u.last + 10}l4 -5l4 5`,
    ];
  }
})();
