// The model card of a saved file, in a dialog: read, copied, kept as Markdown or HTML.
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});

  /** Its sections as the server has them; every text stays text. */
  function section({ title, lines, rows, code }) {
    const el = chilly.el;
    const [head, ...body] = rows;
    const named = head && head.some(Boolean) ? [el("tr", {}, ...head.map((cell) => el("th", { scope: "col" }, cell)))] : [];
    const row = ([first, ...rest]) => el("tr", {}, el("th", { scope: "row" }, first), ...rest.map((cell) => el("td", {}, cell)));
    return [
      el("h3", {}, title),
      ...(lines.length ? [el("ul", {}, ...lines.map((line) => el("li", {}, line)))] : []),
      ...(rows.length ? [el("table", {}, ...named, ...body.map(row))] : []),
      ...(code ? [el("pre", { tabindex: "0" }, code)] : []),
    ];
  }

  /** Opens the card of a file of the output folder. */
  chilly.card = async (name) => {
    const el = chilly.el;
    const body = el("div", { class: "chilly-card-page", role: "status" }, "Reading the file");
    let job = null;
    const { node, foot } = chilly.dialog({ title: `Model card of ${name}`, content: [body], actions: [{ text: "Close", autofocus: true }] });
    node.classList.add("chilly-dialog-wide");
    node.addEventListener("close", () => job && chilly.ask("stop", { job: job.job }).catch(() => {}));
    const button = (text, act) => el("button", { class: "chilly-btn", type: "button", onclick: (event) => act(event.target) }, text);
    try {
      job = (await chilly.ask("card", { name })).job;
      const done = await chilly.job(job, (now) => now.text && body.isConnected && (body.textContent = now.text));
      chilly.ask("dismiss", { job: job.job }).catch(() => {});
      job = null;
      if (done.state !== "done") throw new Error(done.problem?.message || done.text);
      const { sections, markdown, html } = done.report;
      const file = name.split("/").pop();
      body.removeAttribute("role");
      body.replaceChildren(...sections.flatMap(section));
      foot.prepend(
        button("Copy Markdown", async (one) => (one.textContent = (await chilly.copy(markdown)) ? "Copied" : "Copying is not allowed here")),
        button("Download Markdown", () => chilly.download(markdown, `${file}.md`, "text/markdown")),
        button("Download HTML", () => chilly.download(html, `${file}.html`, "text/html")),
      );
    } catch (error) {
      job = null;
      body.textContent = error.message;
      body.classList.add("chilly-msg-bad");
    }
  };
})();
