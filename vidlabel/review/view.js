// What is seen: cards in a grid, and the chosen video beside it. Texts are only ever set as text.

const $ = (id) => document.getElementById(id);
const BATCH = 60; // cards made at once; more follow as the end of the list comes near
const still = matchMedia("(prefers-reduced-motion: reduce)");
const narrow = matchMedia("(max-width: 760px)");

let list = []; // the rows shown, in order
let made = 0; // how many of them have a card
let chosen = -1; // number of the chosen row
const cards = new Map(); // row number -> its card
const selected = new Set(); // numbers of the rows that the next choice is for; if none, the chosen one

function element(tag, properties = {}, ...children) {
  const { dataset, ...plain } = properties;
  const made = Object.assign(document.createElement(tag), plain);
  Object.assign(made.dataset, dataset);
  made.append(...children.filter((child) => child !== "" && child != null));
  return made;
}

function icon(name) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const use = document.createElementNS("http://www.w3.org/2000/svg", "use");
  use.setAttribute("href", `#i-${name}`);
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  svg.append(use);
  return svg;
}

const hidden = (text) => element("span", { className: "sr", textContent: text });
function percent(share) {
  if (share == null) return "";
  if (share > 0 && share < 0.0005) return "< 0.1 %";
  return `${(share * 100).toFixed(share > 0 && share < 0.0995 ? 1 : 0)} %`;
}

const spoken = (text) => text.replaceAll("_", " "); // reasons; class names stay as they are

function meter(share) {
  const bar = element("span", { className: "meter", ariaHidden: "true" }, element("span"));
  bar.firstChild.style.inlineSize = `${(share ?? 0) * 100}%`;
  return bar;
}

let speaking = 0;
/** A short message at the foot of the page, which screen readers speak. */
function say(text) {
  clearTimeout(speaking);
  $("message").textContent = text;
  speaking = setTimeout(() => ($("message").textContent = ""), 6000);
}

// --- pictures --------------------------------------------------------------------------------

function placeholder(why) {
  return element("span", { className: "why" }, icon("none"), element("span", { textContent: why }));
}

/** The poster of a row, or the reason why it has none. */
function picture(row, lazy) {
  if (!row.poster) return placeholder(row.why ?? "no preview");
  const image = element("img", { alt: `Frame of ${row.name}`, decoding: "async", draggable: false });
  if (lazy) image.loading = "lazy";
  image.addEventListener("error", () => image.replaceWith(placeholder("the preview is missing")));
  image.src = row.poster;
  return image;
}

function clip(row, controls) {
  const video = element("video", {
    src: row.clip, poster: row.poster, muted: true, loop: true, playsInline: true, controls,
    ariaLabel: `Clip of ${row.name}, without sound`,
  });
  video.disablePictureInPicture = true;
  if (!controls) video.tabIndex = -1;
  video.play().catch(() => {}); // it ended before it began, or the file has gone
  return video;
}

/** Play over a card's poster, or stop. */
function play(card, on) {
  const playing = card.querySelector("video");
  if (playing && !on) playing.remove();
  const row = rows[card.dataset.i];
  if (!playing && on && row.clip && !row.segments && !still.matches) {
    const video = clip(row, false);
    video.ariaHidden = "true"; // the card says what it is
    card.querySelector(".media").append(video);
  }
}

// --- cards -----------------------------------------------------------------------------------

function cardOf(row) {
  const media = element("span", { className: "media" }, picture(row, true));
  const card = element(
    "button",
    { type: "button", className: "card", tabIndex: -1, dataset: { i: row.i } },
    media,
    element("span", { className: "words" }),
  );
  const pick = element("input", { type: "checkbox", className: "pick", tabIndex: -1, ariaLabel: `Select ${row.name}` });
  pick.addEventListener("click", (event) => {
    if (event.shiftKey) selectTo(row.i);
    else setSelected([row.i], pick.checked);
    if (!narrow.matches) choose(row.i, { scroll: false }); // keys are for cards, not for boxes
  });
  cards.set(row.i, card);
  const item = element("li", {}, card, pick);
  fill(card, row);
  return item;
}

