// Segments of a video: { start, end, label, sure }, in seconds of presentation time. A list of them
// is in order and never changed; each function here gives a new one. No part of the page.

const NEAR_S = 1e-3; // times in a table are rounded to this

const segment = (start, end, label, sure) => ({ start, end, label, sure });
const inOrder = (list) => [...list].sort((a, b) => a.start - b.start || a.end - b.end);
const clamped = (value, low, high) => Math.min(Math.max(value, low), high);

/** Like 1:02.5, also for hours. */
function clock(seconds) {
  const tenths = Math.round(seconds * 10);
  const rest = String(tenths % 600).padStart(3, "0");
  return `${Math.floor(tenths / 600)}:${rest.slice(0, 2)}.${rest.slice(2)}`;
}

/** The start of the frame that is on screen; of the next one at most `NEAR_S` before it. */
const toFrame = (row, seconds) => Math.floor(seconds / row.step + NEAR_S / row.step) * row.step;

const sameSegments = (a, b) => a.length === b.length && a.every((each, k) =>
  each.label === b[k].label && Math.abs(each.start - b[k].start) < 1e-6 && Math.abs(each.end - b[k].end) < 1e-6);

/** Ends of segments that lie at the same time as this one's: [number, "start" or "end"]. */
function boundary(list, k, side, alone) {
  const time = list[k][side];
  const other = side === "start" ? "end" : "start";
  const touches = (each, i) => i !== k && Math.abs(each[other] - time) <= NEAR_S;
  return [[k, side], ...(alone ? [] : list.flatMap((each, i) => (touches(each, i) ? [[i, other]] : [])))];
}

/** Move an end of segment `k` to a time, as far as it can go. A segment that touches it there moves
    along, unless this one moves alone. */
function moved(row, list, k, side, time, alone = false) {
  const ends = boundary(list, k, side, alone);
  let [low, high] = [0, row.duration];
  for (const [i, which] of ends) {
    if (which === "start") high = Math.min(high, list[i].end - row.step);
    else low = Math.max(low, list[i].start + row.step);
  }
  if (low > high) return { list, at: k }; // it is no longer than a frame
  const there = clamped(time, low, high);
  const next = list.map((each, i) => {
    const mine = ends.find(([number]) => number === i);
    return mine ? { ...each, [mine[1]]: there } : each;
  });
  return placed(next, next[k]);
}

/** Cut the segment in two; null if the time is not inside it. */
function divided(row, list, k, time) {
  const whole = list[k];
  if (!whole || time < whole.start + row.step / 2 || time > whole.end - row.step / 2) return null;
  const parts = [segment(whole.start, time, whole.label), segment(time, whole.end, whole.label)];
  return placed(list.toSpliced(k, 1, ...parts), parts[1]);
}

/** Join the segment with the next one; null if it is the last. */
function joined(list, k) {
  if (k < 0 || k + 1 >= list.length) return null;
  const [first, second] = [list[k], list[k + 1]];
  const whole = segment(first.start, Math.max(first.end, second.end), first.label || second.label);
  return placed(list.toSpliced(k, 2, whole), whole);
}

function without(list, k) {
  return { list: list.toSpliced(k, 1), at: Math.min(k, list.length - 2) };
}

/** A new segment at a time, up to the next one or for two seconds; null at the very end. */
function added(row, list, time, label) {
  const start = Math.min(time, row.duration - row.step);
  if (start < 0) return null;
  const next = Math.min(row.duration, start + 2, ...list.map((each) => each.start).filter((s) => s >= start + row.step));
  const fresh = segment(start, next, label);
  return placed([...list, fresh], fresh);
}

function relabelled(list, k, label) {
  if (list[k].label === label) return { list, at: k };
  const next = segment(list[k].start, list[k].end, label);
  return { list: list.with(k, next), at: k };
}

/** The list in order, and where in it a segment is. */
function placed(list, segment) {
  const sorted = inOrder(list);
  return { list: sorted, at: sorted.indexOf(segment) };
}

/** A lane for each segment, so that those that overlap lie below each other. */
function lanesOf(list) {
  const ends = [];
  return list.map(({ start, end }) => {
    const free = ends.findIndex((last) => last <= start + NEAR_S);
    const lane = free < 0 ? ends.length : free;
    ends[lane] = end;
    return lane;
  });
}

/** The segment at a time: the chosen one if it is there, else the one that began last; or -1. */
function segmentAt(list, time, chosen) {
  const there = ({ start, end }) => start <= time + NEAR_S && time < end - NEAR_S;
  return list[chosen] && there(list[chosen]) ? chosen : list.findLastIndex(there);
}
