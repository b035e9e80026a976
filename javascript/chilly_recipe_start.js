/* The page without a recipe: two models to pick, four ways to start, or something to paste. */
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const recipe = (chilly.recipe ??= {});
  const chosen = { a: "", b: "", c: "" };

  const bars = (weight) =>
    chilly.svg("svg", { viewBox: "0 0 58 38", "aria-hidden": "true" }, ...Array.from({ length: 9 }, (_, index) => {
      const share = weight(index / 8);
      const side = share < 0.25 ? "a" : share > 0.75 ? "b" : "half";
      return chilly.svg("rect", { x: index * 6.5 + 0.5, y: 2, width: 4.6, height: 34, rx: 1.6, class: `chilly-fill-${side}` });
    }));

  const addDrawing = () =>
    chilly.svg(
      "svg", { viewBox: "0 0 58 38", "aria-hidden": "true" },
      chilly.svg("circle", { cx: 12, cy: 19, r: 11, class: "chilly-fill-a" }),
      chilly.svg("path", { d: "M30 13v12M24 19h12", stroke: "currentColor", "stroke-width": 2 }),
      chilly.svg("path", { d: "M46 8a11 11 0 010 22a14 14 0 000-22z", class: "chilly-fill-b" }),
      chilly.svg("path", { d: "M46 8a11 11 0 000 22a14 14 0 000-22z", fill: "none", class: "chilly-edge-b", "stroke-dasharray": "2 2" }),
    );

  // A pale mixer: nothing to read, only what comes.
  const ghost = () => {
    const bar = (x, y, width, height, side) => chilly.svg("rect", { x, y, width, height, rx: 4, class: `chilly-pale-${side}` });
    const drawing = chilly.svg("svg", { viewBox: "0 0 400 330", "aria-hidden": "true" });
    for (const [x, side] of [[1, "a"], [25, "a"], [357, "b"], [381, "b"]]) drawing.append(bar(x, 6, 18, 308, side));
    for (let row = 0; row < 12; row += 1) {
      const inward = Math.floor(row / 3) * 8;
      const y = 6 + row * 21 + Math.floor(row / 3) * 6;
      drawing.append(
        bar(56 + inward, y, 98, 16, "a"), bar(246 - inward, y, 98, 16, "b"),
        chilly.svg("path", { d: `M${160 + inward} ${y + 8}H${240 - inward}`, class: "chilly-pale-wire" }),
      );
    }
    drawing.append(bar(151, 298, 98, 16, "half"));
    return chilly.el("div", { class: "chilly-ghost" }, drawing, chilly.el("p", { class: "chilly-note" }, "Every block of the network becomes a bar you can drag."));
  };

  // Several edits, one undo: all but the last are passing ones.
  const inTurn = async (edits) => {
    for (const [place, edit] of edits.entries()) {
      const given = { step: chilly.step, ...edit };
      if (!(await recipe.act(given, null, { passing: place < edits.length - 1 }))) return;
    }
    const head = document.querySelector(".chilly-cards [data-open=true] .chilly-step-head");
    if (head) head.focus({ preventScroll: true });
  };

  const add = () => ({ do: "add", a: chosen.a, b: chosen.b });

  // The second half of the network in the order of the data: OUT blocks, or the later bars of a rail.
  const secondHalf = async () => {
    const model = chilly.start.models.find((one) => one.name === chosen.a);
    const net = await chilly.ask("net", { architecture: (model && model.architecture) || "sd1" });
    const second = new Set(net.groups.OUT || Object.values(net.groups)[1] || []);
    return Object.fromEntries(net.slots.map((slot) => [slot, second.has(slot) ? 1 : 0]));
  };

  const blend = () => inTurn([add()]);
  const look = async () => inTurn([add(), { do: "weights", values: await secondHalf() }]);
  const learned = () =>
    inTurn([
      add(), { do: "method", method: "add_difference" }, { do: "operand", index: 2, name: chosen.c },
      { do: "set", parameter: "alpha", value: "1" },
    ]);
  const curve = async () => {
    await inTurn([add(), { do: "preset", name: "GRAD_V" }]);
    const presets = document.querySelector(".chilly-presets button");
    if (presets) presets.focus();
  };

  const WAYS = [
    { title: "Blend two models", says: "One alpha for everything", drawing: () => bars(() => 0.5), run: blend },
    { title: "Layout of one, look of the other", says: "IN blocks from A, OUT blocks from B", drawing: () => bars((t) => (t < 0.5 ? 0 : 1)), run: look },
    { title: "Add what B learned", says: "A + (B − the model B came from)", drawing: addDrawing, run: learned, third: true },
    { title: "Start from a curve", says: "Then pick another of the presets", drawing: () => bars((t) => 0.5 - 0.5 * Math.cos(t * 6.283)), run: curve },
  ];

  const side = (key, text) => {
    const picker = recipe.picker({
      label: text, field: `start ${key}`, placeholder: "Choose a checkpoint",
      choices: () => recipe.choices(null), onPick: (name) => (chosen[key] = name),
    });
    const words = chilly.el("span", { class: "chilly-label" });
    if (key !== "c") words.append(chilly.el("i", { class: `chilly-key chilly-key-${key}` }));
    words.append(text);
    return { key, picker, node: chilly.el("label", {}, words, picker.node) };
  };

  /** The start page: `{node, draw()}`. */
  recipe.startPage = () => {
    const sides = [side("a", "Model A, the base"), side("b", "Model B, mixed in"), side("c", "The model B came from")];
    const hint = chilly.el("p", { class: "chilly-start-hint", role: "status" });
    sides[2].node.hidden = true;
    const start = async (way) => {
      sides[2].node.hidden = !way.third;
      const open = sides.find((one) => !chosen[one.key] && (one.key !== "c" || way.third));
      hint.textContent = open ? `${way.title}: choose ${open.key === "c" ? "the model that B was trained from" : `model ${open.key.toUpperCase()}`} first.` : "";
      if (open) open.picker.input.focus();
      else await way.run();
    };
    const ways = WAYS.map((way) =>
      chilly.el("button", { type: "button", class: "chilly-start", onclick: () => start(way) }, way.drawing(), chilly.el("b", {}, way.title), chilly.el("span", {}, way.says)));
    const write = recipe.button({ text: "Write a recipe as text", look: "chilly-link" }, () => recipe.show("text", true));
    const again = recipe.button({ text: "Bring back the recipe that was here", look: "chilly-link" }, () => chilly.redo());
    const { no_pictures: none } = chilly.start;
    const node = chilly.el(
      "div", { class: "chilly-empty" },
      chilly.el(
        "div", { class: "chilly-empty-in" },
        chilly.el("h2", {}, "Pick two models to see what mixing them does"),
        chilly.el("p", {}, "Nothing is written to disk until you press Save.", none ? null : " Previews are made in memory."),
        none && chilly.el("p", { class: "chilly-no-pictures" }, none),
        chilly.el("div", { class: "chilly-two" }, ...sides.map((one) => one.node)), hint,
        chilly.el("div", { class: "chilly-starts" }, ...ways),
        recipe.pasteField(), chilly.el("div", { class: "chilly-row chilly-start-more" }, write, again),
      ),
      ghost(),
    );
    return { node, draw: () => (again.hidden = !chilly.canRedo()) };
  };
})();
