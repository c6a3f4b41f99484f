// The rows, what has been decided about them, and what of them is shown. No part of the page.

const data = JSON.parse(document.getElementById("data").textContent);
const rows = data.rows;
const KEPT = `vidlabel-review:${data.digest}`;
const PREFERRED = "vidlabel-review:preferences";

const decisions = new Map(); // row number -> class, as a person says; null excludes the row
const history = []; // of steps, each a list of [row number, class before or undefined]
const preferences = { advance: true, letters: true, summary: false };

/** For searching: `jumping jack` finds jumping_jack. */
const folded = (text) => text.toLowerCase().replaceAll("_", " ");

rows.forEach((row, i) => {
  row.i = i;
  row.top ??= [];
  row.label ??= "";
  const choices = row.top.map(([label]) => label);
  if (!choices.length && row.label) choices.push(row.label);
  row.choices = choices;
  const slash = row.shown.lastIndexOf("/");
  row.name = row.shown.slice(slash + 1) || row.shown;
  row.folder = row.shown.slice(0, slash + 1);
  const said = row.status === "uncertain" ? row.status : row.label;
  row.text = folded([row.shown, said, row.truth ?? ""].join("\n"));
});
const common = rows.reduce((shared, { folder }) => {
  let same = 0;
  while (same < shared.length && shared[same] === folder[same]) same += 1;
  return shared.slice(0, shared.lastIndexOf("/", same - 1) + 1);
}, rows[0]?.folder ?? "");
for (const row of rows) row.place = row.folder.slice(common.length) || row.folder.replace(/^.*\/(?=[^/]+\/$)/, "");

// --- decisions -------------------------------------------------------------------------------

const labelOf = (row) => decisions.get(row.i) ?? row.label;
const isDone = (row) => decisions.has(row.i);
const isExcluded = (row) => decisions.get(row.i) === null;
const isChanged = (row) => isDone(row) && !isExcluded(row) && decisions.get(row.i) !== row.label;
const isLabelled = (row) => row.label && row.status !== "failed";

/** Whether the label, as it is now, is the known class. */
function verdictOf(row) {
  if (!row.truth || isExcluded(row) || !(isDone(row) || isLabelled(row))) return "unknown";
  return row.truth === labelOf(row) ? "right" : "wrong";
}

/** Note steps [row number, class or undefined for none] so that they can be undone as one. */
function decide(steps) {
  history.push(steps.map(([i]) => [i, decisions.get(i)]));
  apply(steps);
  store();
}

/** The numbers of the rows that the last step was about, restored; empty if there is none. */
function undoLast() {
  const steps = history.pop() ?? [];
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
      if (rows[i] && (label === null || (typeof label === "string" && label))) decisions.set(i, label);
    }
    const wished = JSON.parse(localStorage.getItem(PREFERRED) ?? "{}");
    for (const key of Object.keys(preferences)) {
      if (typeof wished[key] === "boolean") preferences[key] = wished[key];
    }
  } catch {
    // Nothing was kept, or something else wrote there; begin without.
  }
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
  for (const row of rows) {
    const label = labelOf(row);
    if (label && !isExcluded(row)) counts.set(label, (counts.get(label) ?? 0) + 1);
  }
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
  label: (a, b) => compare(labelOf(a), labelOf(b)) || ORDERS.most(a, b),
};
const collator = new Intl.Collator("en", { numeric: true });
const compare = (a, b) => collator.compare(a, b);
const margin = (row) => (row.top.length > 1 ? row.top[0][1] - row.top[1][1] : 2);

/** The rows that fit, in order; what a filter does not say fits all. */
function select(filter) {
  const words = filter.search.split(/\s+/).filter(Boolean).map(folded);
  const [low, high] = [filter.low / 100, filter.high / 100];
  const all = filter.low <= 0 && filter.high >= 100;
  const fits = (row) =>
    words.every((word) => row.text.includes(word) || folded(labelOf(row)).includes(word)) &&
    (!filter.label || (labelOf(row) === filter.label && !isExcluded(row))) &&
    (!filter.status || row.status === filter.status) &&
    (!filter.truth || verdictOf(row) === filter.truth) &&
    (!filter.review || REVIEWS[filter.review](row)) &&
    (all || (row.confidence >= low - 5e-7 && row.confidence <= high + 5e-7));
  const found = rows.filter(fits);
  return ORDERS[filter.sort] ? found.sort(ORDERS[filter.sort]) : found;
}

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

/** A CSV of `path,label` as parts of a Blob. */
function table(which, paths) {
  const lines = rows
    .filter(SAVED[which])
    .map((row) => `${cell(paths === "full" ? row.path : row.given)},${cell(labelOf(row))}\n`);
  return bytesOf(["path,label\n", ...lines].join(""));
}

const cell = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

/** UTF-8, in which a lone surrogate U+DC80 to U+DCFF is the byte that it stands for: file names
    are bytes, and Python hands over those that are not UTF-8 in this way. */
function bytesOf(text) {
  const parts = text.split(/([\udc80-\udcff])/u);
  return parts.map((part, i) => (i % 2 ? Uint8Array.of(part.charCodeAt(0) & 0xff) : part));
}