/** Write what may change on a card: label, marks. */
function fill(card, row) {
  const label = labelOf(row);
  const title = element("span", { className: "title" });
  if (row.segments) {
    title.append(element("b", { textContent: countOf(segmentsOf(row).length, "segment") }));
  } else if (isExcluded(row)) {
    title.append(element("s", { textContent: label }), element("b", { textContent: "excluded" }));
  } else if (isChanged(row)) {
    if (row.label) title.append(element("s", { textContent: row.label }), hidden(" changed to "));
    title.append(element("b", { textContent: label }));
  } else {
    title.append(element("b", { textContent: label ? label : noLabel(row) }));
  }
  const sure = element("span", { className: "sure", textContent: percent(row.confidence) });
  const name = element("span", { className: "name", textContent: row.name });
  const file = element("span", { className: "file", title: row.shown }, element("span", { className: "folder", textContent: row.place }), name);
  card.querySelector(".words").replaceChildren(
    element("span", { className: "line" }, title, " ", sure),
    row.segments ? smallStrip(row) : meter(row.confidence), " ", file,
    row.part ? element("span", { className: "part", textContent: partOf(row) }) : "",
  );
  card.querySelectorAll(".mark").forEach((mark) => mark.remove());
  card.querySelector(".media").prepend(...marks(row));
  card.classList.toggle("excluded", isExcluded(row));
  card.classList.toggle("picked", selected.has(row.i));
  card.nextSibling.checked = selected.has(row.i);
  card.classList.toggle("chosen", row.i === chosen);
  if (row.i === chosen) card.setAttribute("aria-current", "true");
  else card.removeAttribute("aria-current");
}

const countOf = (count, what) => `${count} ${what}${count === 1 ? "" : "s"}`;
const noLabel = (row) => (row.status === "uncertain" ? "uncertain" : "no label");
const partOf = (row) => `${row.part[0].toFixed(1)}–${row.part[1].toFixed(1)} s`;

function mark(kind, name, text, words = "") {
  const shown = words ? element("span", { textContent: words }) : hidden(text);
  return element("span", { className: `mark ${kind}`, title: text }, icon(name), shown);
}

function marks(row) {
  const found = [];
  const verdict = verdictOf(row);
  if (verdict === "right") found.push(mark("right", "check", "right"));
  if (verdict === "wrong") found.push(mark("wrong", "cross", `wrong; it is ${row.truth}`, row.truth));
  if (isExcluded(row)) found.push(mark("excluded end", "cross", "excluded", "excluded"));
  else if (isChanged(row)) found.push(mark("changed end", "pen", "changed", "changed"));
  else if (isDone(row)) found.push(mark("confirmed end", "check", "confirmed", "confirmed"));
  return found;
}

// --- the grid --------------------------------------------------------------------------------

/** Show these rows, from the first. */
function show(found) {
  list = found;
  made = 0;
  chosen = -1;
  cards.clear();
  selected.clear();
  $("grid").replaceChildren();
  $("nothing").hidden = list.length > 0;
  $("found").textContent = `${list.length} of ${rows.length} shown`;
  more();
  if (list.length && !narrow.matches) choose(list[0].i, { focus: false, scroll: false });
  else drawDetail();
  if (list.length) cards.get(list[0].i).tabIndex = 0;
  const top = document.querySelector(".work").offsetTop - document.querySelector(".bar").offsetHeight;
  if (scrollY > top) scrollTo(0, top);
}

/** Make the next cards. */
function more() {
  const next = list.slice(made, made + BATCH);
  $("grid").append(...next.map(cardOf));
  made += next.length;
  watcher.unobserve($("end")); // it tells of changes only, and on a wide screen the end stays near
  if (made < list.length) watcher.observe($("end"));
}

const watcher = new IntersectionObserver(([end]) => end.isIntersecting && more(), {
  rootMargin: "1500px",
});

