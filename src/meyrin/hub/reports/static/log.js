// Follows the output of a job by server-sent events. Keeps the last part only, so that a job may
// print gigabytes; stays where the reader is unless that is the end.
"use strict";

(() => {
  const MOST_CHARS = 400000; // what is kept in the page
  const PIECE_CHARS = 20000; // a text node is dropped as a whole
  const LONG_LINE = 8000; // a line without end is cut here
  const log = document.getElementById("log");
  if (!log) return;
  const note = document.getElementById("log-state");
  const toEnd = document.getElementById("log-end");

  let offset = Number(log.dataset.offset);
  let skipFirstLine = offset > 0;
  let decoder = new TextDecoder();
  let source = null;
  let over = false;
  let waiting = ""; // text that came since the last frame
  let escape = ""; // the beginning of a terminal sequence whose end has not come
  let line = ""; // the line that has not ended
  let returned = false; // a carriage return came: what follows replaces the line
  let kept = 0;
  let dropped = false;
  let seen = false; // whether any text came
  const nothingYet = Number(log.dataset.size)
    ? "What was printed is on its way."
    : "Following; nothing was printed yet.";
  let frame = 0;

  const last = document.createTextNode("");
  log.append(last);

  const say = (words) => {
    if (note.textContent !== words) note.textContent = words;
  };

  const size = (bytes) => {
    const units = ["bytes", "KiB", "MiB", "GiB"];
    const unit = Math.min(3, Math.floor(Math.log2(Math.max(1, bytes)) / 10));
    return `${Number((bytes / 1024 ** unit).toFixed(1))} ${units[unit]}`;
  };

  // what the end of the job means for what is to be read here
  const ending = (told) => {
    if (told.cut_bytes !== undefined)
      return `The job has ended: ${told.shown}. It printed more than the hub keeps: this is cut at ${size(told.cut_bytes)}.`;
    return seen ? `The job has ended: ${told.shown}. This is all.` : "The job has ended and printed nothing here.";
  };

  const atEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 24;

  // colours and cursor moves of terminals mean nothing here
  const plain = (text) => {
    const whole = escape + text;
    const open = whole.match(/\x1b(?:\[[0-9;?]*|\][^\x07\x1b]{0,500})?$/);
    escape = open ? open[0] : "";
    return whole
      .slice(0, whole.length - escape.length)
      .replace(/\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[@-Z\\-_]/g, "");
  };

  // lines that ended go to `done`; progress bars rewrite their line with a carriage return
  const take = (text) => {
    let done = "";
    for (const part of text.split(/(\r\n|\n|\r)/)) {
      if (part === "\n" || part === "\r\n") {
        done += line + "\n";
        line = "";
        returned = false;
      } else if (part === "\r") {
        returned = true;
      } else if (part) {
        if (returned) line = "";
        returned = false;
        line += part;
        if (line.length > LONG_LINE) {
          done += line;
          line = "";
        }
      }
    }
    return done;
  };

  const commit = (text) => {
    for (let i = 0; i < text.length; i += PIECE_CHARS) {
      const piece = text.slice(i, i + PIECE_CHARS);
      const before = last.previousSibling;
      if (before && before.data.length + piece.length <= PIECE_CHARS) before.appendData(piece);
      else last.before(document.createTextNode(piece));
      kept += piece.length;
    }
    while (kept > MOST_CHARS && log.firstChild !== last) {
      kept -= log.firstChild.data.length;
      log.firstChild.remove();
      dropped = true;
    }
  };

  const draw = () => {
    frame = 0;
    const follow = atEnd();
    let text = plain(waiting);
    waiting = "";
    if (skipFirstLine && text) {
      // the rest of a line that was cut, unless it has no end: then that is what there is to see
      text = text.slice(text.slice(0, LONG_LINE).search(/[\r\n]/) + 1);
      skipFirstLine = false;
    }
    commit(take(text));
    if (last.data !== line) last.data = line;
    if (follow) log.scrollTop = log.scrollHeight;
    else toEnd.hidden = false;
    if (dropped) log.dataset.dropped = "yes";
  };

  const add = (base64) => {
    const bytes = Uint8Array.from(atob(base64), (c) => c.charCodeAt(0));
    waiting += decoder.decode(bytes, { stream: true });
    seen = true;
    // many pieces at once are drawn once; a hidden page is drawn when it is seen
    if (!frame) frame = requestAnimationFrame(draw);
  };

  const open = () => {
    if (source || over) return;
    source = new EventSource(`${log.dataset.follow}&offset=${offset}`);
    source.addEventListener("open", () => say(seen ? "Following." : nothingYet));
    source.addEventListener("output", (event) => {
      offset = Number(event.lastEventId);
      add(event.data);
      say("Following.");
    });
    source.addEventListener("state", () => {
      document.dispatchEvent(new CustomEvent("meyrin:changed"));
    });
    source.addEventListener("end", (event) => {
      over = true;
      close();
      waiting += decoder.decode();
      draw();
      log.dataset.over = "yes";
      say(ending(JSON.parse(event.data)));
    });
    source.addEventListener("error", () => {
      if (over) return;
      if (source && source.readyState === EventSource.CLOSED) {
        close();
        say("The hub does not send the output. Open this page again to try once more.");
      } else {
        say("The connection was lost; trying again.");
      }
    });
  };

  const close = () => {
    if (source) source.close();
    source = null;
  };

  log.addEventListener("scroll", () => {
    if (atEnd()) toEnd.hidden = true;
  });
  toEnd.addEventListener("click", () => {
    log.scrollTop = log.scrollHeight;
    toEnd.hidden = true;
    log.focus({ preventScroll: true });
  });
  document.addEventListener("visibilitychange", () => (document.hidden ? close() : open()));
  window.addEventListener("pagehide", close);
  window.addEventListener("pageshow", (event) => {
    if (event.persisted) open();
  });
  if (!document.hidden) open();
})();
