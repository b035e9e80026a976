// A, B and the merge: three small pictures, the wipe between two of them, the other strengths, a picture in large.
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const preview = (chilly.preview ??= {});

  /** What the merge is compared with: "a", "b" or a picture that somebody picked from a strip ({name, picture}). */
  preview.other = "a";

  const mixer = () => chilly.good?.mixer;
  const names = () => ({ a: mixer()?.pair[0] || "A", b: mixer()?.pair[1] || "B", merged: "Merged" });

  /** A picture with its name below; a button where something happens on a click. */
  preview.thumbnail = (name, { key, pressed, label, onClick, tag = "button" }) => {
    const el = chilly.el;
    const frame = el("span", { class: "chilly-pic-frame" });
    const words = el("span", { class: "chilly-pic-name" });
    if (key) words.append(el("i", { class: `chilly-key chilly-key-${key}`, "aria-hidden": "true" }));
    words.append(name);
    const box = el(tag, { class: "chilly-pic", title: name }, frame, words);
    if (tag === "button") {
      box.setAttribute("type", "button");
      box.setAttribute("aria-label", label || name);
      if (pressed !== undefined) box.setAttribute("aria-pressed", String(pressed));
      box.addEventListener("click", onClick);
    }
    return box;
  };

  /** Puts a picture into a frame without a blank moment; the old one stays until there is a new one. */
  preview.fill = (frame, picture, alt = "") => {
    if (!picture) return frame.replaceChildren();
    let image = frame.querySelector("img");
    if (!image) {
      image = chilly.el("img", { alt: "" });
      frame.replaceChildren(image);
      preview.draggable(image, () => image.chillyPicture);
    }
    image.chillyPicture = picture;
    image.alt = alt;
    const source = typeof picture === "string" ? picture : picture.image;
    if (image.src !== source) image.src = source;
  };

  /** Draws `make()` again only if `key()` has changed, so that focus and pictures stay; `fill` runs every time. */
  function drawn(root, key, make, fill) {
    let last = null;
    const draw = () => {
      const now = JSON.stringify(key());
      if (now !== last) {
        const focused = [...root.children].indexOf(document.activeElement);
        root.replaceChildren(...make());
        if (focused >= 0) root.children[focused]?.focus();
      }
      last = now;
      fill([...root.children]);
    };
    ["pictures", "view"].forEach((event) => chilly.on(event, draw));
    draw();
    return root;
  }

  /** A, B and merged; A and B choose what stands left in the wipe. */
  preview.trio = () => {
    const shown = () => [...["a", "b"].slice(0, mixer()?.pair.length ?? 0), "merged"];
    const make = () =>
      shown().map((id) =>
        preview.thumbnail(names()[id], {
          key: id === "merged" ? null : id,
          pressed: id === "merged" ? undefined : preview.other === id,
          label: id === "merged" ? "Open the merged picture" : `Compare ${names()[id]} with the merge`,
          onClick: () => (id === "merged" ? preview.open(preview.pictures.merged, "Merged") : preview.compare(id)),
        }),
      );
    const fill = (boxes) =>
      shown().forEach((id, at) => {
        const picture = preview.pictures[id];
        const other = id !== "merged" && Boolean(picture) && picture.model !== names()[id]; // another model's
        boxes[at].dataset.old = String(other && preview.live?.id !== id);
        preview.fill(boxes[at].firstChild, preview.seen(id));
      });
    const key = () => [shown(), names(), preview.other];
    return drawn(chilly.el("div", { class: "chilly-trio", role: "group", "aria-label": "Pictures" }), key, make, fill);
  };

  /** Chooses what the merge is compared with. */
  preview.compare = (other) => {
    preview.other = other;
    chilly.emit("pictures", preview);
  };

  /** The picture left of the wipe, with its name. */
  function left() {
    if (typeof preview.other === "object") return preview.other;
    const picture = mixer() ? preview.pictures[preview.other] : null;
    return { name: picture?.model ?? names()[preview.other], picture };
  }

  /** The wipe: left what is compared, right the merge. Pointer, touch and arrow keys move the border. */
  preview.wipe = () => {
    const el = chilly.el;
    const under = el("span", {});
    const top = el("span", {});
    const tags = [el("span", { class: "chilly-tag chilly-tag-l" }), el("span", { class: "chilly-tag chilly-tag-r" }, "Merged")];
    const handle = el("div", { class: "chilly-wipe-h", role: "slider", tabindex: "0", "aria-valuemin": "0", "aria-valuemax": "100" });
    const none = el("div", { class: "chilly-wipe-none" }, "The first picture appears here");
    const box = el("div", { class: "chilly-wipe" }, under, top, ...tags, handle, none);
    const set = moveBy(box, handle);
    chilly.on("pictures", () => {
      const { name, picture } = left();
      const merged = preview.seen("merged");
      preview.fill(under, merged, "The merge");
      if (picture || !mixer()) preview.fill(top, picture, name);
      top.firstChild?.classList.add("chilly-wipe-top");
      tags[0].textContent = name;
      tags[0].hidden = handle.hidden = !picture || !merged;
      tags[1].hidden = !merged;
      tags[1].textContent = merged && merged === preview.live ? "Merged, so far" : "Merged";
      none.hidden = Boolean(merged);
      handle.setAttribute("aria-label", `Wipe between ${name} and the merge`);
      const { width, height } = merged?.of?.params || chilly.params || { width: 1, height: 1 };
      box.style.aspectRatio = `${width} / ${height}`;
    });
    set(0.46);
    return box;
  };

  function moveBy(box, handle) {
    let at = 0;
    let held = null;
    const set = (share) => {
      at = Math.max(0, Math.min(1, share));
      box.style.setProperty("--w", `${at * 100}%`);
      handle.setAttribute("aria-valuenow", String(Math.round(at * 100)));
      handle.setAttribute("aria-valuetext", `${Math.round(at * 100)} % of the other picture`);
    };
    const follow = (event) => {
      const { left: start, width } = box.getBoundingClientRect();
      set((event.clientX - start) / width);
    };
    box.addEventListener("pointerdown", (event) => {
      if (event.button !== 0) return;
      held = event.pointerId;
      box.setPointerCapture(held);
      handle.focus({ preventScroll: true, focusVisible: false });
      follow(event);
      event.preventDefault();
    });
    box.addEventListener("pointermove", (event) => event.pointerId === held && follow(event));
    ["pointerup", "pointercancel"].forEach((name) => box.addEventListener(name, () => (held = null)));
    const keys = { ArrowLeft: -0.02, ArrowRight: 0.02, ArrowDown: -0.02, ArrowUp: 0.02, PageDown: -0.1, PageUp: 0.1, Home: -1, End: 1 };
    handle.addEventListener("keydown", (event) => {
      if (!(event.key in keys) || event.ctrlKey || event.metaKey || event.altKey) return;
      event.preventDefault();
      set(at + keys[event.key]);
    });
    return set;
  }

  /** The same curve at other strengths; a click takes one. Slow models' are made when asked for. */
  preview.strengthStrip = () => {
    const el = chilly.el;
    const strip = el("div", { class: "chilly-strip", role: "group", "aria-label": "Same curve at other strengths" });
    const button = el("button", { class: "chilly-link", type: "button" });
    const head = el("div", { class: "chilly-row" }, el("span", { class: "chilly-label" }, "Same curve at other strengths"), button);
    const box = el("div", {}, head, strip);
    button.style.cssText = "margin-left: auto; white-space: nowrap";
    button.addEventListener("click", makeStrengths);
    const all = [0, 0.25, 0.5, 0.75, 1];
    const source = (strength) => (preview.strengths().includes(strength) ? `strength-${strength}` : strength ? "merged" : "a");
    const take = (strength) => strength < 1 && chilly.edit({ do: "scale", step: chilly.good.step, factor: strength });
    // A picture of earlier weights stays until there is a new one, but is told apart.
    const fill = (box, picture) => {
      box.dataset.old = String(Boolean(picture) && preview.status().state === "idle" && !preview.isOf(picture));
      preview.fill(box.firstChild, picture);
    };
    const make = () =>
      all.map((strength) => {
        const name = `${strength * 100} %`;
        return preview.thumbnail(name, { pressed: strength === 1, label: `Strength ${strength * 100} percent`, onClick: () => take(strength) });
      });
    drawn(strip, () => [], make, (boxes) => all.forEach((strength, at) => fill(boxes[at], preview.pictures[source(strength)])));
    chilly.on("pictures", () => {
      box.hidden = !mixer();
      const seconds = preview.estimate?.seconds || 0;
      const { length } = preview.strengths();
      button.hidden = !preview.fresh() || preview.strengths().every((strength) => preview.isOf(preview.pictures[`strength-${strength}`]));
      button.textContent = `Make ${length}${seconds > 1 ? `, about ${preview.duration(length * seconds)}` : ""}`;
    });
    return box;
  };

  /** Whether a picture is of the recipe as it is now. */
  preview.isOf = (picture) => picture && JSON.stringify(picture.of) === JSON.stringify(preview.basis());

  function makeStrengths() {
    const each = (picture) => preview.ready(picture).then(() => ((preview.pictures[picture.id] = picture), chilly.emit("pictures", preview)));
    const told = (job) => job.state === "failed" && chilly.complain(job.problem?.message || job.text);
    preview.start("strengths", preview.strengthWants(), each, told).catch((error) => chilly.complain(error.message));
  }

  /** Seconds as people say them. */
  preview.duration = (seconds) => (seconds < 90 ? `${Math.max(1, Math.round(seconds))}\u00a0s` : `${Math.round(seconds / 60)}\u00a0min`);
})();
