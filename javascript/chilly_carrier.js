/* Carries questions to the server and replies back, by gradio's hidden button and textbox: one at a time, a queue behind it. */
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});

  const PATIENCE = 30000; // milliseconds for one reply; what takes longer is a job
  const PRESS_AGAIN = 25;
  const UNHEARD = 400; // presses, of ten seconds or more
  const NO_ANSWER = "The server does not answer. Is it still running?";
  const POLL_FIRST = 120;
  const POLL_LATER = 400;
  const PATIENT = new Set(["poll", "name", "facts", "estimate", "models", "preview"]); // nobody's hand is on what they ask for

  const waiting = []; // questions that are not sent yet
  let asked = null; // the one under way
  let count = 0;
  let timer = 0;
  let heard = false; // whether the server has ever replied
  let events = 0; // of gradio that have begun and not ended

  /** Where gradio's components are; the webui may have them in a shadow. */
  chilly.host = () => {
    const app = document.querySelector("gradio-app");
    return (app && app.shadowRoot) || document;
  };

  const failure = ({ message, field = null }) => Object.assign(new Error(message), { field });

  /** Ask the server; a Promise of the reply. `given` may be a function, called when the question's turn comes. Of questions of
      one `lane` only the newest is sent; those that it overtakes get null. */
  chilly.ask = (name, given = {}, lane = null) =>
    new Promise((resolve, reject) => {
      const question = { name, given, lane, resolve, reject };
      const before = lane === null ? -1 : waiting.findIndex((other) => other.lane === lane);
      if (before >= 0) waiting.splice(before, 1)[0].resolve(null);
      queue(question);
      send();
    });

  // What the user does goes before what the page asks by itself, once: a long stroke must not keep its pictures away.
  const queue = (question) => {
    let place = waiting.length;
    while (!PATIENT.has(question.name) && place && PATIENT.has(waiting[place - 1].name) && !waiting[place - 1].passed) {
      waiting[(place -= 1)].passed = true;
    }
    waiting.splice(place, 0, question);
  };

  const send = () => {
    if (asked || !waiting.length) return;
    asked = waiting.shift();
    asked.id = ++count;
    press(asked);
  };

  // gradio hears no click before it has drawn the page, nor while it ends the last event: press until it takes the question.
  // A tab that is not seen is not drawn, and gradio 4 hears a click at the next drawing only: one press is enough there.
  const press = (question) => {
    if (asked !== question || question.taken) return;
    const button = chilly.host().querySelector("#chilly_go");
    if (button && !(document.hidden && question.pressed)) {
      question.pressed = true;
      button.click();
    }
    // gradio 6 hears nothing at all once it has lost the server; before the first reply it may still be drawing.
    if (!document.hidden) question.unheard = (question.unheard || 0) + 1;
    if (question.unheard > (heard ? UNHEARD : 10 * UNHEARD)) end(null, { message: NO_ANSWER });
    else setTimeout(() => press(question), PRESS_AGAIN);
  };

  const end = (reply, problem) => {
    const { resolve, reject } = asked;
    clearTimeout(timer);
    asked = null;
    heard = heard || Boolean(reply);
    if (problem) reject(failure(problem));
    else resolve(reply);
    setTimeout(send);
  };

  /** Called by the button: the text of the question whose turn it is; empty, which has no reply, where it was taken before. */
  chilly.request = () => {
    events += 1;
    if (!asked || asked.taken) return "";
    asked.taken = true;
    timer = setTimeout(() => end(null, { message: NO_ANSWER }), PATIENCE);
    const { id, name, given } = asked;
    return JSON.stringify({ id, page: chilly.page, ask: name, with: typeof given === "function" ? given() : given });
  };

  /** Called when one of gradio's events has ended; where it failed or asked nothing, the textbox still has the reply before. */
  chilly.answer = (text) => {
    let reply = {};
    events = Math.max(0, events - 1);
    try {
      reply = JSON.parse(text);
    } catch (error) {
      // Not ours: what gradio leaves in the textbox when the server is gone.
    }
    if (!asked || !asked.taken) return;
    if (reply.id === asked.id || reply.id === null) end(reply.reply, reply.problem);
    else if (!events) end(null, { message: NO_ANSWER });
  };

  // ---- jobs ----

  const jobs = new Map(); // number to {onChange, resolve, seen, live}
  let polling = false;

  /** Follow a job to its end: `onChange(job)` at each news of it; a Promise of its last state. */
  chilly.job = (job, onChange = () => {}) =>
    new Promise((resolve) => {
      jobs.set(job.job, { onChange, resolve, seen: 0, live: 0 });
      tell(job);
      if (!polling) poll(POLL_FIRST);
    });

  const tell = (job) => {
    const follower = jobs.get(job.job);
    if (!follower) return;
    follower.seen += (job.pictures || []).length;
    follower.live = job.live?.number ?? follower.live;
    const ended = ["done", "stopped", "failed"].includes(job.state);
    if (ended) jobs.delete(job.job);
    follower.onChange(job);
    if (ended) follower.resolve(job);
  };

  const poll = async (pause) => {
    polling = true;
    await new Promise((resolve) => setTimeout(resolve, pause));
    let next = Math.min(POLL_LATER, pause * 1.3);
    const wanted = () => ({ jobs: [...jobs].map(([job, { seen, live }]) => ({ job, seen, live })) });
    try {
      for (const job of (await chilly.ask("poll", wanted)).jobs) tell(job);
    } catch (error) {
      chilly.emit("problem", { message: error.message, field: null });
      next = POLL_LATER * 5; // the server may come back
    }
    polling = false;
    if (jobs.size) poll(next);
  };
})();
