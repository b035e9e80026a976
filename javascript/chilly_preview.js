// Which pictures are wanted and which are there: jobs of previews, following the mixer, and the state that the pane shows.
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const preview = (chilly.preview ??= {});

  /** A stroke sends a view every 150 ms: only when it has rested this long is a slow picture given up for a newer one. */
  const REST = 450;
  /** Up to this long a picture, the other strengths are made with it; up to that long, the preview follows by itself. */
  const QUICK = 2;
  const FOLLOWS = 8;

  preview.pictures = {};
  preview.live = null; // {id, image} of the picture in the making, where the host shows it
  preview.fixed = true;
  preview.follow = null;
  preview.estimate = null;
  let running = null;
  let made = null;
  let problem = null;
  let stopped = false;
  let rest = 0;
  let turn = 0; // of the last update
  let estimated = "";

  /** What a picture is of: the last recipe without errors, the open step, the parameters; null while there is none. */
  preview.basis = () => {
    const view = chilly.good;
    if (!view || !view.ok || !view.step || !chilly.params) return null;
    return { text: view.text, step: view.step, parameter: view.mixer?.parameter ?? null, params: chilly.params };
  };
  const signature = (basis) => JSON.stringify(basis);

  /** Whether the pictures are those of the recipe as it is now. */
  preview.fresh = () => made !== null && made === signature(preview.basis());

  /** Starts a job in its own lane; `each` gets every picture once, `told` every state of the job. Resolves with the job, or with
      null where another start in the lane came before this one's turn. */
  preview.start = async (lane, wants, each, told) => {
    const basis = preview.basis();
    const reply = await chilly.ask("preview", { ...basis, lane, pictures: wants }, `preview ${lane}`);
    if (!reply) return null;
    preview.watch(reply.job, basis, each, told);
    return reply.job;
  };

  /** Follows a job that has begun, such as before a reload; `basis` is what its pictures are of. */
  preview.watch = (job, basis, each, told) => {
    const seen = new Set();
    const take = (now) => {
      (now.pictures || []).forEach((picture) => {
        if (seen.has(picture.id)) return;
        seen.add(picture.id);
        each({ ...picture, job: now.job, of: basis });
      });
      told(now);
    };
    // Even of a job that is done at once the pictures come with the first poll.
    chilly.job({ ...job, state: "waiting" }, take);
  };
  preview.ended = (job) => ["done", "stopped", "failed"].includes(job.state);

  /** A picture is shown only when the browser has read it, so that the old one stays until then. */
  preview.ready = (picture) => {
    const image = new Image();
    image.src = picture.image;
    return image.decode().then(() => picture);
  };

  /** Asks for the pictures of the recipe as it is now; the server drops what it was making in this lane. */
  preview.update = async () => {
    clearTimeout(rest);
    if (!preview.fixed) newSeed();
    const basis = preview.basis();
    if (!basis) return;
    const pair = chilly.good.mixer?.pair ?? [];
    const mine = (running = { signature: signature(basis), pair, merged: false, job: null, turn: ++turn, arrived: new Set(), shown: Promise.resolve() });
    problem = preview.live = null;
    stopped = false;
    emit();
    try {
      mine.job = await preview.start("main", wants(), (picture) => arrived(mine, picture), (job) => told(mine, job));
      if (running === mine) emit();
    } catch (error) {
      if (running === mine) end({ message: error.message, field: error.field });
    }
  };

  function wants() {
    const list = [{ id: "merged", of: "merged" }];
    if (!chilly.good.mixer) return list;
    list.push(...["a", "b"].slice(0, chilly.good.mixer.pair.length).map((id) => ({ id, of: id })));
    const quick = preview.estimate && preview.estimate.seconds <= QUICK;
    return quick ? list.concat(preview.strengthWants()) : list;
  }
  /** Those between nothing and all of it; nothing itself where that is not the picture of A. */
  preview.strengths = () => (chilly.good?.mixer?.from_a === false ? [0, 0.25, 0.5, 0.75] : [0.25, 0.5, 0.75]);
  preview.strengthWants = () => preview.strengths().map((strength) => ({ id: `strength-${strength}`, strength }));

  function arrived(mine, picture) {
    if (running !== mine) return;
    const show = () => {
      if (preview.pictures[picture.id]?.turn > mine.turn) return; // the browser was quicker with a newer one
      preview.pictures[picture.id] = { ...picture, turn: mine.turn, model: mine.pair["ab".indexOf(picture.id)] };
      if (picture.id === "merged") made = mine.signature;
      if (preview.live?.id === picture.id) preview.live = null;
      emit();
    };
    mine.arrived.add(picture.id);
    mine.shown = Promise.all([mine.shown, preview.ready(picture).then(show, () => {})]);
    if (picture.id !== "merged") return;
    mine.merged = true;
    if (preview.follow && mine.signature !== signature(preview.basis())) preview.update();
  }

  function told(mine, job) {
    if (running !== mine) return;
    mine.job = job;
    if (job.live) takeLive(mine, job.live);
    if (!preview.ended(job)) return emit();
    mine.shown.then(() => running === mine && over(mine, job)); // not "older than the mixer" while the browser reads them
  }

  /** What a picture in the making looks like stands in its place until it is there; what is there before stays till then. */
  function takeLive(mine, live) {
    const show = () => {
      if (running !== mine || mine.arrived.has(live.id)) return;
      preview.live = live;
      emit();
    };
    preview.ready(live).then(show, () => {});
  }

  /** The picture of that id as it is to be seen now. */
  preview.seen = (id) => (preview.live?.id === id ? preview.live : preview.pictures[id]);

  function over(mine, job) {
    stopped = job.state === "stopped";
    end(job.state === "failed" ? job.problem || { message: job.text } : null);
    if (preview.follow && !stopped && mine.signature !== signature(preview.basis())) preview.update();
  }

  function end(trouble) {
    running = preview.live = null;
    problem = trouble;
    emit();
  }

  /** Stops the pictures in the making; those that are there stay. */
  preview.stop = () => {
    if (!running || !running.job) return;
    chilly.ask("stop", { job: running.job.job }).catch(() => {});
    stopped = true;
    end(null);
  };

  const newSeed = () => chilly.setParams({ seed: Math.floor(Math.random() * 2 ** 32) });
  preview.dice = newSeed;

  const emit = () => chilly.emit("pictures", preview);

  /** The recipe or the parameters are others now: make new pictures, or say that these are old. */
  async function changed() {
    const basis = preview.basis();
    if (!basis) return emit();
    await look(basis);
    const now = signature(preview.basis());
    if (!preview.follow || made === now || running?.signature === now) return emit();
    clearTimeout(rest);
    if (running && !running.merged) rest = setTimeout(preview.update, REST);
    else if (preview.fixed || !running) preview.update();
  }

  /** How long a picture takes decides what is made without being asked for. */
  async function look(basis) {
    const { steps, width, height, sampler, cfg } = basis.params;
    const key = JSON.stringify([chilly.good.architecture, steps, width, height, sampler, cfg]);
    if (key === estimated) return;
    estimated = key;
    const { parameter, ...rest } = basis;
    preview.estimate = await chilly.ask("estimate", rest).catch(() => null);
    if (preview.follow === null) preview.follow = !preview.estimate || preview.estimate.seconds <= FOLLOWS;
    emit();
  }

  /** Whether the preview follows the mixer; turned on, it catches up. */
  preview.setFollow = (on) => {
    preview.follow = on;
    chilly.own("preview", { follow: on });
    if (on) changed();
    else emit();
  };

  /** {state, text, share, action} of the line under the picture; the action is "stop", "update" or null. */
  preview.status = () => {
    if (running) {
      const job = running.job || {};
      return { state: "busy", text: sentence(job.text || "waiting"), share: job.share || 0, action: running.job ? "stop" : null };
    }
    const says = preview.estimate ? preview.estimate.says : "";
    if (problem) return { state: "bad", text: problem.message, share: 0, action: "update", field: problem.field };
    if (!preview.basis()) return { state: "none", text: "A picture needs a recipe without errors", share: 0, action: null };
    if (made === null) return { state: "none", text: says ? `No picture yet. One takes ${says}` : "No picture yet", share: 0, action: "update" };
    if (!preview.fresh()) {
      const text = stopped ? "Stopped. The preview is older than the mixer" : "Preview is older than the mixer";
      return { state: "stale", text, share: 0, action: "update" };
    }
    if (chilly.view && !chilly.view.ok) return { state: "stale", text: "Preview of the last recipe without errors", share: 0, action: null };
    return { state: "idle", text: `Up to date. ${timing(preview.pictures.merged)}`, share: 1, action: null };
  };

  const sentence = (text) => (text.charAt(0).toUpperCase() + text.slice(1)).replace(/:\s*$/, "");

  function timing(picture) {
    const merge = picture.merge_seconds || 0;
    const rest = Math.max(0, (picture.seconds || 0) - merge);
    const say = (seconds) => (seconds < 0.095 ? `${Math.round(seconds * 1000)} ms` : `${seconds.toFixed(1)} s`);
    const blocks = picture.blocks ? `${picture.blocks} block${picture.blocks === 1 ? "" : "s"}` : "Merged";
    return `${blocks} in ${say(merge)}, ${picture.of.params.steps} steps in ${say(rest)}`;
  }

  /** Begins to follow the state; the pane calls it once. */
  preview.begin = () => {
    preview.follow = chilly.own("preview").follow ?? null;
    chilly.on("view", changed);
    chilly.on("params", changed);
    changed();
  };
})();
