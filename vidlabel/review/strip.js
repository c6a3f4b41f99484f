// The strip under a video: its segments in their colours over time, a ruler and the playhead.

const TICKS_S = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 1800, 3600];
const GRIP_PX = 6; // how near the mouse must be to a boundary

let strip = null; // the parts of the one that is shown
let zoom = 1; // how many times wider than what can be seen of it
let drag = null; // what the mouse is moving

// --- colours ---------------------------------------------------------------------------------

const palette = new Map(); // class -> number of its colour and, up to nine, its key
{
  const counts = new Map(data.classes.map((name) => [name, 0]));
  for (const label of rows.flatMap(labelsOf)) counts.set(label, (counts.get(label) ?? 0) + 1);
  [...counts].sort(([, a], [, b]) => b - a).forEach(([name], k) => palette.set(name, k));
}

/** Colour what stands for a class; the golden angle keeps neighbours in the palette apart. */
function paint(made, label) {
  made.classList.toggle("unlabelled", !label);
  if (!label) return made;
  if (!palette.has(label)) palette.set(label, palette.size);
  const k = palette.get(label);
  made.style.setProperty("--hue", ((k * 137.508 + 250) % 360).toFixed(1));
  made.style.setProperty("--light", k % 2 ? "0.84" : "0.74");
  return made;
}

/** Where a segment lies, in percent of the video. */
function lay(made, row, { start, end }) {
  made.style.insetInlineStart = `${(100 * start) / (row.duration || 1)}%`;
  made.style.inlineSize = `${(100 * (end - start)) / (row.duration || 1)}%`;
  return made;
}

/** The strip on a card. */
function smallStrip(row) {
  const parts = segmentsOf(row).map((each) => lay(paint(element("span"), each.label), row, each));
  return element("span", { className: "small", ariaHidden: "true" }, ...parts);
}

// --- drawing ---------------------------------------------------------------------------------

/** Make the strip of a row; `drawSegments` fills it. */
function stripOf(row) {
  const ruler = element("div", { className: "ruler", ariaHidden: "true" });
  const lanes = element("div", { className: "lanes", role: "group", ariaLabel: "Segments" });
  const head = element("div", { className: "playhead", ariaHidden: "true" });
  const inner = element("div", { className: "inner" }, ruler, lanes, head);
  const view = element("div", { className: "view" }, inner);
  const time = element("output", { className: "time", ariaLabel: "Time" });
  const playing = button("Play", "Play or pause", togglePlay, "playing");
  strip = { row, ruler, lanes, head, inner, view, time, playing };
  zoom = 1;
  inner.addEventListener("pointerdown", beginDrag);
  inner.addEventListener("pointermove", moveDrag);
  inner.addEventListener("pointerup", endDrag);
  inner.addEventListener("pointercancel", cancelDrag);
  lanes.addEventListener("click", ({ target }) => {
    const block = target.closest(".segment");
    if (block) pick(Number(block.dataset.k));
  });
  sizes.disconnect();
  sizes.observe(view);
  return element("div", { className: "strip" },
    element("div", { className: "tools" }, playing,
      button("‹", "One frame back", () => stepBy(-row.step)), button("›", "One frame on", () => stepBy(row.step)),
      time, element("span", { className: "push" }),
      button("−", "Zoom out", () => zoomTo(zoom / 2)), button("+", "Zoom in", () => zoomTo(zoom * 2))),
    view);
}

const sizes = new ResizeObserver(() => strip && drawRuler());

function drawRuler() {
  const { row, ruler, inner } = strip;
  const width = inner.clientWidth;
  const wanted = (64 * row.duration) / (width || 1);
  const every = TICKS_S.find((each) => each >= wanted) ?? TICKS_S.at(-1) * Math.ceil(wanted / TICKS_S.at(-1));
  const ticks = [];
  for (let k = 0; k * every <= row.duration && row.duration; k += 1) {
    const text = every < 1 ? clock(k * every) : clock(k * every).slice(0, -2);
    const tick = element("span", { textContent: text });
    tick.style.insetInlineStart = `${(100 * k * every) / row.duration}%`;
    ticks.push(tick);
  }
  ruler.replaceChildren(...ticks);
}

function zoomTo(wanted) {
  const { row, inner } = strip;
  zoom = clamped(wanted, 1, Math.max(1, 2 ** Math.ceil(Math.log2(row.duration / 10))));
  inner.style.inlineSize = `${100 * zoom}%`;
  drawRuler();
  showPlayhead(true, true);
}

