// The preview pane: prompt and parameters, the line that tells what is going on, and the places of its pictures.
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const preview = (chilly.preview ??= {});
  const DICE = "M1.8 1.8h10.4v10.4H1.8zM4.8 9.2h.01M7 7h.01M9.2 4.8h.01";
  const PIN = "M5 1.5h4M5.8 1.5v4L3.6 8h6.8L8.2 5.5v-4M7 8v4.5";

  ((chilly.parts ??= {}).preview = (root) => {
    const el = chilly.el;
    const none = chilly.start?.no_pictures; // then nothing is asked for either
    if (none) return root.append(el("p", { class: "chilly-note chilly-no-pictures" }, none));
    const fields = el("div", {}, prompt(), row(), more());
    root.append(
      el("div", { class: "chilly-h" }, el("h2", {}, "Preview"), follow()),
      el(
        "div",
        { class: "chilly-prev-in" },
        el("div", { class: "chilly-prev-f" }, fields, preview.trio()),
        el("div", { class: "chilly-prev-w" }, preview.wipe(), statusLine(), preview.actions()),
        el("div", { class: "chilly-prev-s" }, preview.strengthStrip(), preview.moreStrips()),
      ),
    );
    chilly.on("params", () => fillFields(fields));
    chilly.on("pictures", () => markFields(fields));
    fillFields(fields);
    preview.begin();
  });

  /** A labelled field that sets one of the parameters when it is left or Enter is pressed. */
  function field(name, label, control) {
    control.dataset.param = name;
    control.classList.add("chilly-in");
    control.addEventListener("change", () => setParam(name, control));
    return chilly.el("label", {}, chilly.el("span", { class: "chilly-label" }, label), control);
  }

  function setParam(name, control) {
    const numeric = control.type === "number";
    if (numeric && (control.value === "" || !control.checkValidity())) return fillOne(control);
    const several = control.multiple && [...control.selectedOptions].map((option) => option.value);
    const value = several || (numeric ? Number(control.value) : control.value);
    if (JSON.stringify(chilly.params[name]) !== JSON.stringify(value)) chilly.setParams({ [name]: value });
  }

  /** Takes in what is being typed, which is else taken in when its field is left or the typing rests. */
  preview.commit = () => {
    const control = chilly.host().querySelector("#chilly_page [data-param]:focus");
    if (control) setParam(control.dataset.param, control);
  };

  const number = (low, high, step = 1) =>
    chilly.el("input", { type: "number", min: String(low), max: String(high), step: String(step), inputmode: step < 1 ? "decimal" : "numeric" });
  const choice = (values) => chilly.el("select", {}, ...values.map((value) => chilly.el("option", { value }, value)));
  const several = (values) => Object.assign(choice(values), { multiple: true, size: Math.min(4, values.length) });
  const pick = (element) => (element.classList.add("chilly-pick"), element);

  function prompt() {
    const area = chilly.el("textarea", { rows: "2", spellcheck: "false" });
    let rest = 0;
    area.addEventListener("input", () => {
      clearTimeout(rest);
      rest = setTimeout(() => setParam("prompt", area), 700);
    });
    return field("prompt", "Prompt", area);
  }

  function row() {
    const el = chilly.el;
    const seed = field("seed", "Seed", number(0, 2 ** 32 - 1));
    const dice = el("button", { class: "chilly-btn chilly-btn-s", type: "button", title: "New seed", "aria-label": "New seed" });
    dice.append(chilly.icon(DICE));
    dice.addEventListener("click", () => preview.dice());
    const pin = el("button", { class: "chilly-btn chilly-btn-s", type: "button", title: "Same seed for every picture" });
    pin.append(chilly.icon(PIN));
    pin.setAttribute("aria-label", "Same seed for every picture");
    const press = () => pin.setAttribute("aria-pressed", String(preview.fixed));
    pin.addEventListener("click", () => ((preview.fixed = !preview.fixed), press()));
    chilly.on("params", press);
    press();
    const label = seed.firstChild;
    const box = el("div", { class: "chilly-seed" }, seed.lastChild, dice, pin);
    seed.replaceChildren(label);
    box.firstChild.setAttribute("aria-label", "Seed");
    return el("div", { class: "chilly-fields" }, el("div", {}, seed, box), field("steps", "Steps", number(1, 150)), pick(size()));
  }

  /** Sizes that fit the models, the present one among them; others are typed below. */
  function size() {
    const control = chilly.el("select", { class: "chilly-in", "data-size": "" });
    control.addEventListener("change", () => {
      const [width, height] = control.value.split(" ").map(Number);
      chilly.setParams({ width, height });
    });
    return chilly.el("label", {}, chilly.el("span", { class: "chilly-label" }, "Size"), control);
  }

  function fillSizes(control) {
    const { width, height } = chilly.params;
    const side = Math.min(width, height);
    const long = Math.round((side * 1.5) / 8) * 8;
    const all = [[width, height], [side, side], [side, long], [long, side], [side * 2, side * 2]];
    const values = [...new Set(all.map((pair) => pair.join(" ")))].filter((pair) => pair.split(" ").every((n) => n <= 2048));
    control.replaceChildren(...values.map((value) => chilly.el("option", { value }, value.replace(" ", " × "))));
    control.value = `${width} ${height}`;
  }

  function more() {
    const el = chilly.el;
    const negative = field("negative_prompt", "Negative prompt", el("textarea", { rows: "2", spellcheck: "false" }));
    negative.classList.add("chilly-wide");
    const inside = el(
      "div",
      { class: "chilly-more-in" },
      negative,
      pick(field("sampler", "Sampler", choice(chilly.start?.samplers || []))),
      ...ofHost(),
      field("cfg", "Prompt weight (CFG)", number(1, 30, 0.5)),
      field("width", "Width", number(8, 2048, 8)),
      field("height", "Height", number(8, 2048, 8)),
      field("clip_skip", "Clip skip", number(1, 12)),
    );
    return el("details", { class: "chilly-more" }, el("summary", {}), inside);
  }

  /** What a webui has beside its samplers. */
  function ofHost() {
    const { schedulers = [], styles = [] } = chilly.start || {};
    const schedule = choice(["", ...schedulers]);
    schedule.options[0].textContent = "The sampler's own";
    return [
      ...(schedulers.length ? [pick(field("scheduler", "Schedule type", schedule))] : []),
      ...(styles.length ? [field("styles", "Styles", several(styles))] : []),
    ];
  }

  function fillOne(control) {
    const value = chilly.params[control.dataset.param];
    if (control.multiple) return [...control.options].forEach((option) => (option.selected = Boolean(value?.includes(option.value))));
    if (control.matches("select") && ![...control.options].some((option) => option.value === value)) {
      control.append(chilly.el("option", { value: String(value) }, String(value)));
    }
    if (document.activeElement !== control || control.type === "number") control.value = String(value ?? "");
  }

  function fillFields(fields) {
    if (!chilly.params) return;
    fields.querySelectorAll("[data-param]").forEach(fillOne);
    fillSizes(fields.querySelector("[data-size]"));
    const { negative_prompt: negative, sampler, cfg } = chilly.params;
    const summary = fields.querySelector("summary");
    summary.textContent = `${negative ? "Negative prompt" : "No negative prompt"}, ${sampler}, CFG ${cfg}`;
  }

  /** The parameter that the engine found fault with is marked, and its fold opened. */
  function markFields(fields) {
    const wrong = preview.status().field;
    fields.querySelectorAll("[data-param]").forEach((control) => {
      const bad = control.dataset.param === wrong;
      if (bad) {
        control.setAttribute("aria-invalid", "true");
        control.setAttribute("aria-errormessage", "chilly_preview_status");
        const fold = control.closest("details");
        if (fold) fold.open = true;
      } else control.removeAttribute("aria-invalid");
    });
  }

  function follow() {
    const box = chilly.el("input", { type: "checkbox", class: "chilly-check" });
    box.addEventListener("change", () => preview.setFollow(box.checked));
    chilly.on("pictures", () => (box.checked = preview.follow !== false));
    return chilly.el("label", { class: "chilly-row chilly-note" }, box, "Follow the mixer");
  }

  /** Says what goes on; only what a person waits for is read aloud, not every step. */
  function statusLine() {
    const el = chilly.el;
    const text = el("span", { class: "chilly-status-t", id: "chilly_preview_status" });
    const button = el("button", { class: "chilly-btn chilly-btn-s", type: "button" });
    const bar = el("div", { class: "chilly-prog", "aria-hidden": "true" }, el("i", {}));
    const line = el("div", { class: "chilly-status" }, el("span", { class: "chilly-status-dot", "aria-hidden": "true" }), text, button, bar);
    let action = null;
    let spoken = "";
    button.addEventListener("click", () => (action === "stop" ? preview.stop() : preview.update()));
    chilly.on("pictures", () => {
      const now = preview.status();
      action = now.action;
      line.dataset.s = now.state;
      text.textContent = now.text;
      button.hidden = !action;
      if (action === "stop") button.setAttribute("aria-label", "Stop the pictures");
      else button.removeAttribute("aria-label");
      button.textContent = action === "stop" ? "Stop" : now.state === "none" ? "Make pictures" : now.state === "bad" ? "Try again" : "Update";
      bar.firstChild.style.setProperty("--v", `${Math.round(now.share * 100)}%`);
      const loud = ["bad", "stale"].includes(now.state) || (now.state === "idle" && !preview.follow);
      if (loud && now.text !== spoken) chilly.say(now.text);
      if (now.state !== "busy") spoken = now.text;
    });
    return line;
  }
})();