function choose(i, { focus = true, scroll = true } = {}) {
  const before = cards.get(chosen);
  const first = list.length ? cards.get(list[0].i) : null;
  for (const card of new Set([before, first])) if (card) card.tabIndex = -1;
  chosen = i;
  if (before) fill(before, rows[before.dataset.i]);
  const card = cards.get(i);
  fill(card, rows[i]);
  card.tabIndex = 0;
  if (focus) card.focus({ preventScroll: true });
  if (scroll) card.scrollIntoView({ block: "nearest" });
  drawDetail();
}

/** Choose the row so many places on; true if there was one to go to. With `extend`, select all
    between. */
function move(by, extend = false) {
  if (!list.length) return false;
  const at = list.findIndex((row) => row.i === chosen);
  const to = at < 0 ? 0 : Math.min(Math.max(at + by, 0), list.length - 1);
  while (made <= to) more();
  if (extend) selectTo(list[to].i);
  else clearSelection();
  if (to !== at) choose(list[to].i);
  return to !== at;
}

// --- several at once -------------------------------------------------------------------------

/** Select rows, or take them out of the selection. */
function setSelected(numbers, on) {
  if (data.timeline) return; // keys are for the segments of one video
  for (const i of numbers) {
    if (on) selected.add(i);
    else selected.delete(i);
    if (cards.has(i)) fill(cards.get(i), rows[i]);
  }
  drawDetail();
}

function clearSelection() {
  if (selected.size) setSelected([...selected], false);
}

/** Select all from the chosen row to this one. */
function selectTo(i) {
  const ends = [chosen, i].map((number) => list.findIndex((row) => row.i === number)).sort((a, b) => a - b);
  setSelected(list.slice(Math.max(0, ends[0]), ends[1] + 1).map((row) => row.i), true);
}

/** Select all rows that are shown; if they are, none. */
function selectAll() {
  setSelected(list.map((row) => row.i), selected.size < list.length);
}

/** The rows that the next choice is for. */
function targets() {
  if (selected.size) return [...selected].map((i) => rows[i]);
  return chosen < 0 ? [] : [rows[chosen]];
}

/** Cards beside each other. */
function columns() {
  return getComputedStyle($("grid")).gridTemplateColumns.split(" ").length;
}

// --- the chosen video ------------------------------------------------------------------------

function drawDetail() {
  const row = rows[chosen] ?? rows[[...selected][0]];
  $("detail").hidden = !row;
  document.body.classList.toggle("sheet", Boolean(row));
  if (!row) return $("detail").replaceChildren();
  if (row.segments) return drawTimeline(row);
  const same = $("detail").dataset.i === String(row.i);
  const media = same ? $("detail").querySelector(".media") : element("div", { className: "media" });
  if (!same) media.append(row.clip && !still.matches ? clip(row, true) : stillClip(row));
  $("detail").dataset.i = row.i;
  $("detail").replaceChildren(
    navigation(row),
    media,
    element("div", { className: "told" },
      ...(selected.size ? selection() : verdict(row)), choiceList(row), ...(selected.size ? [] : [facts(row)])),
  );
}

function navigation(row) {
  return element("div", { className: "nav" },
    button("‹", "Previous video", () => move(-1)), button("›", "Next video", () => move(1)),
    element("span", { className: "muted", textContent: `${list.indexOf(row) + 1} of ${list.length}` }),
    element("span", { className: "push" }),
    button("×", "Close", closeDetail, "close"),
  );
}

/** What is said of the rows selected. */
function selection() {
  const count = selected.size;
  return [
    element("h2", { className: "label", textContent: count === 1 ? "1 video selected" : `${count} videos selected` }),
    element("p", { className: "state" }, "A choice is for all of them.", button("Clear selection", "Clear the selection", clearSelection, "link")),
    element("p", { className: "row" }, button("Confirm each label", "Confirm each label as it is", confirmLabels)),
  ];
}

/** Without motion until it is asked for. */
function stillClip(row) {
  if (!row.clip) return picture(row, false);
  const video = element("video", {
    src: row.clip, poster: row.poster, muted: true, loop: true, playsInline: true, controls: true,
    preload: "none", ariaLabel: `Clip of ${row.name}, without sound`,
  });
  return video;
}

