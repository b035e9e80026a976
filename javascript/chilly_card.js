// The model card of a saved file, in a dialog: read, compared with a base, copied, kept as Markdown or HTML.
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});

  /** Its sections as the server has them; every text stays text. */
  function section({ title, lines, rows, code, tree, pictures }) {
    const el = chilly.el;
    const [head, ...body] = rows;
    const named = head && head.some(Boolean) ? [el("tr", {}, ...head.map((cell) => el("th", { scope: "col" }, cell)))] : [];
    const row = ([first, ...rest]) => el("tr", {}, el("th", { scope: "row" }, first), ...rest.map((cell) => el("td", {}, cell)));
    return [
      el("h3", {}, title),
      ...(lines.length ? [el("ul", {}, ...lines.map((line) => el("li", {}, line)))] : []),
      ...(rows.length ? [el("table", {}, ...named, ...body.map(row))] : []),
      ...(code ? [el("pre", { tabindex: "0" }, code)] : []),
      ...(tree ? [el("ul", { class: "chilly-tree" }, branch(tree))] : []),
      ...(pictures.length ? [el("div", { class: "chilly-card-pictures" }, ...pictures.map(picture))] : []),
    ];
  }

  const branch = ({ text, below }) => chilly.el("li", {}, text, ...(below.length ? [chilly.el("ul", {}, ...below.map(branch))] : []));

  function picture({ address, caption }) {
    const image = chilly.el("img", { alt: caption });
    if (address.startsWith("data:image/")) image.src = address; // nothing is ever asked of another place
    return chilly.el("figure", {}, image, chilly.el("figcaption", { class: "chilly-note" }, caption));
  }

  /** One dialog: the card, made anew for each base that is chosen. */
  class Card {
    constructor(name) {
      const el = chilly.el;
      this.name = name;
      this.line = el("p", { class: "chilly-note", role: "status" });
      this.body = el("div", { class: "chilly-card-page" });
      this.select = el("select", { class: "chilly-in", disabled: true }, el("option", { value: "" }, "nothing"));
      const bar = el("label", { class: "chilly-row chilly-note chilly-card-bar" }, "Compared with", el("span", { class: "chilly-pick" }, this.select));
      const content = [bar, this.line, this.body];
      const { node, foot } = chilly.dialog({ title: `Model card of ${name}`, content, actions: [{ text: "Close", autofocus: true }] });
      node.classList.add("chilly-dialog-wide");
      this.acts = el("span", { class: "chilly-row" });
      foot.prepend(this.acts);
      node.addEventListener("close", () => this.stop());
      this.select.addEventListener("change", () => {
        chilly.own("card", { base: this.select.value });
        this.read(this.select.value);
      });
    }

    stop() {
      if (this.job) chilly.ask("stop", { job: this.job.job }).catch(() => {});
      this.job = null;
      this.asked = null;
    }

    /** The models that the file can be compared with: those of its kind. */
    offer(architecture) {
      const fits = (model) => model.architecture === architecture && model.name !== this.name;
      const names = (chilly.start.models || []).filter(fits).map(({ name }) => name);
      const held = this.select.value;
      this.select.replaceChildren(...["", ...names].map((name) => chilly.el("option", { value: name }, name || "nothing")));
      this.select.value = names.includes(held) ? held : "";
      this.select.disabled = false;
      return names;
    }

    /** What holds before anything is chosen: the base of the last card, where it fits. */
    async open() {
      const { base = "" } = chilly.own("card");
      const known = (chilly.start.models || []).some(({ name }) => name === base);
      await this.read(known && base !== this.name ? base : "", true);
    }

    async read(base, isGuess) {
      this.stop();
      const asked = (this.asked = {});
      this.tell(base ? `Comparing with ${base}` : "Reading the file");
      this.body.setAttribute("aria-busy", "true");
      this.acts.replaceChildren();
      try {
        const { job, architecture } = await chilly.ask("card", { name: this.name, base: base || null });
        if (this.asked !== asked) return void chilly.ask("stop", { job: job.job }).catch(() => {});
        this.job = job;
        this.offer(architecture);
        this.select.value = base;
        chilly.lookForModels().then((others) => others && this.body.isConnected && this.offer(architecture));
        const done = await chilly.job(job, (now) => this.asked === asked && now.text && this.tell(`${now.text}, ${Math.round((now.share || 0) * 100)} %`));
        chilly.ask("dismiss", { job: job.job }).catch(() => {});
        if (this.asked !== asked) return;
        this.job = null;
        if (done.state !== "done") throw new Error(done.problem?.message || done.text);
        this.show(done.report);
      } catch (error) {
        if (this.asked !== asked) return;
        this.job = null;
        if (isGuess && base) return void this.read("");
        this.body.replaceChildren();
        this.tell(error.message, true);
      }
    }

    tell(text, isBad = false) {
      this.line.textContent = text;
      this.line.hidden = !text;
      this.line.classList.toggle("chilly-msg-bad", isBad);
    }

    show({ sections, markdown, html }) {
      const file = this.name.split("/").pop();
      const button = (text, act) => chilly.el("button", { class: "chilly-btn", type: "button", onclick: (event) => act(event.target) }, text);
      this.tell("");
      this.body.removeAttribute("aria-busy");
      this.body.replaceChildren(...sections.flatMap(section));
      this.acts.replaceChildren(
        button("Copy Markdown", async (one) => (one.textContent = (await chilly.copy(markdown)) ? "Copied" : "Copying is not allowed here")),
        button("Download Markdown", () => chilly.download(markdown, `${file}.md`, "text/markdown")),
        button("Download HTML", () => chilly.download(html, `${file}.html`, "text/html")),
      );
    }
  }

  /** Opens the card of a file of the output folder. */
  chilly.card = (name) => new Card(name).open();
})();