/** Draw these segments, `current` as the chosen one; what has the focus keeps it. */
function drawSegments(list, current) {
  const { row, lanes } = strip;
  const focus = lanes.contains(document.activeElement) ? (document.activeElement.dataset.side ?? "whole") : "";
  const places = lanesOf(list);
  const blocks = list.map((each, k) => {
    const name = each.label || "no label";
    const block = lay(paint(element("button", {
      type: "button", className: "segment", tabIndex: k === current ? 0 : -1, dataset: { k },
      title: `${name}, ${clock(each.start)} to ${clock(each.end)}`,
      ariaLabel: `${name}, ${clock(each.start)} to ${clock(each.end)}, ${k + 1} of ${list.length}`,
    }, element("bdi", { textContent: name })), each.label), row, each);
    block.style.insetBlockStart = `calc(${places[k]} * var(--lane))`;
    if (k === current) block.setAttribute("aria-current", "true");
    return block;
  });
  const handles = list[current] ? ["start", "end"].map((side) => handleOf(row, list, current, side, places)) : [];
  lanes.style.setProperty("--lanes", Math.max(1, ...places.map((lane) => lane + 1)));
  lanes.replaceChildren(...blocks, ...handles);
  if (focus) lanes.querySelector(focus === "whole" ? ".segment[tabindex='0']" : `[data-side=${focus}]`)?.focus({ preventScroll: true });
}

function handleOf(row, list, k, side, places) {
  const { start, end, label } = list[k];
  const handle = element("span", {
    className: "handle", tabIndex: 0, role: "slider", dataset: { side }, title: `${side} of the segment`,
    ariaLabel: `${side === "start" ? "Start" : "End"} of ${label || "the segment"}`,
    ariaValueMin: (side === "start" ? 0 : start).toFixed(3), ariaValueMax: (side === "start" ? end : row.duration).toFixed(3),
    ariaValueNow: list[k][side].toFixed(3), ariaValueText: clock(list[k][side]),
  });
  handle.style.insetInlineStart = `${(100 * list[k][side]) / (row.duration || 1)}%`;
  handle.style.insetBlockStart = `calc(${places[k]} * var(--lane))`;
  return handle;
}

/** Move the playhead to `now`; on request, what can be seen follows it. */
function showPlayhead(follow, centre = false) {
  if (!strip) return;
  const { row, head, view, inner, time } = strip;
  head.style.insetInlineStart = `${(100 * now) / (row.duration || 1)}%`;
  time.textContent = `${clock(now)} / ${clock(row.duration)}`;
  const x = (now / (row.duration || 1)) * inner.clientWidth;
  const out = x < view.scrollLeft || x > view.scrollLeft + view.clientWidth;
  if (centre || (out && !drag && zoom > 1)) view.scrollLeft = x - view.clientWidth * (follow && !centre ? 0.1 : 0.5);
}

function showPlaying() {
  if (!strip) return;
  strip.playing.textContent = isPlaying() ? "Pause" : "Play";
}

// --- the mouse -------------------------------------------------------------------------------

function timeAt(event) {
  const box = strip.inner.getBoundingClientRect();
  return clamped((event.clientX - box.left) / box.width, 0, 1) * strip.row.duration;
}

/** The boundary under the mouse: [number of the segment, side]; undefined if there is none. */
function gripAt(event) {
  const { row, lanes } = strip;
  const list = segmentsOf(row);
  const side = event.target.dataset?.side;
  if (side) return [current, side];
  const block = event.target.closest?.(".segment");
  const lane = block?.style.insetBlockStart;
  const reach = (GRIP_PX * row.duration) / lanes.clientWidth;
  const time = timeAt(event);
  const near = [...lanes.querySelectorAll(".segment")]
    .filter((each) => !lane || each.style.insetBlockStart === lane)
    .flatMap((each) => ["start", "end"].map((which) => [Number(each.dataset.k), which]))
    .filter(([k, which]) => lane && Math.abs(list[k][which] - time) <= reach)
    .sort(([a], [b]) => (b === current) - (a === current));
  return near[0];
}

function beginDrag(event) {
  if (event.button !== 0 || !strip.row.duration) return;
  const grip = gripAt(event);
  const block = event.target.closest(".segment");
  if (!grip && block) return; // a click, which chooses it
  drag = { grip, x: event.clientX, far: false, list: segmentsOf(strip.row), next: null, alone: event.ctrlKey || event.altKey || event.metaKey };
  film?.pause();
  if (!grip) {
    drag.far = true;
    strip.inner.setPointerCapture(event.pointerId);
    seek(toFrame(strip.row, timeAt(event)));
  }
}

function moveDrag(event) {
  if (!drag) {
    strip.lanes.classList.toggle("grip", event.pointerType === "mouse" && Boolean(gripAt(event)));
    return;
  }
  if (!drag.far && Math.abs(event.clientX - drag.x) < 3) return;
  if (!drag.far) strip.inner.setPointerCapture(event.pointerId);
  drag.far = true;
  const time = Math.round(timeAt(event) / strip.row.step) * strip.row.step;
  if (drag.grip) {
    const [k, side] = drag.grip;
    drag.next = moved(strip.row, drag.list, k, side, time, drag.alone);
    drawSegments(drag.next.list, drag.next.at);
    seek(drag.next.list[drag.next.at][side]);
  } else seek(time);
}

function endDrag() {
  const { next, far } = drag ?? {};
  if (far) window.addEventListener("click", swallow, { capture: true, once: true });
  setTimeout(() => window.removeEventListener("click", swallow, { capture: true }));
  drag = null;
  if (next) edit(next, "boundary moved");
}

/** The click that the browser makes of the end of a drag. */
const swallow = (event) => event.stopPropagation();

function cancelDrag() {
  if (!drag) return;
  drag = null;
  drawSegments(segmentsOf(strip.row), current);
}
