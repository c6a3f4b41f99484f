// Playing the clip of a video with segments; the time in the clip is the time in the video. Without
// a clip there is a playhead all the same.

let film = null; // the <video> of the chosen row, if it has a clip
let filmed = null; // that row
let now = 0; // the playhead: when the frame that is seen begins
let until = Infinity; // where it stops

function filmOf(row) {
  film?.pause();
  [filmed, now, until, film] = [row, 0, Infinity, null];
  if (!row.clip) return picture(row, false);
  const video = element("video", {
    src: row.clip, poster: row.poster, muted: true, playsInline: true, preload: "auto", tabIndex: -1,
    ariaLabel: `${row.name}, without sound`,
  });
  video.disablePictureInPicture = true;
  video.addEventListener("error", () => {
    if (film === video) film = null;
    video.replaceWith(placeholder("the preview is missing"));
  });
  video.addEventListener("play", () => { showPlaying(); requestAnimationFrame(tick); });
  video.addEventListener("pause", showPlaying);
  video.addEventListener("click", togglePlay);
  film = video;
  return video;
}

const isPlaying = () => Boolean(film && !film.paused && !film.ended);

function tick() {
  if (!isPlaying()) return;
  now = clamped(toFrame(filmed, film.currentTime), 0, filmed.duration);
  if (film.currentTime >= until - filmed.step / 2) {
    film.pause();
    now = clamped(until, 0, filmed.duration);
  }
  showPlayhead(true);
  requestAnimationFrame(tick);
}

/** Show the frame of a time. */
function seek(seconds) {
  now = clamped(seconds, 0, filmed.duration);
  // The middle of a frame, so that rounding does not show the one before.
  if (film) film.currentTime = clamped(now + filmed.step / 2, 0, Math.max(0, filmed.duration - filmed.step / 4));
  showPlayhead(false);
}

/** Play from a time up to another, or only show its frame where motion is not wanted. */
function playFrom(start, end) {
  seek(start);
  until = end;
  if (!still.matches) film?.play().catch(() => {}); // it ended before it began, or the file has gone
}

function togglePlay() {
  if (!film) return say("There is no clip to play");
  if (isPlaying()) return film.pause();
  until = Infinity;
  if (now >= filmed.duration - filmed.step * 1.5) seek(0);
  film.play().catch(() => {});
}

function stepBy(seconds) {
  film?.pause();
  seek(Math.abs(seconds) < 1 ? (Math.round(now / filmed.step) + Math.sign(seconds)) * filmed.step : now + seconds);
}
