// Several models compared, each with each: their curves over the blocks, the matrix with its dendrogram, and a guess at ancestry.
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});

  const MOST = 12; // models at once
  let job = null;
  let last = null; // the job whose pictures are shown
  let problem = "";
  let chosen = null; // names; null until somebody chooses
  let ui = null;

  /** What a recipe's steps and the models' folders have, those that the recipe uses first. */
  function names() {
    const { steps = [], architecture } = chilly.good || {};
    const used = steps.flatMap(({ operands }) => operands.filter(({ kind, missing }) => kind === "model" && !missing).map(({ text }) => plain(text)));
    const models = (chilly.start?.models || []).filter((one) => one.architecture === architecture).map(({ name }) => name);
    const sources = [...new Set(used)].filter((name) => models.includes(name));
    return { sources, all: [...new Set([...sources, ...steps.map(({ name }) => name), ...models])] };
  }
  const plain = (text) => (text.startsWith('"') ? text.slice(1, -1).replace(/\\(.)/g, "$1") : text);

  const picked = () => {
    const { sources, all } = names();
    return (chosen || sources).filter((name) => all.includes(name)).slice(0, chosen ? undefined : MOST);
  };

  ((chilly.parts ??= {}).many = (root) => {
    const el = chilly.el;
    const list = el("div", { class: "chilly-many-names", role: "group", "aria-label": "Models and steps to compare" });
    const go = el("button", { class: "chilly-btn chilly-btn-s", type: "button" });
    const line = el("span", { class: "chilly-note", role: "status" });
    const found = el("div", { class: "chilly-many-found" });
    const body = el("div", {}, list, el("div", { class: "chilly-row" }, go, line), found);
    const fold = el("details", {}, el("summary", {}, "Compare several models"), body);
    ui = { list, go, line, found };
    go.addEventListener("click", () => (job ? chilly.ask("stop", { job: job.job }).catch(() => {}) : begin()));
    list.addEventListener("change", () => {
      chosen = [...list.querySelectorAll("input:checked")].map((box) => box.value);
      draw();
    });
    fold.addEventListener("toggle", () => fold.open && fill());
    chilly.on("view", () => fold.open && fill());
    chilly.on("measure", () => draw());
    chilly.on("ready", resume);
    root.append(fold);
  });

  function fill() {
    const now = new Set(picked());
    const box = (name) => chilly.el("label", { class: "chilly-chip" }, chilly.el("input", { type: "checkbox", class: "chilly-check", value: name, checked: now.has(name) }), name);
    const held = document.activeElement?.value;
    ui.list.replaceChildren(...names().all.map(box));
    [...ui.list.querySelectorAll("input")].find((one) => one.value === held)?.focus();
    draw();
  }

  async function begin() {
    const { name, below } = chilly.measure();
    problem = "";
    try {
      const of = picked();
      if (last) chilly.ask("dismiss", { job: last }).catch(() => {}); // or a reload would bring the pictures of all
      follow((await chilly.ask("alike_many", { text: chilly.good.text, of, measure: name, ancestor: below })).job);
    } catch (error) {
      problem = error.message;
      draw();
    }
  }

  function follow(started) {
    job = started;
    last = started.job;
    draw();
    chilly.job(started, (now) => {
      job = ["done", "stopped", "failed"].includes(now.state) ? null : now;
      if (now.state === "failed") problem = now.problem?.message || now.text;
      if (now.state === "done") show(now.report);
      draw();
    });
  }

  /** The last comparison, which went on or ended while the page was loaded again. */
  function resume() {
    const left = (chilly.start.jobs || []).filter(({ lane, report: ended, state }) => lane === "alike_many" && (ended || state === "working"));
    if (!left.length) return;
    ui.list.closest("details").open = true;
    follow(left[left.length - 1]);
  }

  function draw() {
    const { lacks, name, unit } = chilly.measure();
    const count = picked().length;
    const fits = count >= 2 && count <= MOST && !lacks && unit;
    ui.go.textContent = job ? "Stop comparing" : `Compare ${count} by ${name}`;
    ui.go.disabled = !job && !fits;
    const progress = job && `${job.text || "Waiting"}, ${Math.round((job.share || 0) * 100)} %`;
    ui.line.textContent = problem || progress || hint(count, chilly.measure());
    ui.line.classList.toggle("chilly-msg-bad", Boolean(problem));
  }

  function hint(count, { name, lacks, unit }) {
    if (!unit) return `${name} is no likeness that models could be grouped by.`;
    if (lacks) return "Choose above what they descend from.";
    return count < 2 || count > MOST ? `Choose 2 to ${MOST}.` : `Curves are against ${picked()[0]}.`;
  }

  /** Pictures come as SVG and are shown as images: nothing that stands in them can be markup or script of the page. */
  function picture(svg, alt, file) {
    const el = chilly.el;
    const image = el("img", { class: "chilly-many-picture", alt, src: `data:image/svg+xml;charset=utf-8,${encodeURIComponent(svg)}` });
    const keep = el("button", { class: "chilly-btn chilly-btn-s", type: "button", onclick: () => chilly.download(svg, file, "image/svg+xml") }, "Download SVG");
    const view = el("div", { class: "chilly-many-view", tabindex: "0", role: "region", "aria-label": alt }, image); // wider than a phone
    const cue = el("div", { class: "chilly-note", hidden: true }, "The picture is wider than the page: it scrolls sideways.");
    new ResizeObserver(() => (cue.hidden = view.scrollWidth <= view.clientWidth)).observe(view);
    return el("figure", {}, cue, view, el("figcaption", { class: "chilly-row" }, el("span", { class: "chilly-note" }, alt), keep));
  }

  function show({ curves, matrix, kinship, models, figures, measure, base, notes }) {
    const el = chilly.el;
    const said = (value) => (value === null ? "–" : chilly.figure(value));
    const head = el("tr", {}, el("th", { scope: "col" }, measure), ...models.map((name) => el("th", { scope: "col" }, name)));
    const rows = models.map((name, row) => el("tr", {}, el("th", { scope: "row" }, name), ...figures[row].map((value) => el("td", {}, said(value)))));
    const table = el("div", { class: "chilly-many-table", tabindex: "0", role: "region", "aria-label": "The figures" }, el("table", {}, head, ...rows));
    const list = (lines) => el("ul", {}, ...lines.map((line) => el("li", {}, line)));
    const left = [
      picture(matrix, `${models.length} models, each against each by ${measure}, in the order of the dendrogram beside it`, `matrix-${measure}.svg`),
      ...(kinship.length ? [el("h3", {}, "A guess at ancestry"), list(kinship)] : []),
      el("details", {}, el("summary", {}, "The figures as a table"), table),
      ...(notes.length ? [list(notes)] : []),
    ];
    const right = picture(curves, `How alike ${models.length > 2 ? `${models.length - 1} models are` : `${models[1]} is`} to ${base} by ${measure}, block by block`, `curves-${measure}.svg`);
    ui.found.replaceChildren(el("div", {}, ...left), right);
    chilly.say(kinship[0] || "Compared");
  }
})();
