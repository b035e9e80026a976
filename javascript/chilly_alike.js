// How alike A and B are, block by block: measured when asked for, or by itself where it takes no time. The mixer draws it too.
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});

  /** Up to so many bytes are read without being asked for. */
  const SMALL = 256e6;
  /** At this many % and above a cell is the palest, so many below it the strongest. */
  const ALIKE = 99;
  const SPAN = 16;
  const KEPT = "chilly.alike"; // in sessionStorage: the last measurement

  chilly.alike = null;
  let measured = ""; // what the numbers are of
  let asked = "";
  let job = null;
  let problem = "";

  // A step of one model has nothing to be compared.
  const mixer = () => (chilly.good?.mixer?.pair.length > 1 ? chilly.good.mixer : null);

  /** A and B do not change when the open step's own weights do: all of the recipe but this line tells which models they are. */
  function subject() {
    const now = mixer();
    if (!now) return "";
    const step = chilly.good.steps.find((one) => one.name === now.step);
    const others = step ? chilly.good.text.slice(0, step.start) + chilly.good.text.slice(step.end) : chilly.good.text;
    return JSON.stringify([now.step, now.pair, others]);
  }

  async function measure() {
    const of = (asked = subject());
    problem = "";
    try {
      const started = await chilly.ask("alike", { text: chilly.good.text, step: mixer().step });
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
      publish(now.report);
      const all = now.report.totals.all;
      chilly.say(all === null ? "Measured" : `Measured: ${shown(all)} % alike in all`);
    }
    draw();
  }

  function publish(report) {
    chilly.alike = report;
    chilly.emit("alike", report);
  }

  let root = null;
  let draw = () => {};

  ((chilly.parts ??= {}).alike = (place) => {
    root = place;
    const el = chilly.el;
    const heading = el("h2", {});
    const note = el("span", { class: "chilly-note" });
    const button = el("button", { class: "chilly-btn chilly-btn-s", type: "button" });
    const line = el("div", { class: "chilly-row chilly-note" });
    const table = el("div", { class: "chilly-heat", role: "table", "aria-label": "Similarity of A and B by block, in %" });
    button.addEventListener("click", () => (job ? chilly.ask("stop", { job: job.job }).catch(() => {}) : measure()));
    root.append(el("div", { class: "chilly-h" }, heading, note, button), line, table);
    draw = () => {
      const now = mixer();
      root.hidden = !now;
      if (!now) return;
      const fresh = Boolean(chilly.alike) && measured === subject();
      heading.textContent = `How alike are ${now.pair[0]} and ${now.pair[1]}?`;
      note.textContent = fresh ? "Attention blocks, %. Stronger violet: less alike, so the weight matters more." : "";
      note.hidden = !fresh;
      button.hidden = fresh;
      button.textContent = job ? "Stop measuring" : `Measure${reads() ? `, reads ${chilly.bytes(reads())}` : ""}`;
      line.textContent = problem || (job ? `${job.text || "Measuring"}, ${Math.round((job.share || 0) * 100)} %` : fresh ? "" : hint());
      line.classList.toggle("chilly-msg-bad", Boolean(problem));
      line.hidden = !line.textContent;
      table.hidden = !fresh;
      if (fresh) cells(table, chilly.alike);
    };
    chilly.on("view", changed);
    chilly.on("theme", () => draw());
    chilly.on("ready", resume);
    changed();
  });

  const reads = () => chilly.good?.plan?.reads_bytes || 0;
  const hint = () => "Where they differ most, a weight does most. The numbers come from the attention layers of both.";

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
    if (now && now !== measured && !asked && reads() && reads() <= SMALL) measure();
    draw();
  }

  const colour = (name) => getComputedStyle(root).getPropertyValue(name).trim();
  const parts = (hex) => [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));

  /** 100 only where it is that. */
  const shown = (chilly.shownPercent = (percent) => (percent < 100 ? Math.min(percent, 99.99) : percent).toFixed(2));

  /** The colour of a similarity, and black or white upon it, whichever is stronger. */
  function heat(percent) {
    const share = Math.max(0, Math.min(1, (ALIKE - percent) / SPAN));
    const [pale, strong] = [parts(colour("--chilly-heat0")), parts(colour("--chilly-heat1"))];
    const mixed = pale.map((value, at) => Math.round(value + (strong[at] - value) * share));
    const linear = mixed.map((value) => (value <= 10 ? value / 3294 : ((value / 255 + 0.055) / 1.055) ** 2.4));
    const light = 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
    return { fill: `rgb(${mixed.join(", ")})`, text: light > 0.179 ? "#000000" : "#ffffff" };
  }

  function cells(table, { blocks, totals }) {
    const el = chilly.el;
    const entries = Object.entries(blocks || {});
    const narrow = entries.length > 26;
    const cell = ([name, percent]) => {
      const { fill, text } = heat(percent);
      const said = shown(percent);
      const style = { "--c": fill, "--tc": text };
      const words = el("span", {}, name, " ", el("b", {}, said));
      return el("div", { class: `chilly-cell${narrow ? " chilly-cell-n" : ""}`, role: "cell", title: `${name} ${said} %`, style }, words);
    };
    const named = [["Input", totals?.input], ["Output", totals?.output], [`All ${entries.length}`, totals?.all]];
    const total = ([name, percent]) => el("div", { class: "chilly-cell chilly-total", role: "cell" }, name, " ", el("b", {}, `${shown(percent)} %`));
    const sums = named.filter(([, percent]) => typeof percent === "number").map(total);
    table.style.setProperty("--n", String(entries.length));
    table.replaceChildren(el("div", { role: "row" }, ...entries.map(cell), el("span", { class: "chilly-hgap", role: "presentation" }), ...sums));
  }
})();
