// From gestures to the engine. A stroke is shown at once and sent at most every 150 ms, the last time when it ends; one stroke is one
// undo. Edits wait for one another, so they arrive in the order in which they were made.
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const mixer = (chilly.mixer ??= {});
  const EVERY = 150;
  const queue = [];
  let sending = null; // the promise of the queue's end
  let goingBack = 0; // undos and redos under way
  let stroke = null; // {values: Map, sent, timer, ending}
  let last = 0;

  const address = () => ({ step: mixer.shown.step, parameter: mixer.shown.parameter });

  // The core tells what was refused by an event; here it belongs to the edit.
  async function attempt(edit, passing) {
    let problem = null;
    const forget = chilly.on("problem", (told) => (problem = told));
    const view = await chilly.edit(edit, { passing });
    forget();
    return view ? null : problem;
  }

  function run() {
    sending = sending || sendAll();
    return sending;
  }

  async function sendAll() {
    while (queue.length) {
      const { edit, passing, done } = queue.shift();
      const problem = await attempt(edit, passing);
      mixer.problem(problem ? problem.message : "");
      if (done) done(problem);
    }
    sending = null;
    settle();
  }

  // When everything has arrived, the engine's weights are shown again.
  function settle() {
    if (stroke || queue.length || sending) return;
    mixer.stroked.clear();
    mixer.repaint();
  }

  /** Undo or redo, after all that was done before. */
  mixer.goBack = async (back) => {
    finish();
    goingBack += 1;
    await sending;
    await back();
    goingBack -= 1;
  };

  /** Whether everything that was done has reached the engine. */
  mixer.idle = () => !stroke && !queue.length && !sending && !goingBack && !mixer.dragging();

  /** Sends an edit of the step that the mixer shows, after those that wait; done gets the problem, or null. */
  mixer.send = (edit, done) => {
    finish();
    queue.push({ edit: { ...edit, ...address() }, passing: false, done });
    return run();
  };

  function push(passing, done) {
    last = performance.now();
    const waiting = queue[queue.length - 1];
    if (waiting && waiting.stroke === stroke) queue.pop();
    const edit = { do: "weights", values: Object.fromEntries(stroke.values), ...stroke.address };
    queue.push({ edit, passing, stroke, done });
    stroke.sent = true;
    run();
  }

  function pass() {
    stroke.timer = 0;
    push(true);
  }

  /** Begins a stroke, or goes on with one of the same kind that has not ended yet. */
  mixer.beginStroke = (kind) => {
    if (stroke && stroke.kind === kind && kind !== "pointer") {
      clearTimeout(stroke.ending);
      return;
    }
    finish();
    stroke = { kind, values: new Map(), sent: false, timer: 0, ending: 0, address: address() };
  };

  /** Sets a bar's weight within the stroke. */
  mixer.setWeight = (name, weight) => {
    const value = Math.round(mixer.clamp(weight) * 100) / 100;
    if (mixer.stroked.get(name) === value && stroke.values.get(name) === value) return;
    mixer.stroked.set(name, value);
    stroke.values.set(name, value);
    mixer.repaint([name, ...mixer.followers(name)]);
    if (!stroke.timer) stroke.timer = setTimeout(pass, Math.max(0, EVERY - (performance.now() - last)));
  };

  function finish() {
    if (!stroke) return;
    clearTimeout(stroke.timer);
    clearTimeout(stroke.ending);
    const { values } = stroke;
    const changed = [...values].some(([name, value]) => mixer.known(name) !== value || mixer.linked(name));
    if (values.size && (stroke.sent || changed)) {
      push(false, (problem) => problem || mixer.announce([...values.keys()]));
    }
    stroke = null;
    settle();
  }

  /** Ends the stroke; with a delay, a double-click may still take its place. */
  mixer.endStroke = (delay = 0) => {
    if (!stroke) return;
    clearTimeout(stroke.ending);
    if (delay) stroke.ending = setTimeout(finish, delay);
    else finish();
  };

  /** Back to the step's alpha, or to the lane that is followed. It takes the place of a stroke that has not ended. */
  mixer.resetBars = (names) => {
    const open = stroke;
    if (open) {
      clearTimeout(open.timer);
      clearTimeout(open.ending);
      stroke = null;
    }
    names.forEach((name) => mixer.stroked.delete(name));
    mixer.send({ do: "weights", values: Object.fromEntries(names.map((name) => [name, null])) }, (problem) => {
      if (!problem) mixer.announce(names);
    });
  };
})();
