// What a person does: filters, choices, dialogs, keys; and the beginning.

const filter = { search: "", label: "", status: "", truth: "", review: "", low: 0, high: 100, sort: "table" };
const FIELDS = { label: "class", status: "status", truth: "truth", review: "review", sort: "sort" };

// --- filters ---------------------------------------------------------------------------------

function refilter() {
  filter.search = $("search").value.trim();
  for (const [key, id] of Object.entries(FIELDS)) filter[key] = $(id)?.value ?? "";
  filter.low = Number($("low").value);
  filter.high = Number($("high").value);
  $("range").textContent = `${filter.low}–${filter.high} %`;
  const track = $("low").parentElement.style;
  track.setProperty("--low", `${filter.low}%`);
  track.setProperty("--high", `${filter.high}%`);
  const bars = [...($("histogram")?.querySelectorAll("rect") ?? [])];
  bars.forEach((bar, i) => {
    const [from, to] = [(100 * i) / bars.length, (100 * (i + 1)) / bars.length];
    bar.classList.toggle("out", to <= filter.low || from >= filter.high);
  });
  for (const bar of document.querySelectorAll("#bars button")) {
    const { label, status } = bar.dataset;
    bar.setAttribute("aria-pressed", String(status ? status === filter.status : label === filter.label));
  }
  const narrowed = filter.label || filter.status || filter.truth || filter.review || filter.low > 0 || filter.high < 100;
  $("clear-filters").hidden = !(narrowed || filter.search);
  $("more").classList.toggle("active", Boolean(narrowed));
  show(select(filter));
}

function clearFilters() {
  $("search").value = "";
  for (const id of ["class", "status", "truth", "review"]) if ($(id)) $(id).value = "";
  $("low").value = 0;
  $("high").value = 100;
  refilter();
}

function fillClasses() {
  const counts = classCounts();
  const shown = counts.filter(([, count]) => count || filter.label);
  const options = shown.map(([name, count]) => element("option", { value: name, textContent: `${name} (${count})` }));
  $("class").replaceChildren(element("option", { value: "", textContent: "All" }), ...options);
  $("class").value = filter.label;
}

// --- choices ---------------------------------------------------------------------------------

/** Draw what a decision changes, everywhere. */
function redraw(numbers) {
  for (const i of numbers) if (cards.has(i)) fill(cards.get(i), rows[i]);
  drawDetail();
  count();
}

function count() {
  const [changed, excluded] = [isChanged, isExcluded].map((is) => rows.filter(is).length);
  const told = `${decisions.size} reviewed, ${changed} changed${excluded ? `, ${excluded} excluded` : ""}`;
  $("reviewed").textContent = decisions.size ? told : "Nothing reviewed yet";
  $("undo").disabled = !history.length;
  fillClasses();
}

/** Decide about rows: a class for each, null to exclude it, undefined for nothing. */
function decideAll(steps, words) {
  if (!steps.length) return;
  const several = selected.size > 0;
  decide(steps);
  const numbers = [...selected, ...steps.map(([i]) => i)];
  selected.clear();
  redraw(numbers);
  tell(steps.length > 1 ? `${steps.length} videos` : rows[steps[0][0]].name, words);
  if (!several && steps[0][1] !== undefined && preferences.advance && !narrow.matches) move(1);
}

function tell(who, words) {
  say(kept ? `${who}: ${words}` : `${who}: ${words}. This browser keeps nothing over a reload: save before you leave.`);
}

function take(label) {
  if (data.timeline) return relabel(label);
  const found = targets();
  const same = found.every((row) => row.label === label);
  decideAll(found.map((row) => [row.i, label]), same ? `${label}, confirmed` : label);
}

function takeTruth() {
  const found = targets().filter((row) => row.truth);
  decideAll(found.map((row) => [row.i, row.truth]), found.length > 1 ? "their known classes" : found[0]?.truth);
}

function confirmLabels() {
  const found = targets().filter((row) => isDone(row) ? !isExcluded(row) : isLabelled(row));
  decideAll(found.map((row) => [row.i, labelOf(row)]), "confirmed");
}

function exclude() {
  decideAll(targets().map((row) => [row.i, null]), "excluded");
}

function takeBack() {
  decideAll(targets().filter(isDone).map((row) => [row.i, undefined]), "as labelled");
}

function undo() {
  const numbers = undoLast();
  if (!numbers.length) return say("Nothing to undo");
  redraw(numbers);
  const at = list.findIndex((row) => row.i === numbers[0]);
  if (at >= 0 && !(data.timeline && numbers[0] === chosen)) {
    while (made <= at) more();
    choose(numbers[0]);
  }
  say(numbers.length > 1 ? `${numbers.length} corrections are back` : `${rows[numbers[0]].name}: undone`);
}