function button(text, label, action, className = "") {
  const made = element("button", { type: "button", className, textContent: text, ariaLabel: label, title: label });
  made.addEventListener("click", action);
  return made;
}

function closeDetail() {
  clearSelection();
  const card = cards.get(chosen);
  chosen = -1;
  if (card) {
    fill(card, rows[card.dataset.i]);
    card.focus({ preventScroll: true });
  }
  drawDetail();
}

/** What is said of the video so far. */
function verdict(row) {
  const label = labelOf(row);
  const state = isExcluded(row) ? "excluded" : isChanged(row) ? "changed" : isDone(row) ? "confirmed" : "";
  const told = {
    changed: row.label ? `changed from ${row.label}` : "labelled by you",
    confirmed: "confirmed",
    excluded: "excluded: not in the table that is saved",
  }[state] ?? { failed: "failed", partial: "as labelled; the file is damaged", uncertain: "nothing likely enough" }[row.status] ?? "as labelled";
  const heading = element("h2", { className: "label" }, element("bdi", { textContent: label ? label : noLabel(row) }));
  const line = element("p", { className: `state ${state}` }, told);
  if (state) line.append(button("Take back", "Take back what was chosen for this video", takeBack, "link"));
  const known = [];
  if (row.truth && !isExcluded(row)) {
    const right = row.truth === label;
    const judged = isDone(row) || verdictOf(row) !== "unknown" ? (right ? "right" : "wrong") : "";
    known.push(element("p", { className: `truth ${judged}` },
      judged && icon(right ? "check" : "cross"),
      element("span", {}, right ? "Agrees with the known class" : "Known class: ", right ? "" : element("b", { textContent: row.truth })),
      right ? "" : button("Take it", `Take the known class, ${row.truth}`, takeTruth, "link"),
    ));
  }
  return [heading, line, ...known];
}

function choiceList(row) {
  const items = row.choices.slice(0, 9).map((label, k) => {
    const share = selected.size ? null : row.top[k]?.[1]; // of this video alone
    const choice = element("button", { type: "button", className: "choice", title: label },
      element("kbd", { textContent: k + 1 }), element("bdi", { className: "name", textContent: label }),
      element("span", { className: "sure", textContent: percent(share) }), selected.size ? "" : meter(share));
    choice.setAttribute("aria-pressed", String(decisions.get(row.i) === label && !selected.size));
    choice.addEventListener("click", () => take(label));
    return element("li", {}, choice);
  });
  const other = element("button", { type: "button", className: "choice other" }, element("kbd", { textContent: "↵" }), "Another class…");
  other.addEventListener("click", openClasses);
  const words = selected.size > 1 ? "Exclude these videos" : "Exclude this video";
  const none = element("button", { type: "button", className: "choice other", title: "Leave it out of the table that is saved" }, element("kbd", { textContent: "d" }), words);
  none.setAttribute("aria-pressed", String(isExcluded(row) && !selected.size));
  none.addEventListener("click", exclude);
  const all = [...items, element("li", {}, other), element("li", {}, none)];
  return element("ul", { className: "choices", ariaLabel: "Classes to choose from" }, ...all);
}

function facts(row) {
  const why = [row.reason && spoken(row.reason), row.detail].filter(Boolean).join(": ") || row.why;
  const pairs = [
    ["File", element("a", { href: row.href, textContent: row.name, title: "Open the video" })],
    ["Folder", row.folder],
    ["Part", row.part && partOf(row)],
    ["Length", row.duration != null && `${row.duration.toFixed(1)} s`],
    ["Frames", row.frames && `${row.frames} looked at`],
    ["Model", row.model],
    ["Note", why],
  ].filter(([, value]) => value);
  return element("dl", { className: "facts" }, ...pairs.map(([term, value]) =>
    element("div", {}, element("dt", { textContent: term }), element("dd", {}, value))));
}
