// The rows, what has been decided about them, and what of them is shown. No part of the page.

const data = JSON.parse(document.getElementById("data").textContent);
const rows = data.rows;
const KEPT = `vidlabel-review:${data.digest}`;
const PREFERRED = "vidlabel-review:preferences";

// row number -> class, as a person says; null excludes the row; or the segments of a video
const decisions = new Map();
const history = []; // of steps, each a list of [row number, class before or undefined]
const preferences = { advance: true, letters: true, summary: false };

/** For searching: `jumping jack` finds jumping_jack. */
const folded = (text) => text.toLowerCase().replaceAll("_", " ");

rows.forEach((row, i) => {
  row.i = i;
  row.top ??= [];
  row.label ??= "";
  if (data.timeline) beginSegments(row);
  const choices = row.top.map(([label]) => label);
  if (!choices.length && row.label) choices.push(row.label);
  row.choices = choices;
  const slash = row.shown.lastIndexOf("/");
  row.name = row.shown.slice(slash + 1) || row.shown;
  row.folder = row.shown.slice(0, slash + 1);
  const said = row.status === "uncertain" ? row.status : row.label;
  row.text = folded([row.shown, said, row.truth ?? ""].join("\n"));
});

/** Make the segments of the table those of `segments.js`; the row is as sure as the least sure. */
function beginSegments(row) {
  row.duration ??= 0;
  row.step = row.fps ? 1 / row.fps : 0.1;
  row.segments = (row.segments ?? []).map(([start, end, label, sure]) => segment(start, end, label ?? "", sure));
  const shares = row.segments.flatMap(({ sure }) => sure ?? []);
  if (shares.length) row.confidence = Math.min(...shares);
}

const common = rows.reduce((shared, { folder }) => {
  let same = 0;
  while (same < shared.length && shared[same] === folder[same]) same += 1;
  return shared.slice(0, shared.lastIndexOf("/", same - 1) + 1);
}, rows[0]?.folder ?? "");
for (const row of rows) row.place = row.folder.slice(common.length) || row.folder.replace(/^.*\/(?=[^/]+\/$)/, "");

// --- decisions -------------------------------------------------------------------------------

const labelOf = (row) => decisions.get(row.i) ?? row.label;
const segmentsOf = (row) => decisions.get(row.i) ?? row.segments;
/** The classes of a row, one for each of its segments; none if it is excluded. */
function labelsOf(row) {
  if (row.segments) return segmentsOf(row).flatMap(({ label }) => label || []);
  return isExcluded(row) || !labelOf(row) ? [] : [labelOf(row)];
}
const isDone = (row) => decisions.has(row.i);
const isExcluded = (row) => decisions.get(row.i) === null;
const isChanged = (row) => isDone(row) && !isExcluded(row) &&
  (row.segments ? !sameSegments(decisions.get(row.i), row.segments) : decisions.get(row.i) !== row.label);
const isLabelled = (row) => row.status !== "failed" && (row.segments ? labelsOf(row).length > 0 : row.label);

/** Whether the label, as it is now, is the known class. */
function verdictOf(row) {
  if (!row.truth || isExcluded(row) || !(isDone(row) || isLabelled(row))) return "unknown";
  return row.truth === labelOf(row) ? "right" : "wrong";
}

let going = { what: "", until: 0 }; // the last step, while one like it belongs to it

const goesOn = (name) => Boolean(name) && name === going.what && performance.now() <= going.until;

/** Note steps [row number, class or undefined for none] so that they can be undone as one. So can
    steps of one name that follow each other quickly, as while a key is held. */
function decide(steps, name = "") {
  if (!goesOn(name)) {
    history.push(steps.map(([i]) => [i, decisions.get(i)]));
  }
  going = { what: name, until: performance.now() + 1500 };
  apply(steps);
  store();
}

/** The numbers of the rows that the last step was about, restored; empty if there is none. */
function undoLast() {
  const steps = history.pop() ?? [];
  going.what = "";
  apply(steps);
  store();
  return steps.map(([i]) => i);
}

function apply(steps) {
  for (const [i, label] of steps) {
    if (label === undefined) decisions.delete(i);
    else decisions.set(i, label);
  }
}

let kept = true; // false where the browser keeps nothing, as some do for files

function store() {
  try {
    if (decisions.size) localStorage.setItem(KEPT, JSON.stringify([...decisions]));
    else localStorage.removeItem(KEPT);
    kept = true;
  } catch {
    kept = false;
  }
}

function restore() {
  decisions.clear();
  try {
    for (const [i, label] of JSON.parse(localStorage.getItem(KEPT) ?? "[]")) {
      if (rows[i] && isDecision(rows[i], label)) decisions.set(i, label);
    }
    const wished = JSON.parse(localStorage.getItem(PREFERRED) ?? "{}");
    for (const key of Object.keys(preferences)) {
      if (typeof wished[key] === "boolean") preferences[key] = wished[key];
    }
  } catch {
    // Nothing was kept, or something else wrote there; begin without.
  }
}

function isDecision(row, value) {
  if (!row.segments) return value === null || (typeof value === "string" && value !== "");
  return Array.isArray(value) && value.every((each) =>
    typeof each?.label === "string" && each.start >= 0 && each.start < each.end && each.end <= row.duration + NEAR_S);
}

