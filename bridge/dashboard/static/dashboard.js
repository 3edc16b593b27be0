"use strict";
// Replaces the parts of <main> that have changed, as the server sends them. The page works without this script.
const main = document.getElementById("main");
const connection = document.getElementById("connection");
const pause = document.getElementById("pause");
let source = null;
let silence = 0;

function say(text) {
  if (connection.textContent !== text) connection.textContent = text;
  connection.hidden = text === "";
}

// What the keyboard focus is on, so that it can be found again in the new content.
function focused() {
  const element = document.activeElement;
  if (!main.contains(element) || element === main) return null;
  const link = element.getAttribute("href");
  return element.id ? `#${CSS.escape(element.id)}` : link ? `a[href="${CSS.escape(link)}"]` : null;
}

// The outermost elements that have an id.
function parts(root) {
  const found = [...root.querySelectorAll("[id]")].filter(each => each.parentElement.closest("[id]") === root);
  return new Map(found.map(each => [each.id, each]));
}

function show(html) {
  const wanted = document.createElement("main");
  wanted.id = "main";
  wanted.innerHTML = html;
  const focus = focused();
  const before = parts(main), after = parts(wanted);
  if ([...before.keys()].join() === [...after.keys()].join()) {
    // The same parts: only those that differ are replaced, so that a screen reader announces only what is new.
    for (const [id, part] of after) {
      const old = before.get(id);
      if (part.getAttribute("role") === "status") {
        if (old.textContent !== part.textContent) old.replaceChildren(...part.childNodes);
      } else if (old.outerHTML !== part.outerHTML) old.replaceWith(part);
    }
  } else main.replaceChildren(...wanted.childNodes);
  if (focus && document.activeElement === document.body) main.querySelector(focus)?.focus({ preventScroll: true });
}

function open() {
  source = new EventSource(main.dataset.live);
  source.addEventListener("open", () => { clearTimeout(silence); say(""); });
  source.addEventListener("main", event => { say(""); show(event.data); });
  source.addEventListener("trouble", event => say(event.data));
  source.addEventListener("error", () => {
    // The bridge ends each connection after a while, and the browser opens the next one. That takes two seconds.
    clearTimeout(silence);
    if (source.readyState === EventSource.CLOSED) say("Updates have stopped: reload the page");
    else silence = setTimeout(say, 8000, "The bridge does not answer; trying again");
  });
}

function close() {
  clearTimeout(silence);
  source.close();
  source = null;
}

pause.hidden = false;
pause.addEventListener("click", () => {
  if (source) {
    close();
    say("Updates are paused");
  } else {
    say("");
    open();
  }
  pause.textContent = source ? "Pause updates" : "Resume updates";
});
addEventListener("pagehide", () => source?.close());
open();
