// The same weights as text: the list of numbers, which is the whole alternative to the drawing, lines for parts of blocks, and words.
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const mixer = (chilly.mixer ??= {});
  const PAUSE = 350; // after the last key, before a whole list is sent
  let list, label, message, rules, fold, rulesMessage, words, outside;

  // Where the browser does it, nothing is measured while a stroke goes on.
  function fit(field) {
    if (CSS.supports("field-sizing", "content")) return;
    field.style.height = "auto";
    field.style.height = `${field.scrollHeight + 2}px`;
  }

  function tell(node, text, bad = true) {
    node.textContent = text;
    node.classList.toggle("chilly-msg-bad", bad);
  }

  const parts = () => list.value.split(/[\s,;]+/).filter(Boolean);

  // Lists of other lengths mean something too (25, SuperMerger's 61 and 110), but not while one is being typed.
  function typing(whole) {
    const numbers = parts();
    const { length } = mixer.net.slots;
    const bad = numbers.findIndex((part) => !/^[-+\u2212\d.e/]+$/i.test(part)); // 1/3 is one
    if (bad >= 0) return tell(message, `Number ${bad + 1} reads "${numbers[bad].slice(0, 20)}", which is no number.`);
    if (!whole && numbers.length !== length) return tell(message, `${numbers.length} of ${length} numbers. The bars change when all are there.`);
    if (!numbers.length || list.value === mixer.shown.list_text) return tell(message, "", false);
    return sendList(list.value);
  }

  function sendList(text) {
    const before = new Set(chilly.view ? chilly.view.notes : []);
    mixer.send({ do: "list", text }, (problem) => {
      if (problem) return tell(message, problem.message);
      const said = (chilly.view.notes || []).filter((note) => !before.has(note)).join(" ");
      tell(message, said, false);
      chilly.say(said || `All ${mixer.net.slots.length} numbers are set.`);
      return null;
    });
  }

  function makeList() {
    let pause = 0;
    label = chilly.el("label", { class: "chilly-label", for: "chilly_mixer_list" });
    list = chilly.el("textarea", { class: "chilly-in", id: "chilly_mixer_list", rows: "1", spellcheck: "false", "aria-describedby": "chilly_mixer_list_message" });
    message = chilly.el("div", { class: "chilly-msg", id: "chilly_mixer_list_message", "aria-live": "polite" });
    list.addEventListener("input", () => {
      clearTimeout(pause);
      fit(list);
      if (!mixer.ready()) return;
      if (parts().length === mixer.net.slots.length) pause = setTimeout(() => typing(false), PAUSE);
      else typing(false);
    });
    list.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" || event.shiftKey) return;
      event.preventDefault();
      clearTimeout(pause);
      typing(true);
    });
    list.addEventListener("change", () => {
      clearTimeout(pause);
      if (mixer.ready()) typing(true);
    });
    const copy = chilly.el("button", { type: "button", class: "chilly-btn chilly-btn-s", "aria-label": "Copy the numbers" }, "Copy");
    copy.addEventListener("click", () => mixer.copy(list, copy));
    return [chilly.el("div", { class: "chilly-h" }, label, copy), list, message];
  }

  /** Copies a field's text, also where the page has no right to the clipboard. */
  mixer.copy = async (field, button) => {
    try {
      await navigator.clipboard.writeText(field.value);
    } catch {
      field.select();
      document.execCommand("copy");
    }
    button.textContent = "Copied";
    setTimeout(() => (button.textContent = "Copy"), 1200);
  };

  function makeRules() {
    rules = chilly.el("textarea", { class: "chilly-in", id: "chilly_mixer_rules", rows: "2", spellcheck: "false", "aria-describedby": "chilly_mixer_rules_message" });
    rules.placeholder = "IN04-IN08:attn2:0.6";
    rules.setAttribute("aria-label", "Weights for parts of blocks, one line each");
    rulesMessage = chilly.el("div", { class: "chilly-msg", id: "chilly_mixer_rules_message", "aria-live": "polite" });
    rules.addEventListener("input", () => fit(rules));
    rules.addEventListener("change", () => {
      if (!mixer.ready()) return;
      mixer.send({ do: "rules", text: rules.value }, (problem) => tell(rulesMessage, problem ? problem.message : ""));
    });
    const summary = chilly.el("summary", {}, "Parts of blocks: lines such as ", chilly.el("code", {}, "IN04-IN08:attn2:0.6"));
    fold = chilly.el("details", { class: "chilly-rules" }, summary, rules, rulesMessage);
    fold.addEventListener("toggle", () => fit(rules));
    return fold;
  }

  /** Makes the text below the drawing. */
  mixer.makeNumbers = () => {
    words = chilly.el("span", { id: "chilly_mixer_words" });
    outside = chilly.el("div", { class: "chilly-outside", role: "note", hidden: "" });
    const line = chilly.el("p", { class: "chilly-words" }, chilly.el("span", { class: "chilly-note" }, "In words"), words);
    return chilly.el("div", { class: "chilly-nums" }, outside, ...makeList(), line, makeRules());
  };

  // Runs of the list by their names: BASE, IN00 to IN11, M00, OUT00 to OUT11.
  function runs(slots) {
    const found = [];
    for (const slot of slots) {
      const stem = slot.replace(/\d+$/, "");
      const last = found[found.length - 1];
      if (last && last.stem === stem) last.to = slot;
      else found.push({ stem, from: slot, to: slot });
    }
    return found.map(({ from, to }) => (from === to ? from : `${from} to ${to}`)).join(", ");
  }

  // The two models stand out in the sentence.
  function drawWords(text) {
    const names = [mixer.shown.a, mixer.shown.b].filter(Boolean).sort((x, y) => y.length - x.length);
    const escaped = names.map((name) => name.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    const pieces = names.length ? text.split(new RegExp(`(?<![\\w.-])(${escaped.join("|")})(?![\\w-])`)) : [text];
    words.replaceChildren(...pieces.map((piece) => (names.includes(piece) ? chilly.el("b", {}, piece) : document.createTextNode(piece))));
  }

  /** Shows the engine's numbers, rules and words; what is being typed stays. */
  mixer.drawNumbers = () => {
    const { shown, net } = mixer;
    label.textContent = `${net.slots.length} numbers: ${runs(net.slots)}`;
    if (document.activeElement !== list && list.value !== shown.list_text) {
      list.value = shown.list_text;
      tell(message, "", false);
      fit(list);
    }
    if (document.activeElement !== rules && rules.value !== (shown.rules || "")) {
      rules.value = shown.rules || "";
      tell(rulesMessage, "");
      if (rules.value) fold.open = true;
    }
    const said = (chilly.good && chilly.good.words) || "";
    drawWords(said);
    words.parentNode.hidden = !said;
    outside.hidden = !(shown.outside || []).length;
    outside.replaceChildren(...(shown.outside || []).map((sentence) => chilly.el("div", {}, sentence)));
  };

  /** Makes the fields as high as their text. */
  mixer.fitNumbers = () => [list, rules].forEach(fit);
})();
