"""A page in a real browser: what a person sees, and what they type."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


class Page:
    """An open page: what a person sees, and what they type."""

    def __init__(self, driver: Any, path: Path) -> None:
        self.driver = driver
        self.load(path)

    def load(self, path: Path) -> None:
        self.driver.get(path.as_uri())

    def reload(self, path: Path, reviewed: str) -> None:
        """Load the page again, until it shows what it has kept, as `reviewed` says it: that reaches
        the processes of a busy browser a little later."""

        def back() -> bool:
            self.load(path)
            return self.text("reviewed") == reviewed

        time.sleep(0.5)
        wait_for(back, within_s=20)

    def js(self, code: str, *arguments: object) -> Any:
        return self.driver.execute_script(code, *arguments)

    def type(self, *keys: str) -> None:
        """Press keys, wherever the focus is; that may be something that is about to be hidden."""
        from selenium.webdriver import ActionChains

        for key in keys:
            ActionChains(self.driver).send_keys(key).perform()

    def set(self, key: str, value: str, event: str = "change") -> None:
        code = "const e = document.getElementById(arguments[0]); e.value = arguments[1];"
        self.js(code + "e.dispatchEvent(new Event(arguments[2]))", key, value, event)

    def text(self, key: str) -> str:
        return self.js("return document.getElementById(arguments[0]).innerText", key)

    def click(self, selector: str) -> None:
        self.js("document.querySelector(arguments[0]).click()", selector)

    @property
    def names(self) -> list[str]:
        """Of the cards made so far."""
        return self.js(
            "return [...document.querySelectorAll('.card .name')].map(e => e.textContent)"
        )

    @property
    def chosen(self) -> int:
        return self.js("return Number(document.querySelector('.chosen')?.dataset.i ?? -1)")

    @property
    def label(self) -> str:
        return self.js("return document.querySelector('#detail .label').innerText")


def wait_for(done: Callable[[], Any], within_s: float = 5.0) -> Any:
    end = time.monotonic() + within_s
    while not (value := done()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
    return value


CONTRAST = """
const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
function rgba(colour) {
  canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
  return [...canvas.getImageData(0, 0, 1, 1).data];
}
function light([r, g, b]) {
  const part = v => (v /= 255) <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  return .2126 * part(r) + .7152 * part(g) + .0722 * part(b);
}
const bad = []; let count = 0;
for (const e of document.querySelectorAll('body *')) {
  const own = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
  const style = getComputedStyle(e);
  if (!own || e.closest('script, noscript, .sr, :disabled') || !e.checkVisibility({visibilityProperty: true})) continue;
  let ground = e, back;
  while ((back = rgba(getComputedStyle(ground).backgroundColor))[3] < 200 && ground.parentElement) ground = ground.parentElement;
  const [a, b] = [light(rgba(style.color)), light(back)];
  const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  count += 1;
  if (ratio < 4.5) bad.push([e.className, e.textContent.slice(0, 30), ratio.toFixed(2)]);
}
return [count, bad];
"""  # noqa: E501
