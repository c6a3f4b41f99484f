// The chosen video of a table of segments: what is seen of it beside the strip, and what a person
// does with its segments.

const SECOND = 1; // the larger step, seconds

let current = -1; // number of the chosen segment

// --- what is seen ----------------------------------------------------------------------------

function drawTimeline(row) {
  const same = strip?.row === row && $("detail").contains(strip.view);
  if (!same) {
    const media = element("div", { className: "media" }, filmOf(row));
    current = segmentsOf(row).length ? 0 : -1;
    $("detail").dataset.i = row.i;
    $("detail").replaceChildren(navigation(row), media, stripOf(row), element("div", { className: "told" }));
    drawRuler();
    showPlayhead(false);
  } else $("detail").querySelector(".nav").replaceWith(navigation(row));
  drawChosen();
}

/** Draw the segments, and what is said of the chosen one. */
function drawChosen() {
  const { row } = strip;
  const list = segmentsOf(row);
  current = Math.min(current, list.length - 1);
  if (current < 0 && list.length) current = 0;
  drawSegments(list, current);
  $("detail").querySelector(".told").replaceChildren(
    segmentTold(row, list[current]), classList(list[current]), editing(row), element("div", {}, stateOf(row), facts(row)));
}

function segmentTold(row, each) {
  if (!each) return element("h2", { className: "label", textContent: row.status === "failed" ? "failed" : "no segments" });
  const told = [
    `${clock(each.start)} – ${clock(each.end)}`, `${(each.end - each.start).toFixed(1)} s`,
    each.sure != null ? percent(each.sure) : "", `${current + 1} of ${segmentsOf(row).length}`,
  ].filter(Boolean).join(" · ");
  return element("div", {},
    element("h2", { className: "label" }, element("bdi", { textContent: each.label || "no label" })),
    element("p", { className: "state times", textContent: told }));
}

/** The classes with a key of their own, in their colours. */
function classList(each) {
  const items = [...palette.keys()].slice(0, 9).map((label, k) => {
    const choice = element("button", { type: "button", className: "choice", title: label, disabled: !each },
      element("kbd", { textContent: k + 1 }), paint(element("span", { className: "swatch", ariaHidden: "true" }), label),
      element("bdi", { className: "name", textContent: label }));
    choice.setAttribute("aria-pressed", String(each?.label === label));
    choice.addEventListener("click", () => relabel(label));
    return element("li", {}, choice);
  });
  const other = element("button", { type: "button", className: "choice other", disabled: !each }, element("kbd", { textContent: "↵" }), "Another class…");
  other.addEventListener("click", openClasses);
  return element("ul", { className: "choices", ariaLabel: "Classes to choose from" }, ...items, element("li", {}, other));
}

function editing() {
  const buttons = [
    ["i", "Start here", "Move its start to the playhead", () => setBoundary("start")],
    ["o", "End here", "Move its end to the playhead", () => setBoundary("end")],
    ["s", "Split", "Split at the playhead", splitSegment], ["m", "Join next", "Join with the next segment", joinSegment],
    ["d", "Delete", "Delete the segment", deleteSegment], ["a", "Add", "Add a segment at the playhead", addSegment],
  ].map(([letter, text, title, action]) => {
    const made = element("button", { type: "button", className: "tool", title }, element("kbd", { textContent: letter }), text);
    made.addEventListener("click", action);
    return made;
  });
  const more = element("p", { className: "hint muted" },
    element("kbd", { textContent: "b" }), " then ", element("kbd", { textContent: "←" }), " ", element("kbd", { textContent: "→" }), " moves a boundary · ",
    element("kbd", { textContent: "n" }), " ", element("kbd", { textContent: "p" }), " next, previous segment · ",
    element("kbd", { textContent: "Space" }), " plays · ", element("kbd", { textContent: "c" }), " confirms the video · ", element("kbd", { textContent: "?" }), " all keys");
  return element("div", { className: "editing", role: "group", ariaLabel: "Edit the segment" }, ...buttons, more);
}

function stateOf(row) {
  const state = isChanged(row) ? "changed" : isDone(row) ? "confirmed" : "";
  const line = element("p", { className: `state ${state}` }, state || (row.status === "failed" ? "failed" : "as labelled"));
  if (state) line.append(button("Take back", "Take back all that was done with this video", takeVideoBack, "link"));
  else if (row.segments.length) line.append(button("Confirm", "Confirm all segments of this video", confirmVideo, "link"));
  return line;
}

// --- what a person does ----------------------------------------------------------------------

const hasSegment = () => Boolean(strip && segmentsOf(strip.row)[current]);

/** Take over new segments, of which one is chosen. */
function edit(next, words, name = "") {
  if (!next) return;
  const { row } = strip;
  current = next.at;
  if (sameSegments(next.list, segmentsOf(row))) { // at a limit, say
    drawChosen();
    return say(`${row.name}: ${words}`);
  }
  decide([[row.i, next.list]], name);
  redraw([row.i]);
  tell(row.name, words);
}