function forget() {
  const numbers = [...decisions.keys()];
  if (!numbers.length) return say("There are no corrections");
  decide(numbers.map((i) => [i, undefined]));
  redraw(numbers);
  $("save").close();
  say(`${numbers.length} cleared; Undo brings them back`);
}

// --- any class -------------------------------------------------------------------------------

let offered = []; // names in the list of classes; the last may be new
let marked = 0; // which of them Enter takes

function openClasses() {
  if (!targets().length || (data.timeline && !hasSegment())) return;
  $("class-search").value = "";
  offerClasses();
  $("classes").showModal();
}

function offerClasses() {
  const typed = $("class-search").value.trim();
  const wanted = folded(typed);
  const counts = classCounts();
  const found = counts.filter(([name]) => folded(name).includes(wanted));
  found.sort(([a], [b]) => rank(a, wanted) - rank(b, wanted));
  const fresh = typed && !counts.some(([name]) => name === typed);
  offered = found.map(([name]) => name).concat(fresh ? [typed] : []);
  marked = 0;
  $("class-list").replaceChildren(...offered.map((name, k) => {
    const isNew = fresh && k === offered.length - 1;
    const option = element("li", { id: `class-${k}` },
      element("bdi", { textContent: isNew ? `New class “${name}”` : name }),
      element("span", { className: "muted", textContent: isNew ? "" : found[k][1] || "" }));
    option.setAttribute("role", "option");
    option.addEventListener("click", () => takeOffered(k));
    return option;
  }));
  markOffered(0);
}

/** Names that begin as typed come first. */
const rank = (name, wanted) => (folded(name).startsWith(wanted) ? 0 : 1);

function markOffered(k) {
  marked = Math.min(Math.max(k, 0), offered.length - 1);
  [...$("class-list").children].forEach((option, i) => option.setAttribute("aria-selected", String(i === marked)));
  $("class-search").setAttribute("aria-activedescendant", offered.length ? `class-${marked}` : "");
  $("class-list").children[marked]?.scrollIntoView({ block: "nearest" });
}

function takeOffered(k) {
  if (offered[k] === undefined) return;
  $("classes").close();
  take(offered[k]);
}

function classKey(event) {
  const by = { ArrowDown: 1, ArrowUp: -1, PageDown: 8, PageUp: -8 }[event.key];
  if (by) markOffered(marked + by);
  else if (event.key === "Enter" && !event.isComposing) takeOffered(marked);
  else return;
  event.preventDefault();
}

// --- saving ----------------------------------------------------------------------------------

function openSave() {
  for (const which of ["done", "changed", "all"]) {
    const videos = countOf(rows.filter(SAVED[which]).length, "video");
    $(`n-${which}`).textContent = data.timeline ? `(${videos}, ${countOf(countSaved(which), "segment")})` : `(${countSaved(which)})`;
  }
  $("forget").disabled = !decisions.size;
  $("save").showModal();
}

