// The keyboard on the bars. The mixer is one stop of Tab; arrows go along the data flow. What a key changes is one undo, a key held
// down too.
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const mixer = (chilly.mixer ??= {});
  const TYPING = 900; // after that, digits begin a new number
  let typed = "";
  let typedAt = 0;

  /** Makes a bar the mixer's one stop of Tab, and focuses it. */
  mixer.focusBar = (name, visible = true) => {
    mixer.current = name;
    for (const bar of mixer.bars.values()) bar.node.tabIndex = bar.name === name ? 0 : -1;
    const { node } = mixer.bars.get(name);
    if (document.activeElement !== node) node.focus({ preventScroll: !visible, focusVisible: visible });
  };

  function steps(key, shift, weight) {
    const by = shift ? 0.1 : 0.01;
    switch (key) {
      case "ArrowRight": return weight + by;
      case "ArrowLeft": return weight - by;
      case "Home": return 0;
      case "End": return 1;
      case "PageUp": return weight + 0.25;
      case "PageDown": return weight - 0.25;
      default: return null;
    }
  }

  // `.42` and `42` are both 0.42; 1, 1. and 100 are 1.
  function typedNumber(key, now) {
    typed = now - typedAt < TYPING ? typed + key : key;
    typedAt = now;
    const number = typed.includes(".") ? parseFloat(typed) : /^(1|100)$/.test(typed) ? 1 : Number(`0.${typed}`);
    return Number.isFinite(number) ? number : null;
  }

  const touched = (name) => (mixer.inGroup(name) ? mixer.groupNames() : [name]);

  function change(name, weight, kind) {
    mixer.beginStroke(kind);
    touched(name).forEach((one) => mixer.setWeight(one, weight));
  }

  function walk(name, by, carry) {
    const order = [...mixer.bars.keys()];
    const next = order[order.indexOf(name) + by];
    if (!next) return;
    if (carry) {
      const weight = mixer.weight(name);
      mixer.beginStroke("carry");
      mixer.setWeight(next, weight);
    }
    mixer.focusBar(next);
  }

  function undoOrRedo(event) {
    event.preventDefault();
    mixer.goBack(event.shiftKey || event.key.toLowerCase() === "y" ? chilly.redo : chilly.undo);
  }

  function press(event) {
    const bar = event.target.closest(".chilly-bar");
    if (!bar || !mixer.ready() || mixer.dragging()) return;
    const { lane } = bar.dataset;
    const { key } = event;
    if (event.ctrlKey || event.metaKey) {
      if (/^[zy]$/i.test(key)) undoOrRedo(event);
      return;
    }
    if (event.altKey) return;
    const weight = steps(key, event.shiftKey, mixer.weight(lane));
    const digits = weight === null && /^[\d.]$/.test(key) ? typedNumber(key, event.timeStamp) : null;
    if (weight !== null) change(lane, weight, `key ${key}`);
    else if (digits !== null) change(lane, digits, `digits ${lane}`);
    else if (key === "ArrowDown" || key === "ArrowUp") walk(lane, key === "ArrowDown" ? 1 : -1, event.shiftKey);
    else if (key === "Enter" && mixer.hasLayers(lane)) mixer.toggleLayers(lane);
    else if (key === "Delete" || key === "Backspace") mixer.resetBars(touched(lane));
    else return;
    if (!/^[\d.]$/.test(key)) typed = "";
    event.preventDefault();
    event.stopPropagation(); // the host's own shortcuts
  }

  function release(event) {
    if (mixer.dragging()) return;
    mixer.endStroke(/^[\d.]$/.test(event.key) ? TYPING : 0);
  }

  /** Listens to the keyboard on the stage. */
  mixer.listenKeys = (stage) => {
    stage.addEventListener("keydown", press);
    stage.addEventListener("keyup", release);
    stage.addEventListener("focusin", (event) => {
      if (event.target.dataset.lane) mixer.current = event.target.dataset.lane;
      mixer.light(mixer.current);
      mixer.readOut();
    });
    stage.addEventListener("focusout", (event) => {
      typed = "";
      mixer.light(null);
      if (!mixer.dragging() && !stage.contains(event.relatedTarget)) mixer.endStroke();
    });
  };
})();
