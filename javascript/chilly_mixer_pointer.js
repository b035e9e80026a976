// Mouse, pen and finger on the bars. Press sets, drag goes on, drag across neighbours paints, within one arm. A finger's up-and-down
// stays the page's scrolling: it sets by a tap or sideways, and paints after a long press. Pointer events only note where the pointer
// is; the work is done once per frame.
(() => {
  "use strict";
  const chilly = (window.chilly ??= {});
  const mixer = (chilly.mixer ??= {});
  const ENDS = 6; // outer pixels of a bar that are exactly 0 and 1
  const STILL = 5; // pixels outside the first bar before painting begins
  const SLIDE = 8; // pixels sideways before a finger sets
  const LONG_PRESS = 420;
  const DOUBLE = 320;
  let drag = null;
  let pressed = { name: "", time: 0 };
  let frame = 0;

  function weightAt({ x, y, w, h, upright }, point) {
    return mixer.clamp(upright ? 1 - (point.y - y - ENDS) / (h - 2 * ENDS) : (point.x - x - ENDS) / (w - 2 * ENDS));
  }

  const place = (name) => mixer.bars.get(name).place;

  function outside({ x, y, w, h, upright }, point, by) {
    return upright ? point.x < x - by || point.x > x + w + by : point.y < y - by || point.y > y + h + by;
  }

  function startDrag(event, name) {
    drag = {
      name, pointer: event.pointerId, first: name, points: [], moved: false, painting: false,
      touch: event.pointerType === "touch",
      group: mixer.inGroup(name) ? mixer.groupNames() : null,
      arm: mixer.arms.find((names) => names.includes(name)) || null,
      begin: null, origin: { x: event.clientX, y: event.clientY }, live: false, timer: 0,
    };
    [drag.point] = local([event]);
  }

  // Within the stage, as it stands now: what is above it may grow under the hand.
  function local(events) {
    const { left, top } = mixer.stage.getBoundingClientRect();
    return events.map((event) => ({ x: event.clientX - left, y: event.clientY - top, alt: event.altKey }));
  }

  function goLive() {
    drag.live = true;
    mixer.beginStroke("pointer");
    drag.begin = new Map((drag.group || [drag.name]).map((name) => [name, mixer.weight(name)]));
    drag.from = weightAt(place(drag.name), drag.point);
    follow(drag.point);
  }

  function follow(point) {
    const weight = weightAt(place(drag.first), point);
    if (drag.group && point.alt) {
      drag.begin.forEach((begin, name) => mixer.setWeight(name, begin + weight - drag.from));
    } else if (drag.group) {
      drag.group.forEach((name) => mixer.setWeight(name, weight));
    } else {
      paintTo(point);
      mixer.setWeight(drag.name, weightAt(place(drag.name), point));
    }
  }

  // Bars that a fast stroke jumped over are filled in on a straight line between the last bar and the one under the pointer.
  function paintTo(point) {
    const mayPaint = drag.arm && (!drag.touch || drag.long || place(drag.name).upright);
    if (!mayPaint || !outside(place(drag.name), point, drag.painting ? 0 : STILL)) return;
    drag.painting = true;
    const hit = drag.arm.find((name) => !outside(place(name), point, 3));
    if (!hit || hit === drag.name) return;
    const [from, to] = [drag.arm.indexOf(drag.name), drag.arm.indexOf(hit)];
    const [begin, end] = [mixer.weight(drag.name), weightAt(place(hit), point)];
    const step = Math.sign(to - from);
    for (let i = from + step; i !== to; i += step) mixer.setWeight(drag.arm[i], begin + ((end - begin) * (i - from)) / (to - from));
    drag.name = mixer.current = hit; // focused when the stroke ends: focus would lay the page out anew
  }

  function work() {
    frame = 0;
    if (!drag || !drag.points.length) return;
    const points = local(drag.points.splice(0));
    if (drag.live) points.forEach(follow);
    mixer.paintNow();
  }

  function down(event) {
    const bar = event.target.closest(".chilly-bar");
    if (!bar || event.button || !event.isPrimary || !mixer.ready()) return;
    const { lane } = bar.dataset;
    const again = pressed.name === lane && event.timeStamp - pressed.time < DOUBLE;
    pressed = { name: again ? "" : lane, time: event.timeStamp };
    if (event.pointerType !== "touch") event.preventDefault(); // no text is selected
    mixer.focusBar(lane, false);
    if (again) {
      mixer.resetBars(mixer.inGroup(lane) ? mixer.groupNames() : [lane]);
      return;
    }
    startDrag(event, lane);
    mixer.stage.setPointerCapture(event.pointerId);
    if (drag.touch) drag.timer = setTimeout(longPress, LONG_PRESS);
    else if (!(event.altKey && drag.group)) goLive();
  }

  function longPress() {
    if (!drag || drag.live) return;
    drag.long = true;
    mixer.stage.classList.add("chilly-painting");
    if (navigator.vibrate) navigator.vibrate(10);
    goLive();
  }

  function move(event) {
    if (!drag || event.pointerId !== drag.pointer) return;
    const far = Math.hypot(event.clientX - drag.origin.x, event.clientY - drag.origin.y);
    if (far > 3) drag.moved = true;
    if (!drag.live) {
      if (drag.touch && far >= SLIDE) clearTimeout(drag.timer); // a long press stays where it is
      if (drag.touch && Math.abs(event.clientX - drag.origin.x) < SLIDE) return;
      clearTimeout(drag.timer);
      goLive();
    }
    const all = event.getCoalescedEvents ? event.getCoalescedEvents() : [];
    drag.points.push(...(all.length ? all : [event]));
    frame = frame || requestAnimationFrame(work);
  }

  function up(event) {
    if (!drag || event.pointerId !== drag.pointer) return;
    clearTimeout(drag.timer);
    if (event.type === "pointerup" && !drag.live && !event.altKey) goLive(); // a tap
    cancelAnimationFrame(frame);
    work();
    const { moved, name, live } = drag;
    if (live) mixer.focusBar(name, false);
    drag = null;
    if (moved || event.type !== "pointerup") pressed = { name: "", time: 0 };
    mixer.stage.classList.remove("chilly-painting");
    mixer.endStroke(moved ? 0 : DOUBLE);
  }

  /** Whether a drag goes on. */
  mixer.dragging = () => Boolean(drag);

  /** Listens to the pointer on the stage. */
  mixer.listenPointer = (stage) => {
    stage.addEventListener("pointerdown", down);
    stage.addEventListener("pointermove", move);
    stage.addEventListener("pointerup", up);
    stage.addEventListener("pointercancel", up);
    // After a long press the finger paints, so the page must not scroll; a long press opens no menu either.
    stage.addEventListener("touchmove", (event) => drag && drag.live && event.cancelable && event.preventDefault(), { passive: false });
    stage.addEventListener("contextmenu", (event) => drag && drag.touch && event.preventDefault());
  };
})();
