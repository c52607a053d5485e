// What makes the page quicker to use. Everything works without it, except copying with one click.
"use strict";
(() => {
  const texts = document.body.dataset;
  const language = document.documentElement.lang;

  // The server writes times in UTC: the reader's own are shown in the same form, and so take the same room.
  const shape = new Intl.DateTimeFormat(language === "fr" ? "fr-FR" : "en-GB", {
    day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit",
  });
  const showTimes = (root) => {
    for (const time of root.querySelectorAll("time[datetime]")) {
      const moment = new Date(time.dateTime);
      if (Number.isNaN(moment.getTime())) continue;
      const text = shape.format(moment).replace(" à ", ", ");
      if ("ago" in time.dataset) time.title = text;
      else time.textContent = text;
    }
  };
  const showZone = () => {
    const zone = document.getElementById("zone");
    const name = Intl.DateTimeFormat().resolvedOptions().timeZone;
    if (zone && name && name !== "UTC") zone.textContent = texts.zone.replace("#", name.split("/").pop().replaceAll("_", " "));
  };

  // Pages are read as documents, in which no script runs, and parts of them are taken over.
  const load = (address, { body, signal } = {}) => new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open(body ? "POST" : "GET", address);
    request.responseType = "document";
    request.onload = () => {
      if (request.response) resolve({ page: request.response, address: request.responseURL, status: request.status });
      else reject(new Error("no page"));
    };
    request.onerror = request.ontimeout = () => reject(new Error("no answer"));
    request.timeout = 30000;
    signal?.addEventListener("abort", () => { request.abort(); reject(new Error("not wanted any more")); });
    request.send(body);
  });
  const adopt = (page, selector) => {
    const found = page.querySelector(selector);
    if (!found) return null;
    const part = document.importNode(found, true);
    showTimes(part);
    return part;
  };

  // Search as one types.
  const field = document.getElementById("q");
  const search = () => {
    if (!field) return;
    let waiting, current;
    const look = async () => {
      current?.abort();
      current = new AbortController();
      const address = new URL(field.form.action, location.href);
      const query = field.value.trim();
      if (query) address.searchParams.set("q", query);
      const results = document.getElementById("results");
      results.setAttribute("aria-busy", "true");
      try {
        const answer = await load(address.href, { signal: current.signal });
        const part = adopt(answer.page, "#results");
        if (!part) { location.assign(address.href); return; }
        // The region that is announced stays the same one, and only what it says changes.
        const before = document.querySelector("#results .found");
        const after = part.querySelector(".found");
        if (before && after) {
          before.replaceChildren(...after.childNodes);
          after.replaceWith(before);
        }
        document.getElementById("results").replaceWith(part);
        document.querySelector("h1").replaceChildren(...document.importNode(answer.page.querySelector("h1"), true).childNodes);
        document.title = answer.page.title;
        history.replaceState(null, "", answer.address);
      } catch {
        // Either something newer is looked for, or there is no answer: Enter sends the form.
        document.getElementById("results")?.removeAttribute("aria-busy");
      }
    };
    field.addEventListener("input", () => {
      clearTimeout(waiting);
      waiting = setTimeout(look, 120);
    });
    field.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown") {
        const first = document.querySelector("#results .name a");
        if (first) { event.preventDefault(); first.focus(); }
      } else if (event.key === "Escape" && field.value) {
        event.preventDefault();
        field.value = "";
        clearTimeout(waiting);
        look();
      }
    });
    document.addEventListener("keydown", (event) => {
      if ((event.ctrlKey || event.metaKey) && !event.altKey && !event.shiftKey && event.key.toLowerCase() === "k") {
        event.preventDefault();
        field.focus();
        field.select();
      }
    });
    if (/Mac|iPhone|iPad/.test(navigator.platform)) {
      const hint = field.form.querySelector("kbd");
      if (hint) hint.textContent = "⌘ K";
    }
  };

  // Up and down lead through the names of a list.
  document.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowDown" && event.key !== "ArrowUp") return;
    const here = document.activeElement?.closest?.("#results .name a");
    if (!here) return;
    const all = [...document.querySelectorAll("#results .name a")];
    const next = all[all.indexOf(here) + (event.key === "ArrowDown" ? 1 : -1)];
    event.preventDefault();
    if (next) next.focus();
    else if (event.key === "ArrowUp") field?.focus();
  });

  // The next page is put below the one that is there.
  document.addEventListener("click", async (event) => {
    const more = event.target.closest("#more");
    if (!more || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    if (more.getAttribute("aria-busy") === "true") return;
    const label = more.textContent;
    more.setAttribute("aria-busy", "true");
    more.textContent = texts.loading;
    try {
      const { page } = await load(more.href);
      const part = adopt(page, "#results");
      const rows = [...(part?.querySelectorAll(".files tbody tr") ?? [])];
      if (!rows.length) { location.assign(more.href); return; }
      document.querySelector(".files tbody").append(...rows);
      const next = part.querySelector("#more");
      if (next) more.replaceWith(next);
      else more.remove();
      rows[0].querySelector("a")?.focus({ preventScroll: true });
    } catch {
      more.removeAttribute("aria-busy");
      more.textContent = label;
      location.assign(more.href);
    }
  });

  // Copies with one click.
  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-copy]");
    if (!button) return;
    const source = document.getElementById(button.dataset.copy);
    const label = button.querySelector("span");
    const before = button.dataset.label ?? label.textContent;
    button.dataset.label = before;
    let text = texts.copied;
    try {
      await navigator.clipboard.writeText(source.value);
    } catch {
      // No permission, or a page that did not come over HTTPS: the old way, or one's own hands.
      source.focus();
      source.select();
      if (!document.execCommand("copy")) text = texts.byHand;
    }
    label.textContent = text;
    label.setAttribute("role", "status");
    setTimeout(() => { label.textContent = before; }, 2500);
  });
  document.addEventListener("focusin", (event) => {
    if (event.target.matches?.(".copy input")) event.target.select();
  });

  // A form whose answer takes its place.
  document.addEventListener("submit", async (event) => {
    const form = event.target.closest("form[data-inline]");
    if (!form || event.defaultPrevented) return;
    event.preventDefault();
    const button = form.querySelector("[type=submit]");
    if (button.getAttribute("aria-busy") === "true") return;
    button.setAttribute("aria-busy", "true");
    try {
      const { page, address } = await load(form.action, { body: new URLSearchParams(new FormData(form)) });
      const part = adopt(page, "#share");
      // Something else was answered, such as the form to log in with.
      if (!part) { location.assign(address); return; }
      document.getElementById("share").replaceWith(part);
      const focus = part.querySelector(".copy input") ?? part.querySelector("[role=alert]") ?? part;
      if (focus.tabIndex < 0) focus.tabIndex = -1;
      focus.focus();
    } catch {
      button.removeAttribute("aria-busy");
      form.removeAttribute("data-inline");
      form.requestSubmit(button);
    }
  });

  // Creates a link without leaving the list.
  document.addEventListener("click", async (event) => {
    const opener = event.target.closest("a.share");
    if (!opener || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    try {
      const { page } = await load(opener.href.split("#")[0]);
      const part = adopt(page, "#share");
      if (!part) { location.assign(opener.href); return; }
      const dialog = document.createElement("dialog");
      dialog.className = "dialog";
      dialog.setAttribute("aria-labelledby", "share-title");
      const name = document.createElement("p");
      name.className = "dialog-name";
      name.textContent = opener.closest("tr").querySelector("bdi").textContent;
      const close = document.createElement("button");
      close.type = "button";
      close.className = "quiet";
      close.setAttribute("aria-label", texts.close);
      const cross = document.createElementNS("http://www.w3.org/2000/svg", "svg");
      cross.setAttribute("class", "i");
      cross.setAttribute("aria-hidden", "true");
      cross.append(document.createElementNS("http://www.w3.org/2000/svg", "use"));
      cross.firstChild.setAttribute("href", "#i-close");
      close.append(cross);
      close.addEventListener("click", () => dialog.close());
      dialog.append(name, part, close);
      dialog.addEventListener("click", (inside) => { if (inside.target === dialog) dialog.close(); });
      dialog.addEventListener("close", () => { dialog.remove(); opener.focus(); });
      document.body.append(dialog);
      dialog.showModal();
    } catch {
      location.assign(opener.href);
    }
  });

  // A picture that could not be loaded says so.
  const watchPreview = () => {
    const image = document.querySelector(".stage img");
    if (!image) return;
    const fail = () => { image.hidden = true; document.querySelector(".stage-failed").hidden = false; };
    if (image.complete && image.naturalWidth === 0) fail();
    else image.addEventListener("error", fail);
  };

  showTimes(document);
  showZone();
  search();
  watchPreview();
})();