function download() {
  const [which, paths] = ["which", "paths"].map((name) => document.querySelector(`[name=${name}]:checked`).value);
  const count = countSaved(which);
  if (!count) return say("There are no such rows");
  const url = URL.createObjectURL(new Blob(table(which, paths), { type: "text/csv" }));
  const name = `${data.name.replace(/\.[^.]*$/, "")}_corrections.csv`;
  const link = element("a", { href: url, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
  $("save").close();
  say(`${count} rows saved as ${name}`);
}

// --- keys ------------------------------------------------------------------------------------

const STEPS = {
  ArrowRight: () => 1, ArrowLeft: () => -1, ArrowDown: columns, ArrowUp: () => -columns(),
  j: () => 1, k: () => -1, Home: () => -rows.length, End: () => rows.length,
  PageDown: () => 3 * columns(), PageUp: () => -3 * columns(),
};
const ACTIONS = {
  u: undo, e: openSave,
  ...(data.timeline ? {} : {
    x: takeBack, t: takeTruth, c: confirmLabels, d: exclude,
    a: selectAll, s: () => setSelected([chosen], !selected.has(chosen)),
  }),
  "/": () => $("search").focus(), "?": () => $("keys").showModal(),
};

function key(event) {
  const at = event.target;
  const alone = at.dataset?.side && event.key.startsWith("Arrow"); // a boundary without its neighbour
  if (((event.ctrlKey || event.altKey) && !alone) || event.metaKey || document.querySelector("dialog[open]")) return;
  if (event.key === "Escape") return escape(at);
  if (at.closest("input, select, textarea, video[controls]")) return;
  const plain = event.key.length === 1;
  if (plain && !preferences.letters) return;
  const among = at === document.body || at.closest("#grid");
  const row = rows[chosen];
  if (data.timeline && row && segmentKey(event, among, row)) return event.preventDefault();
  if (Object.hasOwn(STEPS, event.key) && (among || plain)) move(STEPS[event.key](), event.shiftKey);
  else if (Object.hasOwn(ACTIONS, event.key) && (row || !"s".includes(event.key))) ACTIONS[event.key]();
  else if (/^[1-9]$/.test(event.key) && row?.choices[event.key - 1]) take(row.choices[event.key - 1]);
  else if (event.key === "Enter" && among && row) openClasses();
  else return;
  event.preventDefault();
}

function escape(at) {
  if (drag) cancelDrag();
  else if (selected.size) clearSelection();
  else if (at.closest(".bar") || at.closest("#detail")) cards.get(chosen)?.focus();
  else if (narrow.matches && chosen >= 0) closeDetail();
}

// --- the beginning ---------------------------------------------------------------------------

for (const id of Object.values(FIELDS)) $(id)?.addEventListener("change", refilter);
$("search").addEventListener("input", refilter);
for (const id of ["low", "high"]) {
  $(id).addEventListener("input", () => {
    if (Number($("low").value) > Number($("high").value)) $(id).value = $(id === "low" ? "high" : "low").value;
    refilter();
  });
}
$("bars")?.addEventListener("click", ({ target }) => {
  const bar = target.closest("button");
  if (!bar) return;
  const { label, status } = bar.dataset;
  if (status) $("status").value = filter.status === status ? "" : status;
  else $("class").value = filter.label === label ? "" : label;
  refilter();
});
$("all-classes")?.addEventListener("click", () => {
  $("bars").classList.add("all");
  $("all-classes").remove();
});
$("clear-filters").addEventListener("click", clearFilters);
$("more").addEventListener("click", () => {
  const open = $("filters").classList.toggle("open");
  $("more").setAttribute("aria-expanded", String(open));
});
$("undo").addEventListener("click", undo);
$("export").addEventListener("click", openSave);
$("help").addEventListener("click", () => $("keys").showModal());
$("forget").addEventListener("click", forget);
$("download").addEventListener("click", download);
$("class-search").addEventListener("input", offerClasses);
$("class-search").addEventListener("keydown", classKey);
for (const name of ["advance", "letters"]) {
  $(name).addEventListener("change", () => prefer(name, $(name).checked));
}
for (const dialog of document.querySelectorAll("dialog")) {
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // outside
}
document.addEventListener("keydown", key);
document.addEventListener("keyup", (event) => {
  if (data.timeline && event.key === " " && event.target.closest(".card, .segment")) event.preventDefault(); // it plays
});

const grid = $("grid");
const cardAt = (event) => event.target.closest?.(".card");
grid.addEventListener("click", (event) => {
  const card = cardAt(event);
  if (!card) return;
  const i = Number(card.dataset.i);
  if (event.shiftKey) selectTo(i);
  else if (event.ctrlKey || event.metaKey) {
    if (!selected.size && chosen >= 0) setSelected([chosen], true);
    setSelected([i], !selected.has(i));
  } else clearSelection();
  choose(i, { scroll: narrow.matches });
});
for (const [name, on] of [["pointerover", true], ["pointerout", false], ["focusin", true], ["focusout", false]]) {
  grid.addEventListener(name, (event) => {
    const card = cardAt(event);
    if (card && !card.contains(event.relatedTarget)) play(card, on || card.matches(":focus"));
  });
}
new ResizeObserver(([bar]) => {
  document.documentElement.style.setProperty("--bar", `${bar.target.offsetHeight}px`);
}).observe(document.querySelector(".bar"));
addEventListener("storage", (event) => {
  if (event.key !== KEPT) return; // the same page in another tab
  restore();
  history.length = 0;
  redraw(cards.keys());
});
addEventListener("beforeunload", (event) => {
  if (decisions.size && !kept) event.preventDefault(); // they would be lost; the browser asks
});

restore();
for (const name of ["advance", "letters"]) $(name).checked = preferences[name];
$("summary").open = preferences.summary;
$("summary").addEventListener("toggle", () => prefer("summary", $("summary").open));
document.body.classList.toggle("few", rows.length <= 3 && !data.timeline);
count();
refilter();
if (decisions.size) say(`${decisions.size} corrections of an earlier visit are here`);
document.documentElement.dataset.ready = performance.now().toFixed(0);
