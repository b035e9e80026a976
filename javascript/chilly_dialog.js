/* A question that must be answered before the page goes on. */
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  let count = 0;

  /** Opens a dialog inside the page: `actions` are `{text, run, autofocus}`; every one closes it. Gives `{node, foot}`. */
  chilly.dialog = ({ title, content, actions }) => {
    const id = `chilly_dialog_${++count}`;
    const before = document.activeElement;
    const node = chilly.el("dialog", { class: "chilly-dialog", "aria-labelledby": id });
    const close = () => node.close();
    const foot = chilly.el("div", { class: "chilly-row chilly-dialog-foot" });
    for (const { text, run, autofocus } of actions) {
      const button = chilly.el("button", { type: "button", class: "chilly-btn", ...(autofocus ? { autofocus: "" } : {}) }, text);
      button.addEventListener("click", () => {
        close();
        if (run) run();
      });
      foot.append(button);
    }
    node.append(chilly.el("h2", { id }, title), chilly.el("div", { class: "chilly-dialog-in" }, ...content), foot);
    node.addEventListener("click", (event) => (event.target === node ? close() : null)); // beside the dialog
    node.addEventListener("close", () => {
      node.remove();
      if (before && before.isConnected) before.focus({ preventScroll: true });
    });
    document.querySelector(".chilly-page").append(node);
    node.showModal();
    return { node, foot };
  };
})();
