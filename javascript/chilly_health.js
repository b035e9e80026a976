// Whether the files of the recipe are whole: looked at when asked for, or by itself where they are small.
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});

  const CHECK = "M2 7l3.2 3.2L11.4 3.6";
  const ALERT = "M7 1.6L13 12.4H1L7 1.6M7 5.6v3M7 10.4v.2";

  /** A chip with a verdict in words. */
  chilly.verdict = ({ name, verdict, words, says }) => {
    const fine = verdict === "fine";
    const text = fine ? `${name}: ${words}` : `${name}: ${says[0] || words}`;
    const more = says.length > 1 ? ` (and ${says.length - 1} more)` : "";
    return chilly.el("span", { class: `chilly-chip chilly-chip-${fine ? "ok" : "warn"}`, title: says.join("\n") }, chilly.icon(fine ? CHECK : ALERT), text + more);
  };

  let root = null;
  let seen = ""; // the files that the verdicts are of
  let asked = "";
  let files = null;
  let job = null;
  let problem = "";

  /** The sources of all steps; the same while only weights change. */
  function subject() {
    if (!chilly.good?.plan) return "";
    const used = chilly.good.steps.flatMap(({ operands }) => operands.filter(({ kind }) => kind === "model").map(({ text }) => text));
    return JSON.stringify([...new Set(used)].sort());
  }

  const reads = () => chilly.good?.plan?.checks_bytes || 0;

  async function look() {
    const of = (asked = subject());
    problem = "";
    try {
      const { job: started } = await chilly.ask("health", { text: chilly.good.text });
      if (of !== asked) return void chilly.ask("stop", { job: started.job }).catch(() => {});
      job = started;
      draw();
      chilly.job(started, (now) => of === asked && told(of, now));
    } catch (error) {
      if (of !== asked) return;
      problem = error.message;
      draw();
    }
  }

  function told(of, now) {
    job = ["done", "stopped", "failed"].includes(now.state) ? null : now;
    if (now.state === "failed") problem = now.problem?.message || now.text;
    if (now.state === "done") [seen, files] = [of, now.report.files];
    draw();
  }

  function changed() {
    const now = subject();
    if (now !== asked) {
      if (job) chilly.ask("stop", { job: job.job }).catch(() => {});
      [job, asked, problem] = [null, "", ""];
    }
    if (now && now !== seen && !asked && chilly.isSmall(reads())) look();
    draw();
  }

  /** Where a file is used: the first step that names it. */
  function showStep(name) {
    const step = chilly.good.steps.find(({ operands }) => operands.some(({ kind, text }) => kind === "model" && text.replace(/^"|"$/g, "") === name));
    if (!step || step.name === chilly.good.step) return null;
    return chilly.el("button", { class: "chilly-link", type: "button", onclick: () => chilly.open(step.name) }, `Show ${step.name}`);
  }

  function draw() {
    const el = chilly.el;
    const now = subject();
    root.hidden = !now;
    if (!now) return;
    if (seen === now && files) {
      const fine = files.filter(({ verdict }) => verdict === "fine");
      const count = fine.length;
      const all = { 1: "The file is", 2: "Both files are" }[count] || `All ${count} files are`;
      const good = `${count === files.length ? all : `${count} other file${count === 1 ? "" : "s"}`} healthy`;
      const chip = el("span", { class: "chilly-chip chilly-chip-ok", title: fine.map(({ name }) => name).join("\n") }, chilly.icon(CHECK), good);
      const bad = files.filter(({ verdict }) => verdict !== "fine").flatMap((file) => [chilly.verdict(file), showStep(file.name)]);
      root.replaceChildren(...bad.filter(Boolean), ...(fine.length ? [chip] : []));
      return;
    }
    const press = () => (job ? chilly.ask("stop", { job: job.job }).catch(() => {}) : look());
    const button = el("button", { class: "chilly-btn chilly-btn-s", type: "button", onclick: press }, job ? "Stop" : `Check the files, reads ${chilly.bytes(reads())}`);
    const says = problem || (job ? `Are the files whole? ${job.text || ""}` : "Are the files whole?");
    root.replaceChildren(el("span", { class: problem ? "chilly-note chilly-msg-bad" : "chilly-note" }, says), button);
  }

  ((chilly.parts ??= {}).health = (place) => {
    root = place;
    chilly.on("view", changed);
    changed();
  });
})();
