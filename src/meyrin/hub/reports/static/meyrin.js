// Small manners of every page: times relative to now, a pause while nobody looks, and a word when
// the hub does not answer. The pages say everything without this file too.
"use strict";

(() => {
  const skew = Number(document.documentElement.dataset.now) - Date.now();
  const now = () => Date.now() + skew;
  const knowsNow = Number(document.documentElement.dataset.now) > 0;

  const UNITS = [[86400, "d", 3600, "h"], [3600, "h", 60, "min"], [60, "min", 1, "s"]];

  const span = (ms) => {
    const seconds = Math.max(0, Math.floor(ms / 1000));
    for (const [size, unit, small, smallUnit] of UNITS) {
      if (seconds >= size) {
        const rest = Math.floor((seconds % size) / small);
        return `${Math.floor(seconds / size)} ${unit}` + (rest ? ` ${rest} ${smallUnit}` : "");
      }
    }
    return `${seconds} s`;
  };

  // one unit is enough for "how long ago"
  const ago = (ms) => {
    const seconds = Math.floor(ms / 1000);
    if (seconds < 5) return "just now";
    for (const [size, unit] of UNITS) {
      if (seconds >= size) return `${Math.floor(seconds / size)} ${unit} ago`;
    }
    return `${seconds} s ago`;
  };

  const write = (element, text) => {
    if (element.textContent !== text) element.textContent = text;
  };

  const tick = () => {
    if (!knowsNow || document.hidden) return;
    for (const each of document.querySelectorAll("time.ago")) {
      if (!each.title) each.title = each.textContent;
      write(each, ago(now() - Date.parse(each.dateTime)));
    }
    for (const each of document.querySelectorAll(".since")) {
      if (!each.title) each.title = each.textContent;
      write(each, span(now() - Number(each.dataset.since)));
    }
  };

  const refresh = () => {
    const poll = document.getElementById("poll");
    if (poll && window.htmx) window.htmx.trigger(poll, "refresh");
  };

  const stale = (is) => {
    const note = document.getElementById("stale");
    if (note && note.hidden === is) note.hidden = !is;
  };

  // what the reader opened stays open when a block is replaced
  const opened = new Set();
  const reopen = () => {
    for (const each of document.querySelectorAll("details[id]")) {
      if (opened.has(each.id)) each.open = true;
    }
  };
  document.addEventListener("toggle", (event) => {
    if (!event.target.id) return;
    if (event.target.open) opened.add(event.target.id);
    else if (event.target.isConnected) opened.delete(event.target.id);
  }, true);
  document.addEventListener("htmx:oobAfterSwap", reopen);

  document.addEventListener("htmx:beforeRequest", (event) => {
    // what asks is put off; what keeps something is not
    if (document.hidden && event.detail.requestConfig.verb === "get") event.preventDefault();
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.requestConfig.verb !== "get") return;
    stale(event.detail.xhr.status === 0 || event.detail.xhr.status >= 500);
  });
  document.addEventListener("htmx:afterSettle", tick);
  document.addEventListener("meyrin:changed", refresh);
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) {
      tick();
      refresh();
    }
  });
  tick();
  setInterval(tick, 1000);
})();
