// How alike A and B are, block by block: measured when asked for, or by itself where it takes no time. The mixer draws it too.
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});

  /** Of asim: at this many % and above a cell is the palest, so many below it the strongest. */
  const SPAN = 16;
  /** So many cells fit into one row; more stand in two, and of a great many only the colours are seen. */
  const [ONE_ROW, TWO_ROWS] = [20, 48];
  const KEPT = "chilly.alike"; // in sessionStorage: the last measurement

  chilly.alike = null;
  let measured = ""; // what the numbers are of
  let asked = "";
  let job = null;
  let problem = "";

  // A step of one model has nothing to be compared.
  const mixer = () => (chilly.good?.mixer?.pair.length > 1 ? chilly.good.mixer : null);

  /** The measure that is chosen, and the ancestor where it looks at one. */
  chilly.measure = () => {
    const { measure = "asim", ancestor = "" } = chilly.own("alike");
    const all = chilly.start?.measures || [];
    const chosen = all.find(({ name }) => name === measure) || all[0];
    return { ...chosen, below: chosen.ancestor && ancestor ? ancestor : null, lacks: chosen.ancestor === "needed" && !ancestor };
  };

  /** A and B do not change when the open step's own weights do: all of the recipe but this line tells which models they are. */
  function subject() {
    const now = mixer();
    if (!now) return "";
    const step = chilly.good.steps.find((one) => one.name === now.step);
    const others = step ? chilly.good.text.slice(0, step.start) + chilly.good.text.slice(step.end) : chilly.good.text;
    const { name, below } = chilly.measure();
    return JSON.stringify([now.step, now.pair, others, name, below]);
  }

  async function measure() {
    const of = (asked = subject());
    const { name, below } = chilly.measure();
    problem = "";
    try {
      const started = await chilly.ask("alike", { text: chilly.good.text, step: mixer().step, measure: name, ancestor: below });
      if (of !== asked) return void chilly.ask("stop", { job: started.job.job }).catch(() => {}); // other models meanwhile
      watch(of, started.job);
    } catch (error) {
      if (of !== asked) return;
      problem = error.message;
      job = null;
      draw();
    }
  }

  function watch(of, started) {
    job = started;
    try {
      sessionStorage.setItem(KEPT, JSON.stringify({ of, job: job.job }));
    } catch (error) {
      // Then a reload measures again.
    }
    draw();
    chilly.job({ ...job, state: "waiting" }, (now) => told(of, now));
  }

  /** A measurement that went on, or ended, while the page was loaded again. */
  function resume() {
    const kept = JSON.parse(sessionStorage.getItem(KEPT)) || {};
    const left = (chilly.start.jobs || []).find((one) => one.kind === "alike" && one.job === kept.job);
    if (left && !asked && kept.of === subject()) watch((asked = kept.of), left);
  }

  function told(of, now) {
    if (of !== asked) return;
    job = ["done", "stopped", "failed"].includes(now.state) ? null : now;
    if (now.state === "failed") problem = now.problem?.message || now.text;
    if (now.state === "done" && now.report) {
      measured = of;
      publish({ ...now.report, ...scale(now.report) });
      const all = now.report.totals.all;
      chilly.say(all === null ? "Measured" : `Measured: ${chilly.figure(all)}${chilly.alike.unit && " %"} in all`);
    }
    draw();
  }

  /** From which figure to which the colours go: the near end is as good as the same. */
  function scale({ measure: name, blocks }) {
    const { near = 99, unit = "%" } = (chilly.start.measures || []).find((one) => one.name === name) || {};
    const values = Object.values(blocks);
    if (name === "asim") return { unit, near, span: SPAN };
    return { unit, near, span: unit ? Math.max(near - Math.min(...values, near), 100 - near) : -Math.max(...values, 1) };
  }

  function publish(report) {
    chilly.alike = report;
    chilly.emit("alike", report);
  }

  /** How strongly a figure of the last measurement is coloured, 0 to 1. */
  chilly.unlike = (value) => (chilly.alike ? Math.max(0, Math.min(1, (chilly.alike.near - value) / chilly.alike.span)) : 0);

  /** A figure as it is shown: nothing but 100 is 100. */
  chilly.figure = (value) => (value < 100 ? Math.min(99.99, value) : value).toFixed(2);

  let root = null;
  let draw = () => {};

  ((chilly.parts ??= {}).alike = (place) => {
    root = place;
    const el = chilly.el;
    const heading = el("h2", {});
    const note = el("span", { class: "chilly-note" });
    const button = el("button", { class: "chilly-btn chilly-btn-s", type: "button" });
    const line = el("div", { class: "chilly-note chilly-alike-line" });
    const table = el("div", { class: "chilly-heat", role: "table", "aria-label": "Similarity of A and B by block" });
    const [pick, acts] = [chilly.alikePick(changed), chilly.alikeActs()];
    button.addEventListener("click", () => (job ? chilly.ask("stop", { job: job.job }).catch(() => {}) : measure()));
    root.append(el("div", { class: "chilly-h" }, heading, note, pick, button), line, table, acts);
    draw = () => {
      const now = mixer();
      root.hidden = !now;
      if (!now) return;
      const fresh = Boolean(chilly.alike) && measured === subject();
      const { says, lacks, unit } = chilly.measure();
      heading.textContent = `How alike are ${now.pair[0]} and ${now.pair[1]}?`;
      note.textContent = fresh ? legend() : "";
      note.hidden = !fresh;
      button.hidden = fresh || lacks;
      button.textContent = job ? "Stop measuring" : `Measure${reads() ? `, reads ${chilly.bytes(reads())}` : ""}`;
      const waiting = lacks ? "Choose the model that both descend from." : job && `${job.text || "Measuring"}, ${Math.round((job.share || 0) * 100)} %`;
      line.textContent = problem || waiting || says;
      line.classList.toggle("chilly-msg-bad", Boolean(problem));
      table.hidden = !fresh;
      acts.hidden = !fresh || !unit || !chilly.alikeActs.can();
      if (fresh) cells(table, chilly.alike);
    };
    chilly.on("view", changed);
    chilly.on("theme", () => draw());
    chilly.on("ready", resume);
    changed();
  });

  const reads = () => chilly.good?.plan?.reads_bytes || 0;
  const legend = () => {
    const { unit, measure: name } = chilly.alike;
    if (!unit) return "By block. Stronger violet: the difference has more directions.";
    return `${name === "asim" ? "Attention blocks" : "All blocks"}, %. Stronger violet: less alike, so the weight matters more.`;
  };

  /** Other models: the old numbers go, from the mixer too; small models are measured at once. */
  function changed() {
    const now = subject();
    if (now !== measured && chilly.alike) {
      measured = "";
      publish(null);
    }
    if (now !== asked) {
      problem = "";
      if (job) chilly.ask("stop", { job: job.job }).catch(() => {});
      job = null;
      asked = "";
    }
    if (now && now !== measured && !asked && chilly.isSmall(reads()) && !chilly.measure().lacks) measure();
    draw();
  }

  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const parts = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

  /** The colour of a similarity, and black or white upon it, whichever is stronger. */
  function heat(value) {
    const share = chilly.unlike(value);
    const [pale, strong] = [parts(colour("--chilly-heat0")), parts(colour("--chilly-heat1"))];
    const mixed = pale.map((value, at) => Math.round(value + (strong[at] - value) * share));
    const linear = mixed.map((value) => (value <= 10 ? value / 3294 : ((value / 255 + 0.055) / 1.055) ** 2.4));
    const light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
    return { fill: `rgb(${mixed.join(", ")})`, text: light > 0.179 ? "#000000" : "#ffffff" };
  }

  function cells(table, { blocks, totals, unit }) {
    const el = chilly.el;
    const entries = Object.entries(blocks || {});
    const narrow = entries.length > TWO_ROWS;
    const across = narrow || entries.length <= ONE_ROW ? entries.length : Math.ceil(entries.length / 2);
    const cell = ([name, value], at) => {
      const { fill, text } = heat(value);
      const said = chilly.figure(value);
      const style = { "--c": fill, "--tc": text, "--x": (at % across) + 1, "--y": Math.floor(at / across) + 1 };
      const words = el("span", {}, name, " ", el("b", {}, said));
      return el("div", { class: `chilly-cell${narrow ? " chilly-cell-n" : ""}`, role: "cell", title: `${name} ${said} ${unit}`, style }, words);
    };
    const named = [["Input", totals?.input], ["Output", totals?.output], [`All ${entries.length}`, totals?.all]];
    const total = ([name, value]) => el("div", { class: "chilly-cell chilly-total", role: "cell" }, name, " ", el("b", {}, `${chilly.figure(value)} ${unit}`));
    const sums = named.filter(([, value]) => typeof value === "number").map(total);
    table.style.setProperty("--n", String(across));
    table.classList.toggle("chilly-heat-2", across < entries.length);
    table.replaceChildren(el("div", { role: "row" }, ...entries.map(cell), el("span", { class: "chilly-hgap", role: "presentation" }), ...sums));
  }
})();
