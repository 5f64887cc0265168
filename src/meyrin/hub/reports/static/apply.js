// The form of an ask is kept by the hub while it is written. htmx sends it; this file says honestly
// what is kept and what is not, tries again, and holds a sending back until all of it is kept.
// Without this file the button "Save for later" does the keeping.
"use strict";

(() => {
  const form = document.querySelector("form.ask");
  const saver = document.getElementById("saver");
  if (!form || !saver || !window.htmx) return;

  const LOST = "Not saved yet: the hub does not answer. Leave this page open; it tries again.";
  const OUT = "Not saved yet: you are logged out. Log in in another window; it is saved when you "
    + "come back to this one.";
  let written = 0;   // how often something was typed or chosen
  let kept = 0;      // what of it the hub has
  let sent = 0;      // what of it is under way
  let tries = 0;
  let timer = 0;
  let leaving = false;
  let waiting = null;  // the button of a sending that waits for a keeping

  const say = (text, warn) => {
    const note = document.getElementById("saved");
    if (!note || note.textContent === text) return;
    note.textContent = text;
    note.classList.toggle("warn", warn);
    const aloud = document.getElementById("say");
    if (warn && aloud) aloud.textContent = text;
  };
  const save = () => window.htmx.trigger(saver, "again");
  const dirty = () => written > kept;

  form.addEventListener("input", () => {
    written += 1;
    leaving = false;
    if (!tries) say("Not saved yet.", false);
  });

  const again = () => {
    clearTimeout(timer);
    timer = setTimeout(() => { if (dirty()) save(); }, Math.min(30, 2 ** Math.min(tries, 5)) * 500);
    tries += 1;
  };

  document.addEventListener("htmx:beforeSend", (event) => {
    if (event.detail.elt === saver) sent = written;
  });
  document.addEventListener("htmx:beforeSwap", (event) => {
    // a refusal says in words why; anything else is no word of ours
    if (event.detail.requestConfig.elt === saver && [409, 422].includes(event.detail.xhr.status)) {
      event.detail.shouldSwap = true;
    }
  });
  document.addEventListener("htmx:afterRequest", (event) => {
    if (event.detail.elt !== saver) return;
    const status = event.detail.xhr.status;
    if (status === 200) {
      kept = Math.max(kept, sent);
      tries = 0;
      clearTimeout(timer);
      const address = `/apply?unsent=${encodeURIComponent(form.elements.key.value)}`;
      if (location.pathname + location.search !== address) history.replaceState(null, "", address);
      if (waiting) go();
    } else if (status === 409 || status === 422) {
      tries = 0;
      if (waiting) go();  // the hub answers: let it say what is wrong with the whole
    } else if (status === 401) {
      waiting = null;
      say(OUT, true);
    } else {
      waiting = null;
      say(LOST, true);
      again();
    }
  });
  document.addEventListener("htmx:afterSettle", () => {
    if (written > sent && !tries) say("Not saved yet.", false);
  });

  const go = () => {
    const button = waiting;
    waiting = null;
    leaving = true;
    form.requestSubmit(button);
  };
  form.addEventListener("submit", (event) => {
    if (leaving) return;
    const later = event.submitter && event.submitter.name === "later";
    if (!dirty() && !later) {
      leaving = true;
      return;
    }
    event.preventDefault();  // nothing typed may be lost with the page
    if (!later) waiting = event.submitter || form.querySelector("button");
    save();
  });

  addEventListener("online", () => { if (dirty()) save(); });
  addEventListener("focus", () => { if (dirty()) save(); });
  document.addEventListener("visibilitychange", () => { if (document.hidden && dirty()) save(); });
  addEventListener("beforeunload", (event) => { if (dirty() && !leaving) event.preventDefault(); });
  addEventListener("pageshow", () => { leaving = false; });
})();
