/* The recipe as text: coloured words below a text field whose own letters are transparent. */
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const recipe = (chilly.recipe ??= {});
  const PAUSE = 220; // milliseconds without a key before the engine is asked
  const LONG = 60000; // beyond this many characters colours would make typing slow
  const WORD = /#[^\n]*|"(?:\\.|[^"\\\n])*"?|[\p{L}\p{N}_.](?:[\p{L}\p{N}_.-]*[\p{L}\p{N}_.])?|[^\s]/gu;

  const look = (word, text, end, bracket) => {
    if (word[0] === "#") return "note";
    if (/^(\d+\.?\d*|\.\d+)(e\d+)?$/i.test(word)) return "num";
    if (!/^["\p{L}\p{N}_.]/u.test(word)) return "op";
    const next = /^\s*([=(]?)(?!=)/.exec(text.slice(end, end + 40))[1];
    if (next === "(") return "fn";
    return next === "=" ? (bracket ? "fn" : "def") : "";
  };

  // The words of a text as [start, end, look].
  const words = (text) => {
    const found = [];
    let depth = 0;
    for (const match of text.matchAll(WORD)) {
      const [word] = match;
      const end = match.index + word.length;
      found.push([match.index, end, look(word, text, end, depth > 0)]);
      if ("([{".includes(word)) depth += 1;
      else if (")]}".includes(word)) depth = Math.max(0, depth - 1);
    }
    return found;
  };

  // Where a mistake begins or ends inside a word, the word is cut there.
  const pieces = (text, errors) => {
    const cuts = new Set([0, text.length]);
    const looks = text.length > LONG ? [] : words(text);
    for (const [start, end] of looks) cuts.add(start).add(end);
    for (const { start, end } of errors) cuts.add(start).add(end);
    const places = [...cuts].filter((cut) => cut >= 0 && cut <= text.length).sort((a, b) => a - b);
    let at = 0;
    return places.slice(1).map((end, index) => {
      const start = places[index];
      while (at < looks.length && looks[at][1] <= start) at += 1;
      const inside = at < looks.length && looks[at][0] <= start;
      return { text: text.slice(start, end), look: inside ? looks[at][2] : "", wrong: errors.some((e) => e.start <= start && e.end >= end) };
    });
  };

  const paint = (pre, text, errors) => {
    const lines = [chilly.el("span", { class: "chilly-ln" })];
    for (const piece of pieces(text, errors)) {
      piece.text.split("\n").forEach((part, index) => {
        if (index) lines.push(chilly.el("span", { class: "chilly-ln" }));
        if (!part) return;
        const kind = [piece.look && `chilly-t-${piece.look}`, piece.wrong && "chilly-t-err"].filter(Boolean).join(" ");
        lines[lines.length - 1].append(kind ? chilly.el("span", { class: kind }, part) : part);
      });
    }
    pre.replaceChildren(...lines);
  };

  class Editor {
    constructor() {
      this.pre = chilly.el("pre", { "aria-hidden": "true" });
      this.area = chilly.el("textarea", {
        id: "chilly_text", spellcheck: "false", autocapitalize: "off", autocomplete: "off", wrap: "soft",
        "aria-label": "Recipe as text", "aria-describedby": "chilly_mistakes",
      });
      this.mistakes = chilly.el("div", { id: "chilly_mistakes", "aria-live": "polite" });
      const box = chilly.el("div", { class: "chilly-ed" }, this.pre, this.area);
      this.node = chilly.el("div", {}, box, this.mistakes);
      this.timer = 0; // of the pause after the last key
      this.newest = 0; // of the texts that were asked about
      this.waiting = false; // for the reply to it
      this.asked = null; // the end of that question
      this.area.addEventListener("input", () => this.typed());
      this.area.addEventListener("keydown", (event) => this.key(event));
      this.area.addEventListener("click", () => this.follow());
      this.area.addEventListener("blur", () => this.send()); // whoever presses Save means what is written
    }

    typed() {
      const { value } = this.area;
      const old = chilly.view ? chilly.view.text : "";
      let same = 0;
      while (same < value.length && value[same] === old[same]) same += 1;
      // What stands before the changed place is still wrong; what comes after it is asked about again.
      paint(this.pre, value, this.errors().filter((error) => error.end < same));
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.send(), PAUSE);
    }

    /** Asks about what was typed last, if that was not done yet; a Promise of the end of it. */
    send() {
      if (this.timer) this.asked = this.ask();
      return this.asked;
    }

    async ask() {
      clearTimeout(this.timer);
      this.timer = 0;
      // What an older question brings must not take away what was typed since; nor a server that does not answer.
      const mine = (this.newest += 1);
      this.waiting = true;
      const came = await recipe.look(this.area.value);
      if (came === false || mine !== this.newest) return;
      this.waiting = false;
      if (came) this.draw();
    }

    async key(event) {
      if (!(event.ctrlKey || event.metaKey) || event.altKey) return;
      const key = event.key.toLowerCase();
      if (key !== "z" && key !== "y") return;
      event.preventDefault(); // the field's own undo knows nothing of cards and bars
      await this.send();
      if (key === "y" || event.shiftKey) await chilly.redo();
      else await chilly.undo();
    }

    // The step in which the caret is put is the one that the mixer shows.
    follow() {
      const at = this.area.selectionStart;
      const step = ((chilly.view && chilly.view.steps) || []).find((one) => one.start <= at && at <= one.end);
      if (!this.timer && step && step.name !== chilly.step && chilly.view.ok) chilly.open(step.name);
    }

    // Those that have a place in the text.
    errors() {
      return ((chilly.view && chilly.view.errors) || []).filter((error) => error.end > error.start);
    }

    show(error) {
      this.area.focus();
      this.area.setSelectionRange(error.start, error.end);
    }

    draw() {
      const { view } = chilly;
      if (!view || this.timer || this.waiting) return; // somebody is typing: the reply to that is on its way
      if (this.area.value !== chilly.text) {
        const { selectionStart, selectionEnd } = this.area;
        this.area.value = chilly.text;
        if (this.area === document.activeElement) this.area.setSelectionRange(selectionStart, selectionEnd);
      }
      paint(this.pre, this.area.value, this.errors());
      this.area.setAttribute("aria-invalid", String(view.errors.length > 0));
      this.mistakes.replaceChildren(...view.errors.map((error) => recipe.mistake(error, () => this.show(error))));
    }
  }

  /** The text view: `{node, area, draw(), send()}`. */
  recipe.editor = () => new Editor();
})();
