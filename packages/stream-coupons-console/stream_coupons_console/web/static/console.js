"use strict";
// Keeps the page up to date: when the server says that something changed, the parts marked data-live are fetched anew,
// and those that differ replace the old ones. A part that somebody is typing in stays as it is.
const parser = new DOMParser();
const said = document.getElementById("live");
const sources = new Map();
let isFetching = false;
let isLate = false; // something changed while a fetch went on, or nobody looked
let last = 0;
let waiting = 0;

const parts = (root) => new Map(Array.from(root.querySelectorAll("[data-live]"), (one) => [one.dataset.live, one]));
const isBusy = (part) =>
  part.contains(document.activeElement) ||
  Array.from(part.querySelectorAll("input:not([type=hidden]), textarea")).some((one) => one.value !== one.defaultValue);

// A server-rendered part, before the charts in it were drawn.
for (const [name, part] of parts(document)) sources.set(name, part.dataset.drawnFrom || null);

async function update() {
  if (isFetching || document.hidden) return void (isLate = true);
  isFetching = true;
  isLate = false;
  try {
    const answer = await fetch(location.href, { headers: { "x-part": "main" } });
    if (!answer.ok) return;
    const fresh = parts(parser.parseFromString(await answer.text(), "text/html"));
    for (const [name, part] of parts(document)) {
      const news = fresh.get(name);
      if (!news || sources.get(name) === news.outerHTML || isBusy(part)) continue;
      const isFirst = sources.get(name) === null;
      sources.set(name, news.outerHTML);
      if (isFirst && part.outerHTML === news.outerHTML) continue;
      const opened = Array.from(part.querySelectorAll("details"), (one) => one.open);
      part.replaceWith(document.adoptNode(news));
      news.querySelectorAll("details").forEach((one, i) => (one.open = Boolean(opened[i])));
      drawCharts(news);
    }
    document.documentElement.dataset.updates = 1 + Number(document.documentElement.dataset.updates || 0);
  } finally {
    isFetching = false;
    if (isLate) soon();
  }
}

function soon() {
  if (waiting) return;
  waiting = setTimeout(() => {
    waiting = 0;
    last = Date.now();
    update();
  }, Math.max(0, 2000 - (Date.now() - last)));
}

if (document.querySelector("[data-live]")) {
  const news = new EventSource("/live");
  news.onopen = () => {
    said.textContent = "Updates itself.";
    soon(); // what changed before is not told
  };
  news.onmessage = soon;
  news.onerror = () => (said.textContent = "The console does not answer; this page tries again.");
  document.addEventListener("visibilitychange", () => !document.hidden && isLate && soon());
}