function prefer(key, value) {
  preferences[key] = value;
  try {
    localStorage.setItem(PREFERRED, JSON.stringify(preferences));
  } catch {
    // Then it holds until the page is closed.
  }
}

/** All class names, those that a person has made up included: [name, rows with it now]. */
function classCounts() {
  const counts = new Map(data.classes.map((name) => [name, 0]));
  for (const label of rows.flatMap(labelsOf)) counts.set(label, (counts.get(label) ?? 0) + 1);
  return [...counts].sort(([a], [b]) => (a < b ? -1 : 1));
}

// --- what is shown ---------------------------------------------------------------------------

const ORDERS = {
  value: (a, b) => a.rank - b.rank,
  confidence: (a, b) => (a.confidence ?? 2) - (b.confidence ?? 2),
  most: (a, b) => (b.confidence ?? -1) - (a.confidence ?? -1),
  uncertain: (a, b) => margin(a) - margin(b),
  path: (a, b) => compare(a.shown, b.shown),
  name: (a, b) => compare(a.name, b.name) || compare(a.folder, b.folder),
  eman: (a, b) => compare(b.name, a.name) || compare(b.folder, a.folder),
  label: (a, b) => compare(firstLabel(a), firstLabel(b)) || ORDERS.most(a, b),
};
const collator = new Intl.Collator("en", { numeric: true });
const compare = (a, b) => collator.compare(a, b);
const firstLabel = (row) => (row.segments ? (labelsOf(row)[0] ?? "") : labelOf(row));
const margin = (row) => (row.top.length > 1 ? row.top[0][1] - row.top[1][1] : 2);

/** The rows that fit, in order; what a filter does not say fits all. */
function select(filter) {
  const words = filter.search.split(/\s+/).filter(Boolean).map(folded);
  const [low, high] = [filter.low / 100, filter.high / 100];
  const all = filter.low <= 0 && filter.high >= 100;
  const fits = (row) =>
    words.every((word) => row.text.includes(word) || textOf(row).includes(word)) &&
    (!filter.label || labelsOf(row).includes(filter.label)) &&
    (!filter.status || row.status === filter.status) &&
    (!filter.truth || verdictOf(row) === filter.truth) &&
    (!filter.review || REVIEWS[filter.review](row)) &&
    (all || (row.confidence >= low - 5e-7 && row.confidence <= high + 5e-7));
  const found = rows.filter(fits);
  return ORDERS[filter.sort] ? found.sort(ORDERS[filter.sort]) : found;
}

const textOf = (row) => folded(row.segments ? labelsOf(row).join("\n") : labelOf(row));

const REVIEWS = {
  open: (row) => !isDone(row),
  done: isDone,
  changed: isChanged,
  confirmed: (row) => isDone(row) && !isChanged(row) && !isExcluded(row),
  excluded: isExcluded,
};

// --- the table to save -----------------------------------------------------------------------

const SAVED = {
  done: (row) => isDone(row) && !isExcluded(row),
  changed: isChanged,
  all: (row) => !isExcluded(row) && (isDone(row) || isLabelled(row)),
};

const timed = data.timeline || rows.some((row) => row.part);

/** A CSV as parts of a Blob: `path,label`, or `path,label,start_s,end_s` where rows are for parts of
    videos, with a line for each segment that has a label; with rows that nobody has looked at, it
    says which. */
function table(which, paths) {
  const names = ["path", "label", ...(timed ? ["start_s", "end_s"] : [])];
  if (which === "all") names.push("status", "confidence", "reviewed");
  const lines = rows.filter(SAVED[which]).flatMap((row) => {
    const path = cell(paths === "full" ? row.path : row.given);
    const one = (label, times, sure) => {
      const more = which === "all" ? [row.status, sure ?? "", isDone(row) ? "yes" : "no"] : [];
      return [path, cell(label), ...(timed ? secondsOf(times) : []), ...more];
    };
    if (!row.segments) return [one(labelOf(row), row.part ?? [], row.confidence)];
    return labelled(row).map(({ label, start, end, sure }) => one(label, [start, end], sure));
  });
  return bytesOf([names, ...lines].map((line) => `${line.join(",")}\n`).join(""));
}

/** Start and end as they are written; empty for a whole video. */
const secondsOf = ([start, end]) => [start?.toFixed(3) ?? "", end?.toFixed(3) ?? ""];

const labelled = (row) => segmentsOf(row).filter(({ label }) => label);

/** How many lines such a table has. */
function countSaved(which) {
  const found = rows.filter(SAVED[which]);
  return data.timeline ? found.reduce((sum, row) => sum + labelled(row).length, 0) : found.length;
}

const cell = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

/** UTF-8, in which a lone surrogate U+DC80 to U+DCFF is the byte that it stands for: file names
    are bytes, and Python hands over those that are not UTF-8 in this way. */
function bytesOf(text) {
  const parts = text.split(/([\udc80-\udcff])/u);
  return parts.map((part, i) => (i % 2 ? Uint8Array.of(part.charCodeAt(0) & 0xff) : part));
}
