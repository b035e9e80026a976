// The transformer layers of a block, where it has several (SDXL): a chevron beside the block, or Enter on its bar, opens them as a
// row of small bars below it. A layer follows its block until it is moved. "IN07.3" is layer 3 of IN07.
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const mixer = (chilly.mixer ??= {});
  const RIGHT = "M5 3l4 4-4 4";
  const opened = new Set(); // blocks whose layers are shown
  const chevrons = new Map(); // block -> its button

  const layersOf = (block) => (mixer.net.layers || {})[block] || [];

  /** Whether a block has layers of its own to be set. */
  mixer.hasLayers = (name) => layersOf(name).length > 0;

  /** The layers that are shown below a block; none while it is closed. */
  mixer.openLayers = (block) => (opened.has(block) ? layersOf(block) : []);

  /** The block of a layer; "" for what is none. */
  mixer.blockOf = (name) => (name.includes(".") ? name.slice(0, name.indexOf(".")) : "");

  /** The bars that move with a bar until they are moved themselves. */
  mixer.followers = (name) => [...Object.keys(mixer.net.follows).filter((lane) => mixer.net.follows[lane] === name), ...mixer.openLayers(name)];

  /** Opens or closes the layers of a block. */
  mixer.toggleLayers = (block) => {
    const open = !opened.delete(block);
    if (open) opened.add(block);
    if (!open && mixer.blockOf(mixer.current) === block) mixer.current = block;
    mixer.relayout();
    const count = layersOf(block).length;
    chilly.say(open ? `${count} layers of ${block} are open, below it.` : `The layers of ${block} are closed.`);
  };

  function chevron(block) {
    // The keyboard has Enter on the bar: the mixer stays one stop of Tab.
    const node = chilly.el("button", { type: "button", class: "chilly-chevron", tabindex: "-1", "aria-expanded": String(opened.has(block)) });
    node.append(chilly.icon(RIGHT, 12));
    node.addEventListener("click", () => {
      mixer.toggleLayers(block);
      chevrons.get(block).focus({ preventScroll: true });
    });
    return node;
  }

  /** Makes the chevrons anew; those of a net without layers are none. */
  mixer.makeChevrons = () => {
    chevrons.clear();
    for (const block of mixer.net.slots.filter(mixer.hasLayers)) chevrons.set(block, chevron(block));
    mixer.markLayers();
    return [...chevrons.values()];
  };

  /** Puts the chevrons where the layout has them. */
  mixer.placeChevrons = (layout) => {
    for (const { name, x, y, w, h } of layout.chevrons) {
      Object.assign(chevrons.get(name).style, { left: `${x}px`, top: `${y}px`, width: `${w}px`, height: `${h}px` });
    }
  };

  /** Shows at a block, closed or open, how many of its layers have a weight of their own. */
  mixer.markLayers = () => {
    for (const [block, node] of chevrons) {
      const apart = layersOf(block).filter((layer) => layer in mixer.shown.layers).length;
      const says = `${layersOf(block).length} layers of ${block}${apart ? `, ${apart} with weights of their own` : ""}`;
      node.setAttribute("aria-label", says);
      node.title = says;
      node.dataset.apart = String(apart > 0);
    }
  };
})();
