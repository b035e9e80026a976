// Strips that are made when asked for: variants of random weights, one picture per block moved, and the pictures that were kept.
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const preview = (chilly.preview ??= {});

  const strips = {
    variants: { title: "Variants", lane: "variants", pictures: [], job: null, problem: "" },
    blocks: { title: "Block by block", lane: "blocks", pictures: [], job: null, problem: "", difference: false },
    kept: { title: "Kept", pictures: [] },
  };

  /** Three strips behind three buttons; none is open at first, for none is there before it is asked for. */
  preview.moreStrips = () => {
    const el = chilly.el;
    const bar = el("div", { class: "chilly-seg", role: "group", "aria-label": "More pictures" });
    const panel = el("div", {});
    let open = null;
    const draw = () => {
      [...bar.children].forEach((button) => {
        button.setAttribute("aria-pressed", String(button.dataset.strip === open));
        if (button.dataset.strip === "kept") button.textContent = `Kept${strips.kept.pictures.length ? ` (${strips.kept.pictures.length})` : ""}`;
      });
      Object.entries(panels).forEach(([name, [box, refresh]]) => {
        box.hidden = name !== open;
        if (name === open) refresh();
      });
    };
    Object.entries(strips).forEach(([name, { title }]) => {
      const button = el("button", { type: "button", "data-strip": name }, title);
      button.addEventListener("click", () => ((open = open === name ? null : name), draw()));
      bar.append(button);
    });
    const panels = { variants: variants(), blocks: blocks(), kept: kept() };
    panel.append(...Object.values(panels).map(([box]) => box));
    preview.openStrip = (name) => ((open = name), draw());
    ["pictures", "kept"].forEach((event) => chilly.on(event, draw));
    chilly.on("forgotten", loadKept); // the next older one may take its place
    chilly.on("ready", resume);
    loadKept();
    draw();
    return el("div", { class: "chilly-strip-more" }, bar, panel);
  };

  const numberField = (label, value, attributes) => {
    const input = chilly.el("input", { class: "chilly-in chilly-num", type: "number", value: String(value), ...attributes });
    return chilly.el("label", {}, chilly.el("span", { class: "chilly-label" }, label), input);
  };
  const valueOf = (label) => Number(label.lastChild.value);

  /** Start and Stop in one button, and the line that tells the time beforehand and how far it is afterwards. */
  function starter(strip, { title, wants }) {
    const el = chilly.el;
    const button = el("button", { class: "chilly-btn chilly-btn-s", type: "button" });
    const line = el("span", { class: "chilly-note" });
    const busy = () => strip.job && !preview.ended(strip.job);
    button.addEventListener("click", () => {
      if (busy()) chilly.ask("stop", { job: strip.job.job }).catch((error) => chilly.say(error.message));
      else begin(strip, wants());
    });
    const refresh = () => {
      button.textContent = busy() ? "Stop" : title;
      button.disabled = !busy() && !(preview.basis() && chilly.good.mixer);
      line.textContent = strip.problem || (busy() ? strip.job.text : forecast(wants().length));
      line.classList.toggle("chilly-msg-bad", Boolean(strip.problem));
    };
    return { button, line, refresh };
  }

  function forecast(count) {
    const seconds = preview.estimate?.seconds;
    return seconds ? `${count} pictures, about ${preview.duration(count * seconds)}` : `${count} pictures`;
  }

  async function begin(strip, wants) {
    Object.assign(strip, { pictures: [], problem: "", job: null });
    try {
      strip.job = await preview.start(strip.lane, wants, ...takers(strip));
    } catch (error) {
      strip.problem = error.message;
    }
    chilly.emit("pictures", preview);
  }

  function takers(strip) {
    const each = (picture) => (strip.pictures.push(picture), chilly.emit("pictures", preview));
    const told = (job) => {
      strip.job = job;
      if (job.state === "failed") strip.problem = job.problem?.message || job.text;
      if (job.state === "done") chilly.say(`${strip.title}: ${strip.pictures.length} pictures`);
      chilly.emit("pictures", preview);
    };
    return [each, told];
  }

  /** The newest job of each strip goes on after a reload, with the pictures that it has made. */
  const resume = () =>
    [strips.variants, strips.blocks].forEach((strip) => {
      const job = (chilly.start.jobs || []).filter(({ lane }) => lane === strip.lane).pop();
      if (!job || !preview.basis()) return;
      strip.job = job;
      preview.watch(job, preview.basis(), ...takers(strip));
    });

  function variants() {
    const el = chilly.el;
    const strip = strips.variants;
    const count = numberField("Count", 5, { min: 1, max: 20 });
    const low = numberField("From", 0, { min: 0, max: 1, step: 0.05 });
    const high = numberField("To", 1, { min: 0, max: 1, step: 0.05 });
    const seed = numberField("Weights' seed", 1, { min: 0, max: 999999 });
    const wants = () =>
      Array.from({ length: Math.max(1, Math.min(20, valueOf(count) || 1)) }, (_, at) => ({
        ...{ id: `variant-${at + 1}`, variant: at + 1, seed: valueOf(seed) },
        ...{ low: Math.min(valueOf(low), valueOf(high)), high: Math.max(valueOf(low), valueOf(high)) },
      }));
    const start = starter(strip, { title: "Make variants", wants });
    const tools = el("div", { class: "chilly-strip-tools" }, count, low, high, seed, start.line, start.button);
    const grid = el("div", { class: "chilly-strip", role: "group", "aria-label": "Variants of random weights" });
    tools.addEventListener("change", start.refresh);
    const take = (picture) => {
      if (picture.recipe) chilly.look(picture.recipe, { step: picture.of.step, undo: true });
      chilly.say("Weights taken");
    };
    const make = (picture, at) => preview.thumbnail(`${at + 1}`, { label: `Take the weights of variant ${at + 1}`, onClick: () => take(picture) });
    const refresh = () => (start.refresh(), fillGrid(grid, strip, make));
    return [el("div", {}, tools, grid), refresh];
  }

  /** One button a picture; those that are there stay, so that focus does too. */
  function fillGrid(grid, strip, make, imageOf = (picture) => picture) {
    if (grid.chillyOf !== strip.pictures) grid.replaceChildren();
    grid.chillyOf = strip.pictures;
    strip.pictures.forEach((picture, at) => {
      if (!grid.children[at]) grid.append(make(picture, at));
      preview.fill(grid.children[at].firstChild, imageOf(picture));
    });
  }

  function blocks() {
    const el = chilly.el;
    const strip = strips.blocks;
    let to = 1;
    const wants = () => movable(to).map((block) => ({ id: `block-${block}`, block, to }));
    const start = starter(strip, { title: "Make the map", wants });
    const toward = el("div", { class: "chilly-seg", role: "group", "aria-label": "Each block by itself goes to" });
    const kind = el("div", { class: "chilly-seg", role: "group", "aria-label": "What the map shows" });
    const choose = (group, entries, get, set) =>
      entries.forEach(([value, text]) => {
        const button = el("button", { type: "button", "aria-pressed": String(get() === value) }, text);
        button.addEventListener("click", () => {
          set(value);
          [...group.children].forEach((other) => other.setAttribute("aria-pressed", String(other === button)));
          refresh();
        });
        group.append(button);
      });
    const grid = el("div", { class: "chilly-strip", role: "group", "aria-label": "One block moved at a time" });
    const show = (picture) => preview.compare({ name: `${nameOf(picture)} moved`, picture });
    const make = (picture) =>
      preview.thumbnail(nameOf(picture), { label: `Compare the picture with ${nameOf(picture)} moved`, onClick: () => show(picture) });
    const refresh = () => {
      start.refresh();
      fillGrid(grid, strip, make, (picture) => (strip.difference && picture.difference ? picture.difference : picture));
      strip.pictures.forEach((picture, at) => (grid.children[at].dataset.old = String(!preview.isOf(picture)))); // moved from other weights
    };
    choose(toward, [[0, "to A"], [1, "to B"]], () => to, (value) => (to = value));
    choose(kind, [[false, "Pictures"], [true, "Differences"]], () => strip.difference, (value) => (strip.difference = value));
    const about = el("span", { class: "chilly-note" }, "Each block alone goes all the way; the picture shows what it does.");
    return [el("div", {}, el("div", { class: "chilly-strip-tools" }, about, toward, kind, start.line, start.button), grid), refresh];
  }

  const nameOf = (picture) => picture.id.replace(/^block-/, "");

  /** Blocks that are not there already: moving them would give the same picture again. */
  function movable(to) {
    const values = chilly.good?.mixer?.values || {};
    const linked = new Set(chilly.good?.mixer?.linked || []);
    return Object.keys(values).filter((lane) => !linked.has(lane) && Math.abs(values[lane] - to) > 0.001);
  }

  function kept() {
    const el = chilly.el;
    const strip = strips.kept;
    const none = el("p", { class: "chilly-note" }, "Keep puts the picture here and into the history, with its recipe and parameters.");
    const grid = el("div", { class: "chilly-strip", role: "group", "aria-label": "Pictures that were kept" });
    const back = async (row) => {
      if (!(await chilly.look(row.recipe, { step: null }))) return;
      if (row.params) chilly.setParams(row.params);
      chilly.say(`Back at ${row.title}`);
    };
    const make = (row) => preview.thumbnail(row.title, { label: `Go back to ${row.title}`, onClick: () => back(row) });
    const refresh = () => {
      none.hidden = strip.pictures.length > 0;
      fillGrid(grid, strip, make, (row) => row.thumbnail);
    };
    return [el("div", {}, el("div", { class: "chilly-strip-tools" }, none), grid), refresh];
  }

  const showKept = (rows) => (strips.kept.pictures = rows.slice(0, 10));

  /** Those of earlier, from the history. */
  async function loadKept() {
    const reply = await chilly.ask("history", { search: "", pinned: false, before: null, count: 30 }).catch(() => null);
    if (!reply) return;
    showKept(reply.rows.filter((row) => row.kind === "picture" && row.thumbnail));
    chilly.emit("pictures", preview);
  }

  /** Keeps the merged picture with its recipe; it stands in the strip and in the history. */
  preview.keep = async () => {
    const picture = preview.pictures.merged;
    try {
      const { parameter, ...of } = picture.of;
      const row = await chilly.ask("keep", { ...of, image: { job: picture.job, id: picture.id } });
      showKept([{ ...row, thumbnail: row.thumbnail || picture.image }, ...strips.kept.pictures]);
      chilly.emit("kept", row);
      preview.openStrip("kept");
      chilly.say("Kept");
    } catch (error) {
      chilly.say(error.message);
      chilly.emit("problem", { message: error.message, field: null });
    }
  };
})();
