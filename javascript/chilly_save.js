// The save bar: name, precision, VAE and parts, what the file will be before the click, and the saves that are under way.
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const save = (chilly.saving ??= {});

  const DTYPES = { source: "as the sources", fp8_e4m3fn: "fp8 (e4m3fn)", fp8_scaled: "fp8, scaled" };
  /** Parts that a file can do without, by the keys that they begin with. */
  const PARTS = {
    "text encoder": "cond_stage_model.*,conditioner.*,text_encoders.*",
    "UNet": "model.diffusion_model.*",
  };
  const REST = 250;

  const form = { name: null, proposed: "", options: {}, written: "{}" };
  let facts = null;
  let problem = null;
  let newest = 0;
  let rest = 0;
  let ui = null;

  ((chilly.parts ??= {}).save = (root) => {
    ui = build(root);
    Object.assign(form, chilly.own("save"));
    fillName();
    fillParts();
    chilly.on("view", changed);
    changed();
    (chilly.start?.jobs || []).filter((job) => job.kind === "save").forEach((job) => save.watch(job, ui.list));
  });

  function build(root) {
    const el = chilly.el;
    const name = el("input", { class: "chilly-in", id: "chilly_save_name", spellcheck: "false", autocomplete: "off", maxlength: "212" }); // 200 with folders, and ".safetensors"
    const dtypes = chilly.start?.dtypes || ["fp16", "bf16", "fp32"];
    const dtype = el("select", { class: "chilly-in" }, ...dtypes.map((one) => el("option", { value: one }, DTYPES[one] || one)));
    const vae = el("select", { class: "chilly-in" });
    const labelled = (text, control, more, style) =>
      el("label", { class: `chilly-save-field ${more}`, style }, el("span", { class: "chilly-label" }, text), control);
    const row = el(
      "div",
      { class: "chilly-save-row" },
      labelled("File name", name, "chilly-save-name"),
      labelled("Precision", dtype, "chilly-pick", "width:130px"),
      labelled("VAE", vae, "chilly-pick", "width:178px"),
      el("div", { class: "chilly-facts" }),
      el("button", { class: "chilly-btn chilly-btn-p", type: "button", id: "chilly_save_button" }, "Save"),
    );
    const line = el("div", { class: "chilly-msg chilly-msg-bad", id: "chilly_save_problem", role: "alert", hidden: "" });
    const list = el("div", { class: "chilly-saves", "aria-label": "Saves", role: "group" });
    const made = { list, line, name, dtype, vae, facts: row.children[3], button: row.lastChild, parts: parts() };
    root.append(list, row, line, made.parts);
    listen(made);
    return made;
  }

  /** What may stay out of the file, folded: whoever needs it knows. */
  function parts() {
    const el = chilly.el;
    const box = (text, glob) => el("label", {}, el("input", { type: "checkbox", class: "chilly-check", "data-glob": glob }), text);
    const other = el("input", { class: "chilly-in", "data-globs": "", placeholder: "first_stage_model.*", style: "width:230px", spellcheck: "false" });
    const keys = el("label", {}, "Keys", other);
    const inside = Object.entries(PARTS).map(([text, glob]) => box(`without ${text}`, glob));
    return el("details", { class: "chilly-save-more" }, el("summary", {}, "Leave parts out"), el("div", { class: "chilly-save-parts" }, ...inside, keys));
  }

  function listen({ name, dtype, vae, parts: fold, button }) {
    name.addEventListener("input", () => {
      form.name = name.value.trim() ? name.value : null;
      chosen();
    });
    name.addEventListener("keydown", (event) => event.key === "Enter" && start());
    name.addEventListener("blur", fillName);
    const option = (key, control) => control.addEventListener("change", () => ((form.options[key] = control.value), chosen()));
    option("dtype", dtype);
    option("vae", vae);
    fold.addEventListener("change", () => {
      const ticked = [...fold.querySelectorAll("[data-glob]:checked")].map((box) => box.dataset.glob);
      const typed = fold.querySelector("[data-globs]").value.trim();
      form.options.discard = [...ticked, ...(typed ? [typed] : [])].join(",");
      chosen();
    });
    button.addEventListener("click", start);
  }

  /** A reload goes on with what was typed and chosen here. */
  const hold = () => chilly.own("save", { name: form.name, options: form.options, written: form.written });

  function chosen() {
    hold();
    later();
  }

  const fillName = () => {
    const emptied = !ui.name.value && document.activeElement === ui.name; // somebody is about to type another
    if (!emptied && (document.activeElement !== ui.name || form.name === null)) ui.name.value = form.name ?? form.proposed;
  };

  /** The recipe is another: its own save options show, and the name and the size are asked for again. What save(...) says in
      the text is newer than what was chosen here, when it changes. */
  function changed() {
    const written = chilly.good?.save || {};
    if (chilly.good && form.written !== JSON.stringify(written)) {
      Object.assign(form, { options: {}, written: JSON.stringify(written) });
      fillParts();
      hold();
    }
    ui.dtype.value = form.options.dtype || written.dtype || "fp16";
    fillVae(form.options.vae || written.vae || "keep");
    if (form.ok !== chilly.view?.ok) draw(); // the name and the size may take their time
    later();
  }

  /** What stays out of the file: parts that are ticked, and the rest as it was typed. */
  function fillParts() {
    let rest = (form.options.discard || "").split(",").map((glob) => glob.trim()).filter(Boolean);
    for (const box of ui.parts.querySelectorAll("[data-glob]")) {
      const globs = box.dataset.glob.split(",");
      box.checked = globs.every((glob) => rest.includes(glob));
      if (box.checked) rest = rest.filter((glob) => !globs.includes(glob));
    }
    ui.parts.querySelector("[data-globs]").value = rest.join(",");
    if (form.options.discard) ui.parts.open = true; // what is left out is never out of sight
  }

  function fillVae(value) {
    const el = chilly.el;
    const models = (chilly.start?.models || []).map(({ name }) => [name, `From ${name}`]);
    const entries = [["keep", "As mixed"], ["drop", "Leave it out"], ...models];
    if (!entries.some(([known]) => known === value)) entries.push([value, value]);
    const there = [...ui.vae.options].map((option) => option.value);
    if (JSON.stringify(there) !== JSON.stringify(entries.map(([known]) => known))) ui.vae.replaceChildren(...entries.map(([known, text]) => el("option", { value: known }, text)));
    ui.vae.value = value;
  }

  const named = () => (ui.name.value.trim() ? ui.name.value : form.proposed);
  const basis = () => ({ text: chilly.good.text, step: chilly.good.step, name: named(), options: options() });
  const options = () => Object.fromEntries(Object.entries(form.options).filter(([, value]) => value !== ""));

  function later() {
    clearTimeout(rest);
    rest = setTimeout(look, REST);
  }

  /** Name and facts of the recipe as it is; a reply that a newer question has overtaken is dropped. */
  async function look() {
    if (!chilly.good?.step) return draw();
    const mine = ++newest;
    try {
      const { name } = await chilly.ask("name", { text: chilly.good.text, step: chilly.good.step });
      if (mine !== newest) return;
      form.proposed = name;
      fillName();
      const found = await chilly.ask("facts", basis());
      if (mine !== newest) return;
      facts = found;
      problem = found.problem;
    } catch (error) {
      if (mine !== newest) return;
      problem = { message: error.message, field: error.field };
      facts = facts && { free_bytes: facts.free_bytes }; // the others were those of what could be saved
    }
    draw();
  }

  const tooLarge = () => Boolean(facts) && facts.bytes > facts.free_bytes;

  function draw() {
    const el = chilly.el;
    const fact = (big, small, bad) => el("div", { class: "chilly-fact", "data-bad": String(Boolean(bad)) }, el("b", {}, big), el("span", {}, small));
    const shown = facts && chilly.good?.step;
    ui.facts.replaceChildren(
      ...(shown && facts.bytes ? [fact(chilly.bytes(facts.bytes), "file size")] : []),
      ...(shown && facts.says ? [fact(facts.says, "to write")] : []),
      fact(chilly.bytes(facts?.free_bytes ?? chilly.start?.free_bytes ?? 0), "free on this disk", tooLarge()),
    );
    mark();
    form.ok = chilly.view?.ok;
    const broken = chilly.view && !chilly.view.ok;
    const reason = tooLarge() ? `Needs ${chilly.bytes(facts.bytes)}, ${chilly.bytes(facts.free_bytes)} free` : "Save";
    ui.button.textContent = reason;
    ui.button.classList.toggle("chilly-save-full", tooLarge());
    ui.button.disabled = Boolean(problem) || tooLarge() || broken || !chilly.good?.step;
  }

  /** A problem stands below the bar and marks the field that caused it. */
  function mark() {
    const said = (!tooLarge() && problem?.message) || (chilly.view && !chilly.view.ok ? "The recipe has a mistake; mend it before saving." : "");
    ui.line.hidden = !said;
    ui.line.textContent = said;
    const fields = { name: ui.name, dtype: ui.dtype, vae: ui.vae, discard: ui.parts.querySelector("[data-globs]") };
    Object.entries(fields).forEach(([key, control]) => {
      if (problem?.field === key) {
        control.setAttribute("aria-invalid", "true");
        control.setAttribute("aria-describedby", ui.line.id);
        if (key === "discard") ui.parts.open = true;
      } else control.removeAttribute("aria-invalid");
    });
  }

  async function start() {
    if (ui.button.disabled) return;
    ui.button.disabled = true;
    const pressed = basis();
    let wanted = null;
    try {
      // Of what the form said when it was pressed, and of the recipe behind the edits that are under way.
      const now = () => (wanted = { ...pressed, text: chilly.good.text, step: chilly.good.step });
      const { job } = await chilly.ask("save", now);
      save.watch(job, ui.list, { file: wanted.name, text: wanted.text });
      chilly.say(`Saving ${wanted.name}`);
      if (form.name === wanted.name) form.name = null;
      hold();
    } catch (error) {
      problem = { message: error.message, field: error.field };
    }
    draw();
    later();
  }

  /** Asks for name and facts again, such as when a save has ended. */
  save.refresh = later;
})();
