// The saves of this page, one line each: progress with Stop, then the report with its hash, or what went wrong.
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const save = (chilly.saving ??= {});
  const CHECK = "M2 7l3.2 3.2L11.4 3.6";

  /** Puts a save's line into the list and follows the job to its end. */
  save.watch = (job, list, { file = job.report?.file || "File", text = "" } = {}) => {
    const line = chilly.el("div", { class: "chilly-saved", tabindex: "-1" });
    list.append(line);
    const bar = progress(line, job, file);
    let isSaved = false; // and, while the job goes on, not compared yet
    chilly.job(job, (now) => {
      const goesOn = now.state === "waiting" || now.state === "working";
      if (goesOn && !now.report) return bar(now);
      if (goesOn && isSaved) return;
      const held = line.contains(document.activeElement);
      if (now.report && now.state !== "failed") saved(line, now, text, goesOn, isSaved);
      else failed(line, now, file);
      if (held) line.focus();
      isSaved = goesOn;
      save.refresh();
    });
    line.scrollIntoView({ block: "nearest" });
  };

  const button = (text, act) => chilly.el("button", { class: "chilly-btn chilly-btn-s", type: "button", onclick: (event) => act(event.target) }, text);

  const stopJob = (job) => chilly.ask("stop", { job: job.job }).catch((error) => chilly.say(error.message));

  function progress(line, job, name) {
    const el = chilly.el;
    const note = el("span", { class: "chilly-note" });
    const track = el("div", { class: "chilly-prog", role: "progressbar", "aria-label": `Saving ${name}`, "aria-valuemin": "0", "aria-valuemax": "100" }, el("i", {}));
    const stop = button("Stop", () => stopJob(job));
    stop.setAttribute("aria-label", `Stop saving ${name}`);
    const state = el("span", { class: "chilly-chip" }, "Waiting");
    line.replaceChildren(state, el("strong", {}, name), note, el("span", { class: "chilly-row" }, stop), track);
    return (now) => {
      const percent = Math.round((now.share || 0) * 100);
      state.textContent = now.state === "waiting" ? "Waiting" : "Saving";
      note.textContent = now.state === "waiting" ? "" : now.text || "";
      track.setAttribute("aria-valuenow", String(percent));
      track.firstChild.style.setProperty("--v", `${percent}%`);
    };
  }

  // The server forgets it too, or a reload would bring it back.
  const dismiss = (line, job) =>
    button("Dismiss", () => {
      line.remove();
      chilly.ask("dismiss", { job: job.job }).catch(() => {});
    });

  /** What a picture was made of is compared with the file later where the program is at work: the file is there meanwhile. */
  const compared = (report, waits) => {
    if (waits) return ", waits to be compared with its picture";
    if (report.as_shown === null) return ", not compared with a picture";
    return report.as_shown ? ": the very numbers of the picture" : "";
  };

  function saved(line, job, text, waits, isKnown) {
    const el = chilly.el;
    const { report } = job;
    const seconds = `${report.seconds < 10 ? report.seconds.toFixed(1) : Math.round(report.seconds)} s`;
    const checked = report.checked ? `Read back and checked${compared(report, waits)}. ` : "";
    const note = `${chilly.bytes(report.bytes)} in ${seconds}. ${checked}The recipe is inside the file.`;
    const chip = el("span", { class: "chilly-chip chilly-chip-ok" }, chilly.icon(CHECK), "Saved");
    const hash = button(report.short_hash || (report.sha256 || "").slice(0, 10), (one) => copied(one, report.sha256));
    hash.classList.add("chilly-hash");
    hash.title = `sha256 ${report.sha256}`;
    hash.setAttribute("aria-label", `Copy the hash ${report.short_hash || ""}`);
    const acts = [hash];
    if (text) acts.push(button("Copy recipe", (one) => copied(one, text)));
    acts.push(button("Model card", () => chilly.card(report.name)));
    if (report.can_load) acts.push(button("Load it now", (one) => load(one, report)));
    acts.push(waits ? button("Do not compare", () => stopJob(job)) : dismiss(line, job));
    line.replaceChildren(chip, el("strong", {}, report.file || report.name), el("span", { class: "chilly-note" }, note), el("span", { class: "chilly-row" }, ...acts));
    (report.warnings || []).forEach((warning) => line.append(el("span", { class: "chilly-chip chilly-chip-warn" }, warning)));
    const { verdict } = report.health; // what is broken stands among the warnings
    if (verdict !== "broken") line.append(chilly.verdict({ name: "The file", ...report.health }));
    chilly.say(`Saved ${report.file || report.name}, ${note}`);
    if (!isKnown) chilly.emit("saved", report);
  }

  function failed(line, job, name) {
    const el = chilly.el;
    const stopped = job.state === "stopped";
    const says = stopped ? "Stopped." : job.problem?.message || job.text || "Not saved";
    const chip = el("span", { class: `chilly-chip ${stopped ? "" : "chilly-chip-warn"}` }, stopped ? "Stopped" : "Not saved");
    const note = el("span", { class: `chilly-note ${stopped ? "" : "chilly-msg-bad"}` }, says);
    line.replaceChildren(chip, el("strong", {}, name), note, el("span", { class: "chilly-row" }, dismiss(line, job)));
    chilly.say(`${name}: ${says}`);
  }

  async function copied(one, text) {
    const before = one.textContent;
    one.textContent = (await chilly.copy(text)) ? "Copied" : "Copying is not allowed here";
    setTimeout(() => (one.textContent = before), 1400);
  }

  async function load(one, report) {
    one.disabled = true;
    try {
      const { job } = await chilly.ask("load", { name: report.name });
      const done = await chilly.job(job, (now) => (one.textContent = now.state === "working" ? "Loading" : one.textContent));
      if (done.state !== "done") throw new Error(done.problem?.message || done.text);
      one.textContent = "Loaded";
      chilly.emit("loaded", done.report);
    } catch (error) {
      one.disabled = false;
      one.textContent = "Load it now";
      chilly.complain?.(error.message);
    }
  }
})();
