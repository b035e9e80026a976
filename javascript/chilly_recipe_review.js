/* What was pasted, shown as steps with what differs, before it replaces anything. */
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const recipe = (chilly.recipe ??= {});

  // What a step does, however it is spelled: `(1 - 0.15) * A + 0.15 * B` is `0.85 * A + 0.15 * B`.
  const meaning = ({ method, expression, operands, parameters }) =>
    method === "expression" ? expression : JSON.stringify([method, operands.map(({ text }) => text), parameters.map(({ value, text }) => value ?? text)]);

  // How a step of the new recipe compares with the one of that name here.
  const change = (step, now) => {
    const same = now.find((one) => one.name === step.name);
    if (!same) return { kind: "new", says: now.length ? "new" : "" };
    return meaning(same) === meaning(step) ? { kind: "same", says: "as it is" } : { kind: "changed", says: "changed", was: same.expression };
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
    node.append(...recipe.mistakesOf(step, errors).map((e) => chilly.el("p", { class: "chilly-was chilly-bad" }, e.message)));
    node.append(recipe.mixLine(step));
    return node;
  };

  const mistakesElsewhere = (view) =>
    view.errors
      .filter((error) => !view.steps.some((step) => recipe.mistakesOf(step, [error]).length))
      .map((error) => chilly.el("div", { class: "chilly-err" }, chilly.el("span", {}, error.message)));

  const list = (className, lines) =>
    lines.length ? [chilly.el("ul", { class: className }, ...lines.map((line) => chilly.el("li", {}, line)))] : [];

  const gone = (review, now) => {
    const names = now.map((step) => step.name).filter((name) => !review.view.steps.some((step) => step.name === name));
    return names.length ? [chilly.el("p", { class: "chilly-note" }, `Not in it: ${names.join(", ")}.`)] : [];
  };

  const pictureSettings = (review) => {
    if (!review.params || chilly.start.no_pictures) return { content: [], take: () => {} };
    const box = chilly.el("input", { type: "checkbox", class: "chilly-check" });
    box.checked = true;
    const { prompt, seed, steps } = review.params;
    const says = [prompt && `“${prompt.length > 80 ? `${prompt.slice(0, 80)}…` : prompt}”`, seed !== undefined && `seed ${seed}`, steps && `${steps} steps`];
    const label = chilly.el("label", { class: "chilly-row chilly-take" }, box, chilly.el("span", {}, `Take the picture's settings too: ${says.filter(Boolean).join(", ")}`));
    return { content: [label], take: () => (box.checked ? chilly.setParams(review.params) : null) };
  };

  const joined = (review) => `${chilly.text.replace(/\s+$/, "")}\n${review.text}`;

  // Whether the pasted steps can stand below ours; if not, the engine says why.
  const below = async (dialog, review) => {
    const button = [...dialog.foot.children].find((one) => one.textContent === "Add below");
    const why = chilly.el("p", { class: "chilly-note chilly-dialog-why" });
    button.disabled = true;
    const view = await chilly.ask("look", { text: joined(review), step: null }).catch((error) => ({ ok: false, errors: [error] }));
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

  // Nothing but a picture's parameters: there is no recipe, or it is the one that is here.
  const reviewSettings = (review, title, settings) => {
    const content = [...settings.content, ...list("chilly-remarks", review.notes)];
    if (!settings.content.length) content.push(chilly.el("p", {}, "There is no recipe in it."));
    const use = { text: "Use these settings", run: () => settings.take(), autofocus: true };
    chilly.dialog({ title, content, actions: [...(settings.content.length ? [use] : []), { text: "Cancel" }] });
  };

  const stepList = (review, now) => {
    const { view } = review;
    const changed = view.steps.filter((step) => change(step, now).kind === "changed");
    const shown = review.kind === "numbers" && changed.length ? changed : view.steps;
    const lines = shown.map((step) => stepLine(step, view.steps.indexOf(step), now, view.errors));
    return chilly.el("ol", { class: "chilly-steps chilly-review-steps", "aria-label": "Steps" }, ...lines);
  };

  /** Shows a REVIEW with Replace, Add below and Cancel; numbers alone go into the open step. */
  recipe.review = (review) => {
    const title = review.title.charAt(0).toUpperCase() + review.title.slice(1);
    const settings = pictureSettings(review);
    if (!review.text || (review.params && review.text === chilly.text)) return reviewSettings(review, title, settings);
    const now = (chilly.view && chilly.view.steps) || [];
    const empty = !chilly.text.trim();
    const numbers = review.kind === "numbers";
    const content = [
      ...mistakesElsewhere(review.view),
      stepList(review, now),
      ...(numbers || empty ? [] : gone(review, now)),
      ...list("chilly-remarks", review.notes),
      ...settings.content,
      chilly.el("details", { class: "chilly-lanes" }, chilly.el("summary", {}, "As text"), chilly.el("pre", { class: "chilly-review-text", tabindex: "0" }, review.text)),
    ];
    const replace = numbers ? "Use these numbers" : empty ? "Use this recipe" : "Replace";
    const actions = [
      { text: replace, run: use(review.text, numbers ? "The numbers are set." : "The recipe is replaced.", settings), autofocus: true },
      ...(numbers || empty ? [] : [{ text: "Add below", run: use(joined(review), "The steps are added.", settings) }]),
      { text: "Cancel" },
    ];
    const dialog = chilly.dialog({ title, content, actions });
    if (!numbers && !empty) below(dialog, review);
  };
})();