/** Choose a segment and play it. */
function pick(k, { focus = true } = {}) {
  const each = segmentsOf(strip.row)[k];
  if (!each) return;
  current = k;
  drawChosen();
  playFrom(each.start, each.end);
  if (focus) strip.lanes.querySelector(".segment[tabindex='0']").focus({ preventScroll: true });
}

function relabel(label) {
  if (!hasSegment() || !label) return;
  edit(relabelled(segmentsOf(strip.row), current, label), label);
}

function setBoundary(side) {
  if (!hasSegment()) return say("There is no segment");
  edit(moved(strip.row, segmentsOf(strip.row), current, side, now), `${side} at ${clock(now)}`);
}

let alone = false; // whether the boundary that is being moved has no other with it

function moveBoundary(side, by, detached) {
  const { row } = strip;
  const list = segmentsOf(row);
  // One that is met on the way does not join in.
  if (detached || !goesOn(`${row.i} ${current} ${side}`)) alone = detached || boundary(list, current, side).length === 1;
  const next = moved(row, list, current, side, toGrid(row, list[current][side] + by), alone);
  film?.pause();
  edit(next, `${side} at ${clock(next.list[next.at][side])}`, `${row.i} ${next.at} ${side}`);
  seek(next.list[next.at][side]);
}

/** The nearest start of a frame; times of a table are rounded. */
const toGrid = (row, seconds) => Math.round(seconds / row.step) * row.step;

function splitSegment() {
  const list = segmentsOf(strip.row);
  const next = divided(strip.row, list, segmentAt(list, now, current), now);
  if (!next) return say("Move the playhead into a segment to split it there");
  edit(next, `split at ${clock(now)}`);
}

function joinSegment() {
  const next = joined(segmentsOf(strip.row), current);
  if (!next) return say("There is no next segment to join with");
  edit(next, "joined");
}

function deleteSegment() {
  if (!hasSegment()) return say("There is no segment");
  edit(without(segmentsOf(strip.row), current), "segment deleted");
}

function addSegment() {
  const only = palette.size === 1 ? [...palette.keys()][0] : "";
  const next = added(strip.row, segmentsOf(strip.row), now, only);
  if (!next) return say("There is no room for a segment");
  edit(next, only ? `${only} added` : "segment added: choose its class");
}

function confirmVideo() {
  const { row } = strip;
  if (!row.segments.length && !isDone(row)) return;
  decide([[row.i, segmentsOf(row)]]);
  redraw([row.i]);
  tell(row.name, "confirmed");
  if (preferences.advance && !narrow.matches) move(1);
}

function takeVideoBack() {
  const { row } = strip;
  if (isDone(row)) decideAll([[row.i, undefined]], "as labelled");
}

/** To the start of the segment, or to its end if the start has the focus. */
function toBoundary() {
  const side = document.activeElement.dataset?.side === "start" ? "end" : "start";
  strip.lanes.querySelector(`[data-side=${side}]`)?.focus({ preventScroll: true });
  if (hasSegment()) seek(segmentsOf(strip.row)[current][side]);
}

const SEGMENT_ACTIONS = {
  n: () => pick(Math.min(current + 1, segmentsOf(strip.row).length - 1)), p: () => pick(Math.max(current - 1, 0)),
  i: () => setBoundary("start"), o: () => setBoundary("end"), b: toBoundary,
  s: splitSegment, m: joinSegment, d: deleteSegment, Delete: deleteSegment, a: addSegment,
  c: confirmVideo, x: takeVideoBack,
  ",": () => stepBy(-strip.row.step), ".": () => stepBy(strip.row.step),
  "<": () => stepBy(-SECOND), ">": () => stepBy(SECOND), ";": () => stepBy(-SECOND), ":": () => stepBy(SECOND),
  "+": () => zoomTo(zoom * 2), "=": () => zoomTo(zoom * 2), "-": () => zoomTo(zoom / 2),
};

/** Do what a key means here; whether it means something. */
function segmentKey(event, among, row) {
  if (strip?.row !== row) return false;
  const { key, target } = event;
  const side = target.dataset?.side;
  const by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1 }[key];
  const inStrip = strip.lanes.contains(target);
  if (side && by) moveBoundary(side, by * (event.shiftKey ? SECOND : row.step), event.ctrlKey || event.altKey);
  else if (inStrip && by) SEGMENT_ACTIONS[by > 0 ? "n" : "p"]();
  else if (key === " " && (among || inStrip)) togglePlay();
  else if (key === "Enter" && inStrip) openClasses();
  else if (/^[1-9]$/.test(key)) relabel([...palette.keys()][key - 1]);
  else if (Object.hasOwn(SEGMENT_ACTIONS, key)) SEGMENT_ACTIONS[key]();
  else return false;
  return true;
}
