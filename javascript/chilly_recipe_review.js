/* What was pasted, shown as steps with what differs, before it replaces anything. */
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const recipe = (chilly.recipe ??= {});

  // How a step of the new recipe compares with the one of that name here.
  const change = (step, now) => {
    const same = now.find((one) => one.name === step.name);
    if (!same) return { kind: "new", says: now.length ? "new" : "" };
    return same.expression === step.expression ? { kind: "same", says: "as it is" } : { kind: "changed", says: "changed", was: same.expression };
  };

  const stepLine = (step, place, now, errors) => {
    const { kind, says, was } = change(step, now);
    const tag = says ? [chilly.el("span", { class: `chilly-tag-change chilly-tag-${kind}` }, says)] : [];
    const head = chilly.el(
      "div", { class: "chilly-step-head" },
      chilly.el("span", { class: "chilly-step-name" }, chilly.el("i", {}, String(place + 1)), step.name, ...tag),
      chilly.el("span", { class: "chilly-step-m" }, step.title || step.method),
      recipe.formula(step),
    );
    const node = chilly.el("li", { class: "chilly-step" }, head);
    if (was) node.append(chilly.el("p", { class: "chilly-was" }, "was: ", chilly.el("code", {}, was)));
    node.append(...errors.filter((e) => e.start >= step.start && e.start <= step.end).map((e) => chilly.el("p", { class: "chilly-was chilly-bad" }, e.message)));
    node.append(recipe.mixLine(step));
    return node;
  };

  const mistakesElsewhere = (view) =>
    view.errors
      .filter((error) => !view.steps.some((step) => error.start >= step.start && error.start <= step.end))
      .map((error) => chilly.el("div", { class: "chilly-err" }, chilly.el("span", {}, error.message)));

  const list = (className, lines) =>
    lines.length ? [chilly.el("ul", { class: className }, ...lines.map((line) => chilly.el("li", {}, line)))] : [];

  const gone = (review, now) => {
    const names = now.map((step) => step.name).filter((name) => !review.view.steps.some((step) => step.name === name));
    return names.length ? [chilly.el("p", { class: "chilly-note" }, `Not in it: ${names.join(", ")}.`)] : [];
  };

  const pictureSettings = (review) => {
    if (!review.params) return { content: [], take: () => {} };
    const box = chilly.el("input", { type: "checkbox", class: "chilly-check" });
    box.checked = true;
    const { prompt, seed, steps } = review.params;
    const says = [prompt && `“${prompt.length > 80 ? `${prompt.slice(0, 80)}…` : prompt}”`, seed !== undefined && `seed ${seed}`, steps && `${steps} steps`];
    const label = chilly.el("label", { class: "chilly-row chilly-take" }, box, chilly.el("span", {}, `Take the picture's settings too: ${says.filter(Boolean).join(", ")}`));
    return { content: [label], take: () => (box.checked ? chilly.setParams(review.params) : null) };
  };

  // Whether the pasted steps can stand below ours; if not, the engine says why.
  const below = async (dialog, review) => {
    const joined = `${chilly.text.replace(/\s+$/, "")}\n${review.text}`;
    const button = [...dialog.foot.children].find((one) => one.textContent === "Add below");
    const why = chilly.el("p", { class: "chilly-note chilly-dialog-why" });
    button.disabled = true;
    const view = await chilly.ask("look", { text: joined, step: null }).catch((error) => ({ ok: false, errors: [error] }));
    const old = new Set(chilly.view.errors.concat(review.view.errors).map((error) => error.message.replace(/\d+/g, "")));
    const fresh = view.errors.filter((error) => !old.has(error.message.replace(/\d+/g, "")));
    button.disabled = fresh.length > 0;
    if (fresh.length) {
      why.textContent = `Add below is not possible: ${fresh[0].message}`;
      dialog.foot.before(why);
    }
  };

  const use = (text, says, settings) => async () => {
    settings.take();
    if (await recipe.look(text)) chilly.say(`${says} Undo brings back what was there.`);
  };

  /** Shows a REVIEW with Replace, Add below and Cancel; numbers alone go into the open step. */
  recipe.review = (review) => {
    const now = (chilly.view && chilly.view.steps) || [];
    const empty = !chilly.text.trim();
    const numbers = review.kind === "numbers";
    const settings = pictureSettings(review);
    const changed = review.view.steps.filter((step) => change(step, now).kind === "changed");
    const shown = numbers && changed.length ? changed : review.view.steps;
    const steps = shown.map((step) => stepLine(step, review.view.steps.indexOf(step), now, review.view.errors));
    const content = [
      ...mistakesElsewhere(review.view),
      chilly.el("ol", { class: "chilly-steps chilly-review-steps", "aria-label": "Steps" }, ...steps),
      ...(numbers || empty ? [] : gone(review, now)),
      ...list("chilly-remarks", review.notes),
      ...settings.content,
      chilly.el("details", { class: "chilly-lanes" }, chilly.el("summary", {}, "As text"), chilly.el("pre", { class: "chilly-review-text", tabindex: "0" }, review.text)),
    ];
    const replace = numbers ? "Use these numbers" : empty ? "Use this recipe" : "Replace";
    const actions = [
      { text: replace, run: use(review.text, numbers ? "The numbers are set." : "The recipe is replaced.", settings), autofocus: true },
      ...(numbers || empty ? [] : [{ text: "Add below", run: use(`${chilly.text.replace(/\s+$/, "")}\n${review.text}`, "The steps are added.", settings) }]),
      { text: "Cancel" },
    ];
    const dialog = chilly.dialog({ title: review.title, content, actions });
    if (!numbers && !empty) below(dialog, review);
  };
})();
